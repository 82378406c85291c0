"""The tasks of the worker processes: pure work that may take any time or memory.

Each task gets a frame and returns one. They run in a worker process; tests call them directly.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import orjson

from reportd.adapters.templates.templates import Templates
from reportd.adapters.worker_processes.frames import Frame
from reportd.core.dead_letters import triage
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs import submission
from reportd.core.jobs.job import BadMessageError, Job, StoredJob, from_message
from reportd.core.jobs.options import options_of
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import FieldProblem
from reportd.core.pages.assets import base_url, may_refer, with_base
from reportd.core.pages.inert import is_inert
from reportd.core.pages.print_templates import unloadable
from reportd.core.pages.references import TemplateParts, css_references
from reportd.core.pages.template_context import TemplateContext
from reportd.core.repair.message import Known
from reportd.core.schemas.compiled import faults, problems

MAX_PAGE_BYTES = 16 * 2**20
"""Limit of a page's HTML. A report of 10,000 rows has 3 MiB. The daemon handles a page in one piece, and others wait.
"""


def answer(frame: Frame) -> Frame:
    """Do the task of a frame. Only a bug or MemoryError raises; anything else becomes part of the answer."""
    request = orjson.loads(frame[0])
    return TASKS[request["task"]](request, frame[1], frame[2])


def _parse_submission(_: Mapping[str, Any], body: bytes, __: bytes) -> Frame:
    try:
        parsed = submission.parse(body)
    except submission.NotJsonError as error:
        return _frame({"notJson": str(error)})
    except submission.InvalidSubmissionError as error:
        return _frame({"problems": [(p.pointer, p.detail) for p in error.problems]})
    head = {
        "reportType": parsed.report_type,
        "userId": parsed.user_id,
        "callbackUrl": parsed.callback_url,
        "options": parsed.options.fields(),
    }
    return _frame(head, text_of(parsed.parameters).encode())


def _parse_message(_: Mapping[str, Any], body: bytes, __: bytes) -> Frame:
    try:
        job = from_message(body.decode())
    except BadMessageError as error:
        return _frame({"bad": str(error), "taskId": error.task_id})
    if isinstance(job, StoredJob):
        return _frame({"stored": job.task_id})
    return job_frame({}, job)


def _check(_: Mapping[str, Any], schema: bytes, parameters: bytes) -> Frame:
    return _frame({"problems": [(p.pointer, p.detail) for p in problems(schema, parameters)]})


def _read_letter(request: Mapping[str, Any], body: bytes, schemas: bytes) -> Frame:
    letter = triage.RawLetter(body.decode(), request["sentAt"], request["attributes"])
    return _reading(triage.read(letter, known_of(request["names"], schemas)))


def _read_job(request: Mapping[str, Any], parameters: bytes, schemas: bytes) -> Frame:
    job = job_of(request["job"], orjson.loads(parameters))
    return _reading(triage.read_job(job, known_of(request["names"], schemas)))


def _render(request: Mapping[str, Any], parameters: bytes, sources: bytes) -> Frame:
    templates = _edition(request["edition"], tuple(request["folders"]), sources)
    if templates is None:
        return _frame({"unknownEdition": True})
    try:
        html, page = _rendered(request, parameters, templates)
    except FaultError as error:
        return _fault(error)
    inert = is_inert(html)
    # Scripts can ask for anything.
    refers = not inert or may_refer(html)
    if refers:
        page = with_base(html, base_url(request["edition"])).encode(errors="replace")
    return _frame({"inert": inert, "refers": refers}, page)


def _print_template(request: Mapping[str, Any], parameters: bytes, _: bytes) -> Frame:
    try:
        html, page = _rendered(request, parameters, _templates(tuple(request["folders"])))
    except FaultError as error:
        return _fault(error)
    if found := unloadable(html):
        detail = f"{request['template']}: has {found}, which Chromium can't load or run in a header or footer"
        return _fault(FaultError(FaultKind.TEMPLATE_ERROR, detail))
    return _frame({}, page)


def _rendered(request: Mapping[str, Any], parameters: bytes, templates: Templates) -> tuple[str, bytes]:
    """Return the HTML of a template, and as bytes. Raises FaultError."""
    name, context = request["template"], TemplateContext(**request["context"])
    html = templates.render(name, orjson.loads(parameters), context, text=request.get("text"))
    page = html.encode(errors="replace")
    if len(page) > MAX_PAGE_BYTES:
        raise FaultError(FaultKind.TEMPLATE_ERROR, f"{name}: makes a page of more than {MAX_PAGE_BYTES >> 20} MiB")
    return html, page


def _template(request: Mapping[str, Any], _: bytes, __: bytes) -> Frame:
    try:
        _templates(tuple(request["folders"])).check(request["template"], request["text"])
    except FaultError as error:
        return _fault(error)
    return _frame({})


def _inspect(request: Mapping[str, Any], source: bytes, _: bytes) -> Frame:
    try:
        parts = _templates(tuple(request["folders"])).inspect(request["template"], source.decode())
    except FaultError as error:
        return _fault(error)
    return _frame(asdict(parts))


def _sheet(_: Mapping[str, Any], source: bytes, __: bytes) -> Frame:
    return _frame(asdict(TemplateParts(references=css_references(source.decode()))))


def _fault(error: FaultError) -> Frame:
    return _frame({"fault": error.fault.detail, "kind": error.fault.kind})


def _schema(_: Mapping[str, Any], schema: bytes, __: bytes) -> Frame:
    start = time.thread_time()
    return _frame({"faults": faults(schema), "seconds": time.thread_time() - start})


TASKS: Mapping[str, Callable[[Mapping[str, Any], bytes, bytes], Frame]] = {
    "submission": _parse_submission,
    "message": _parse_message,
    "check": _check,
    "letter": _read_letter,
    "job": _read_job,
    "render": _render,
    "print_template": _print_template,
    "template": _template,
    "inspect": _inspect,
    "sheet": _sheet,
    "schema": _schema,
}

# --- values to frames and back ------------------------------------------------------------------------------------


def job_frame(head: Mapping[str, Any], job: Job) -> Frame:
    """Return the frame of a job; ``head`` holds further fields."""
    return _frame({**head, "job": job_fields(job)}, text_of(job.parameters).encode())


def job_fields(job: Job) -> dict[str, Any]:
    """Return a job's fields without its parameters, as ``job_of`` takes them."""
    return {
        "taskId": job.task_id,
        "reportType": job.report_type,
        "userId": job.user_id,
        "submittedAt": job.submitted_at,
        "callbackUrl": job.callback_url,
        "options": job.options.fields(),
    }


def job_of(fields: Mapping[str, Any], parameters: Mapping[str, Any]) -> Job:
    return Job(
        fields["taskId"],
        fields["reportType"],
        parameters,
        fields["userId"],
        fields["submittedAt"],
        fields["callbackUrl"],
        options_of(fields["options"]),
    )


def _reading(reading: triage.LetterContent) -> Frame:
    head = {
        "taskId": reading.task_id,
        "problem": reading.problem,
        "changes": [asdict(change) for change in reading.changes],
    }
    return _frame(head) if reading.job is None else job_frame(head, reading.job)


def _frame(head: Mapping[str, Any], blob: bytes = b"") -> Frame:
    return orjson.dumps(head), blob, b""


def known_of(names: Mapping[str, str], schemas: bytes) -> Known:
    """``names``: see ``Known``. ``schemas``: for each name and alias of a report type its schema, or null."""
    by_name = {name: schema and orjson.dumps(schema) for name, schema in orjson.loads(schemas).items()}
    return Known(names, partial(_problems_of, by_name))


def _problems_of(
    schemas: Mapping[str, bytes | None], report_type: str, parameters: Mapping[str, Any]
) -> list[FieldProblem]:
    if report_type not in schemas:
        return [FieldProblem("/reportType", "there is no report type of this name")]
    schema = schemas[report_type]
    return [] if schema is None else problems(schema, orjson.dumps(value_of(parameters)))


_editions: dict[tuple[str, tuple[str, ...]], Templates] = {}
"""The editions whose templates this process has compiled, the last one used at the end."""

MAX_EDITIONS = 16


def _edition(name: str, folders: tuple[str, ...], sources: bytes) -> Templates | None:
    """Return the templates of an edition; None if this process does not know it and is given no ``sources``."""
    templates = _editions.pop((name, folders), None)
    if templates is None and sources:
        templates = Templates([Path(folder) for folder in folders], orjson.loads(sources))
    if templates is not None:
        _editions[name, folders] = templates
        if len(_editions) > MAX_EDITIONS:
            del _editions[next(iter(_editions))]
    return templates


@lru_cache(4)
def _templates(folders: tuple[str, ...]) -> Templates:
    return Templates([Path(folder) for folder in folders])

"""What the worker processes do: work that is pure, and may take any time or memory for all that is known beforehand.

Each task is called with what a frame brings, and answers with one. Runs in a worker process; tests call it directly.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import orjson

from reportd.adapters.bounded.frames import Frame
from reportd.adapters.templates import Templates
from reportd.core.dead_letters import triage
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs import submission
from reportd.core.jobs.job import BadMessageError, Job, StoredJob, from_message
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import FieldProblem
from reportd.core.pages.inert import is_inert
from reportd.core.repair.message import Known
from reportd.core.schemas.compiled import faults, problems

MAX_PAGE_BYTES = 16 * 2**20
"""Of HTML. A report of 10,000 rows has 3 MiB; the daemon passes it on in one piece, and others wait meanwhile."""


def answer(frame: Frame) -> Frame:
    """Do what is asked, whatever comes of it; raises only what is a bug, or MemoryError."""
    asked = orjson.loads(frame[0])
    return TASKS[asked["task"]](asked, frame[1], frame[2])


def _parse_submission(_: Mapping[str, Any], body: bytes, __: bytes) -> Frame:
    try:
        found = submission.parse(body)
    except submission.NotJsonError as error:
        return _frame({"notJson": str(error)})
    except submission.InvalidSubmissionError as error:
        return _frame({"problems": [(p.pointer, p.detail) for p in error.problems]})
    head = {"reportType": found.report_type, "userId": found.user_id, "callbackUrl": found.callback_url}
    return _frame(head, text_of(found.parameters).encode())


def _parse_message(_: Mapping[str, Any], body: bytes, __: bytes) -> Frame:
    try:
        carried = from_message(body.decode())
    except BadMessageError as error:
        return _frame({"bad": str(error), "taskId": error.task_id})
    if isinstance(carried, StoredJob):
        return _frame({"stored": carried.task_id})
    return job_frame({}, carried)


def _check(_: Mapping[str, Any], schema: bytes, parameters: bytes) -> Frame:
    return _frame({"problems": [(p.pointer, p.detail) for p in problems(schema, parameters)]})


def _read_letter(asked: Mapping[str, Any], body: bytes, schemas: bytes) -> Frame:
    letter = triage.RawLetter(body.decode(), asked["sentAt"], asked["attributes"])
    return _reading(triage.read(letter, known_of(asked["names"], schemas)))


def _read_job(asked: Mapping[str, Any], parameters: bytes, schemas: bytes) -> Frame:
    return _reading(triage.read_job(job_of(asked["job"], orjson.loads(parameters)), known_of(asked["names"], schemas)))


def _render(asked: Mapping[str, Any], parameters: bytes, _: bytes) -> Frame:
    try:
        html = _templates(tuple(asked["folders"])).render(asked["template"], orjson.loads(parameters))
    except FaultError as error:
        return _frame({"fault": error.fault.detail, "kind": error.fault.kind})
    page = html.encode(errors="replace")
    if len(page) > MAX_PAGE_BYTES:
        detail = f"{asked['template']}: makes a page of more than {MAX_PAGE_BYTES >> 20} MiB"
        return _frame({"fault": detail, "kind": FaultKind.TEMPLATE_ERROR})
    return _frame({"inert": is_inert(html)}, page)


def _template(asked: Mapping[str, Any], _: bytes, __: bytes) -> Frame:
    try:
        _templates(tuple(asked["folders"])).check(asked["template"])
    except FaultError as error:
        return _frame({"fault": error.fault.detail, "kind": error.fault.kind})
    return _frame({})


def _schema(_: Mapping[str, Any], schema: bytes, __: bytes) -> Frame:
    begun = time.thread_time()
    return _frame({"faults": faults(schema), "seconds": time.thread_time() - begun})


TASKS: Mapping[str, Callable[[Mapping[str, Any], bytes, bytes], Frame]] = {
    "submission": _parse_submission,
    "message": _parse_message,
    "check": _check,
    "letter": _read_letter,
    "job": _read_job,
    "render": _render,
    "template": _template,
    "schema": _schema,
}

# --- in frames, and out of them -----------------------------------------------------------------------------------


def job_frame(head: Mapping[str, Any], job: Job) -> Frame:
    """A job, beside what ``head`` says."""
    return _frame({**head, "job": job_fields(job)}, text_of(job.parameters).encode())


def job_fields(job: Job) -> dict[str, Any]:
    """A job but for its parameters, as ``job_of`` takes it."""
    return {
        "taskId": job.task_id,
        "reportType": job.report_type,
        "userId": job.user_id,
        "submittedAt": job.submitted_at,
        "callbackUrl": job.callback_url,
    }


def job_of(fields: Mapping[str, Any], parameters: Mapping[str, Any]) -> Job:
    return Job(
        fields["taskId"],
        fields["reportType"],
        parameters,
        fields["userId"],
        fields["submittedAt"],
        fields["callbackUrl"],
    )


def _reading(reading: triage.Reading) -> Frame:
    head = {
        "taskId": reading.task_id,
        "problem": reading.problem,
        "changes": [asdict(change) for change in reading.changes],
    }
    return _frame(head) if reading.job is None else job_frame(head, reading.job)


def _frame(head: Mapping[str, Any], blob: bytes = b"") -> Frame:
    return orjson.dumps(head), blob, b""


def known_of(names: Mapping[str, str], schemas: bytes) -> Known:
    """``names``: see ``Known``. ``schemas``: of each name and alias of a report type its schema, or null."""
    known = {name: schema and orjson.dumps(schema) for name, schema in orjson.loads(schemas).items()}
    return Known(names, partial(_problems_of, known))


def _problems_of(
    known: Mapping[str, bytes | None], report_type: str, parameters: Mapping[str, Any]
) -> list[FieldProblem]:
    if report_type not in known:
        return [FieldProblem("/reportType", "there is no report type of this name")]
    schema = known[report_type]
    return [] if schema is None else problems(schema, orjson.dumps(value_of(parameters)))


@lru_cache(4)
def _templates(folders: tuple[str, ...]) -> Templates:
    return Templates([Path(folder) for folder in folders])

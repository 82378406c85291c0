"""Implements the port ``Checker`` with two sets of worker processes: for HTTP requests, and for jobs off the queue."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from reportd.adapters.worker_processes.processes import Processes
from reportd.adapters.worker_processes.tasks import job_fields, job_of
from reportd.core.dead_letters.triage import LetterContent, RawLetter
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.core.jobs.options import options_of
from reportd.core.jobs.parameters import Parameters, text_of
from reportd.core.jobs.submission import FieldProblem, InvalidSubmissionError, NotJsonError, Submission
from reportd.core.pages.editions import Edition
from reportd.core.pages.inert import Html
from reportd.core.pages.references import References, TemplateParts
from reportd.core.pages.template_context import NO_CONTEXT, TemplateContext
from reportd.core.repair.envelopes import Change
from reportd.ports import TooCostlyError

READ_SECONDS = 20.0
"""A megabyte takes half a second at worst, and time grows only with size. This limit is for a machine that hangs."""

CHECK_SECONDS = 4.0
"""A valid megabyte takes a tenth of a second. A recursive schema can take any time."""

RENDER_SECONDS = 20.0
"""A page of 10,000 rows takes a fifth of a second. A job's own timeout can't raise this limit."""


class BoundedChecker:
    """``at_the_door`` checks HTTP requests, ``at_work`` serves jobs, so that neither delays the other.

    Close it after the last call has ended.
    """

    def __init__(self, at_the_door: Processes, at_work: Processes, folders: Sequence[Path]) -> None:
        self._at_the_door = at_the_door
        self._at_work = at_work
        self._folders = [str(folder) for folder in folders]

    def start(self) -> None:
        """Start a process, so that the first job does not wait for one."""
        self._at_work.start()

    async def submission(self, body: bytes) -> Submission:
        answer, parameters = await _ask(self._at_the_door, {"task": "submission"}, body, seconds=READ_SECONDS)
        if "notJson" in answer:
            raise NotJsonError(answer["notJson"])
        if "problems" in answer:
            raise InvalidSubmissionError(_problems(answer))
        return Submission(
            answer["reportType"],
            Parameters(parameters.decode()),
            answer["userId"],
            answer["callbackUrl"],
            options=options_of(answer["options"]),
        )

    async def message(self, body: str) -> Job | StoredJob:
        answer, parameters = await _ask(self._at_work, {"task": "message"}, _encoded(body), seconds=READ_SECONDS)
        if "bad" in answer:
            raise BadMessageError(answer["bad"], answer["taskId"])
        if "stored" in answer:
            return StoredJob(answer["stored"])
        return job_of(answer["job"], Parameters(parameters.decode()))

    async def problems(
        self, schema: bytes, parameters: Mapping[str, Any], *, at_the_door: bool = False
    ) -> list[FieldProblem]:
        processes = self._at_the_door if at_the_door else self._at_work
        answer, _ = await _ask(
            processes, {"task": "check"}, schema, text_of(parameters).encode(), seconds=CHECK_SECONDS, kind=schema
        )
        return _problems(answer)

    async def letter(self, letter: RawLetter, names: Mapping[str, str], schemas: bytes) -> LetterContent:
        request = {"task": "letter", "names": names, "sentAt": letter.sent_at, "attributes": letter.attributes}
        return await self._read(request, _encoded(letter.body), schemas)

    async def job(self, job: Job, names: Mapping[str, str], schemas: bytes) -> LetterContent:
        request = {"task": "job", "names": names, "job": job_fields(job)}
        return await self._read(request, text_of(job.parameters).encode(), schemas)

    async def _read(self, request: Mapping[str, Any], subject: bytes, schemas: bytes) -> LetterContent:
        answer, parameters = await _ask(self._at_work, request, subject, schemas, seconds=CHECK_SECONDS, kind="letters")
        job = job_of(answer["job"], Parameters(parameters.decode())) if "job" in answer else None
        changes = tuple(Change(**change) for change in answer["changes"])
        return LetterContent(job, answer["taskId"], answer["problem"], changes)

    async def html(
        self, edition: Edition, parameters: Mapping[str, Any], seconds: float, context: TemplateContext = NO_CONTEXT
    ) -> Html:
        task = {"task": "render", "edition": edition.hash, "context": asdict(context)}
        text, limit = text_of(parameters).encode(), min(seconds, RENDER_SECONDS)
        answer, page = await self._use_template(task, edition.template, text, seconds=limit)
        if "unknownEdition" in answer:  # to this process; the others may know it
            sources = orjson.dumps(dict(edition.sources))
            answer, page = await self._use_template(task, edition.template, text, sources, seconds=limit)
        return Html(page.decode(), answer["inert"], answer["refers"])

    async def print_template(
        self,
        name: str,
        text: str,
        parameters: Mapping[str, Any],
        seconds: float,
        context: TemplateContext = NO_CONTEXT,
    ) -> str:
        request = {"task": "print_template", "context": asdict(context), "text": text}
        _, html = await self._use_template(
            request, name, text_of(parameters).encode(), seconds=min(seconds, RENDER_SECONDS)
        )
        return html.decode()

    async def template(self, name: str, text: str) -> None:
        await self._use_template({"task": "template", "text": text}, name, seconds=RENDER_SECONDS)

    async def inspect(self, name: str, source: str) -> TemplateParts:
        answer, _ = await self._use_template(
            {"task": "inspect"}, name, source.encode(errors="replace"), seconds=RENDER_SECONDS
        )
        return _parts(answer)

    async def sheet(self, name: str, source: str) -> TemplateParts:
        answer, _ = await self._use_template(
            {"task": "sheet"}, name, source.encode(errors="replace"), seconds=RENDER_SECONDS
        )
        return _parts(answer)

    async def _use_template(
        self, task: Mapping[str, Any], template: str, *blobs: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        request = {**task, "folders": self._folders, "template": template}
        try:
            answer, blob = await _ask(self._at_work, request, *blobs, seconds=seconds, kind=template)
        except TooCostlyError as error:
            raise FaultError(FaultKind.TEMPLATE_ERROR, f"{template}: {error}") from error
        if "fault" in answer:
            raise FaultError(FaultKind(answer["kind"]), answer["fault"])
        return answer, blob

    async def schema(self, schema: bytes) -> tuple[list[str], float]:
        answer, _ = await _ask(self._at_work, {"task": "schema"}, schema, seconds=CHECK_SECONDS, kind=schema)
        return answer["faults"], answer["seconds"]

    async def aclose(self) -> None:
        await self._at_the_door.aclose()
        await self._at_work.aclose()


def new_checker(folders: Sequence[Path]) -> BoundedChecker:
    """Return a checker. ``folders``: where to look for templates; the first folder that has one counts."""
    return BoundedChecker(Processes("checks of requests"), Processes("work on jobs"), folders)


async def _ask(
    processes: Processes, request: Mapping[str, Any], *blobs: bytes, seconds: float, kind: Hashable = None
) -> tuple[dict[str, Any], bytes]:
    head, blob, _ = await processes.ask([orjson.dumps(request), *blobs], seconds, kind)
    return orjson.loads(head), blob


def _parts(answer: Mapping[str, Any]) -> TemplateParts:
    references = answer["references"]
    return TemplateParts(
        tuple(answer["templates"]),
        tuple(answer["optional"]),
        References(tuple(references["required"]), tuple(references["optional"]), references["own_base"]),
    )


def _encoded(text: str) -> bytes:
    """Encode, and replace half surrogate pairs: they are neither valid text nor valid JSON."""
    return text.encode(errors="replace")


def _problems(answer: Mapping[str, Any]) -> list[FieldProblem]:
    return [FieldProblem(pointer, detail) for pointer, detail in answer["problems"]]

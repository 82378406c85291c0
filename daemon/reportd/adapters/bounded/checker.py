"""The port ``Checker``, by worker processes of its own kind for those who ask and for what comes off the queue."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from reportd.adapters.bounded.processes import Processes
from reportd.adapters.bounded.tasks import job_fields, job_of
from reportd.core.dead_letters.triage import RawLetter, Reading
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.core.jobs.parameters import Parameters, text_of
from reportd.core.jobs.submission import FieldProblem, InvalidSubmissionError, NotJsonError, Submission
from reportd.core.pages.inert import Html
from reportd.core.repair.envelopes import Change
from reportd.ports import TooCostlyError

READ_SECONDS = 20.0
"""To read a megabyte takes half a second at the worst, and no more than its size. This is for a machine that hangs."""

CHECK_SECONDS = 4.0
"""A megabyte that is as it should be takes a tenth of a second. Where a schema holds itself, anything is possible."""

RENDER_SECONDS = 20.0
"""A page of 10,000 rows takes a fifth of a second; more than this it never gets, whatever the job's own limit is."""


class BoundedChecker:
    """``at_the_door`` serves those who submit, ``at_work`` the jobs; neither can keep the other waiting.

    Must be closed, once nobody asks any more.
    """

    def __init__(self, at_the_door: Processes, at_work: Processes, folders: Sequence[Path]) -> None:
        self._at_the_door = at_the_door
        self._at_work = at_work
        self._folders = [str(folder) for folder in folders]

    def start(self) -> None:
        """The first job is not to wait for the start of a process."""
        self._at_work.start()

    async def submission(self, body: bytes) -> Submission:
        told, parameters = await _ask(self._at_the_door, {"task": "submission"}, body, seconds=READ_SECONDS)
        if "notJson" in told:
            raise NotJsonError(told["notJson"])
        if "problems" in told:
            raise InvalidSubmissionError(_problems(told))
        return Submission(told["reportType"], Parameters(parameters.decode()), told["userId"], told["callbackUrl"])

    async def message(self, body: str) -> Job | StoredJob:
        told, parameters = await _ask(self._at_work, {"task": "message"}, _encoded(body), seconds=READ_SECONDS)
        if "bad" in told:
            raise BadMessageError(told["bad"], told["taskId"])
        if "stored" in told:
            return StoredJob(told["stored"])
        return job_of(told["job"], Parameters(parameters.decode()))

    async def problems(
        self, schema: bytes, parameters: Mapping[str, Any], *, at_the_door: bool = False
    ) -> list[FieldProblem]:
        who = self._at_the_door if at_the_door else self._at_work
        told, _ = await _ask(
            who, {"task": "check"}, schema, text_of(parameters).encode(), seconds=CHECK_SECONDS, kind=schema
        )
        return _problems(told)

    async def letter(self, letter: RawLetter, names: Mapping[str, str], schemas: bytes) -> Reading:
        asked = {"task": "letter", "names": names, "sentAt": letter.sent_at, "attributes": letter.attributes}
        return _reading(
            *await _ask(self._at_work, asked, _encoded(letter.body), schemas, seconds=CHECK_SECONDS, kind="letters")
        )

    async def job(self, job: Job, names: Mapping[str, str], schemas: bytes) -> Reading:
        asked = {"task": "job", "names": names, "job": job_fields(job)}
        return _reading(
            *await _ask(
                self._at_work, asked, text_of(job.parameters).encode(), schemas, seconds=CHECK_SECONDS, kind="letters"
            )
        )

    async def html(self, template: str, parameters: Mapping[str, Any], seconds: float) -> Html:
        asked = {"task": "render", "folders": self._folders, "template": template}
        limit = min(seconds, RENDER_SECONDS)
        try:
            told, page = await _ask(self._at_work, asked, text_of(parameters).encode(), seconds=limit, kind=template)
        except TooCostlyError as error:
            raise FaultError(FaultKind.TEMPLATE_ERROR, f"{template}: {error}") from error
        if "fault" in told:
            raise FaultError(FaultKind(told["kind"]), told["fault"])
        return Html(page.decode(), told["inert"])

    async def template(self, template: str) -> None:
        asked = {"task": "template", "folders": self._folders, "template": template}
        try:
            told, _ = await _ask(self._at_work, asked, seconds=RENDER_SECONDS, kind=template)
        except TooCostlyError as error:
            raise FaultError(FaultKind.TEMPLATE_ERROR, f"{template}: {error}") from error
        if "fault" in told:
            raise FaultError(FaultKind(told["kind"]), told["fault"])

    async def schema(self, schema: bytes) -> tuple[list[str], float]:
        told, _ = await _ask(self._at_work, {"task": "schema"}, schema, seconds=CHECK_SECONDS, kind=schema)
        return told["faults"], told["seconds"]

    async def aclose(self) -> None:
        await self._at_the_door.aclose()
        await self._at_work.aclose()


def new_checker(folders: Sequence[Path]) -> BoundedChecker:
    """``folders``: where templates are looked for, the first that has one counts."""
    return BoundedChecker(Processes("checks of requests"), Processes("work on jobs"), folders)


async def _ask(
    who: Processes, asked: Mapping[str, Any], *blobs: bytes, seconds: float, kind: Hashable = None
) -> tuple[dict[str, Any], bytes]:
    head, blob, _ = await who.ask([orjson.dumps(asked), *blobs], seconds, kind)
    return orjson.loads(head), blob


def _encoded(text: str) -> bytes:
    """Half of a surrogate pair is no text, and no JSON either."""
    return text.encode(errors="replace")


def _problems(told: Mapping[str, Any]) -> list[FieldProblem]:
    return [FieldProblem(pointer, detail) for pointer, detail in told["problems"]]


def _reading(told: Mapping[str, Any], parameters: bytes) -> Reading:
    job = job_of(told["job"], Parameters(parameters.decode())) if "job" in told else None
    return Reading(job, told["taskId"], told["problem"], tuple(Change(**change) for change in told["changes"]))

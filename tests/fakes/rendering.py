"""A renderer without browsers, and the report types it is asked for."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.submission import FieldProblem, Submission, parse
from reportd.core.jobs.warnings import JobWarning
from reportd.core.pages.network import NetworkRule
from reportd.ports import OnProgress, Pdf, RenderOptions, RenderRequest, Slot, TokenPlace, ignore_progress
from tests.fakes.weather import Weather


def pdf_of(task_id: str, spool: Path | None = None, warnings: tuple[JobWarning, ...] = ()) -> Pdf:
    """The same bytes for the same task; in a temporary file where there is a folder for it."""
    data = b"%PDF-1.7 " + task_id.encode()
    digest = sha256(data).hexdigest()
    if spool is None:
        return Pdf(len(data), digest, data=data, warnings=warnings)
    path = spool / f"pdf-{task_id}.part"
    path.write_bytes(data)
    return Pdf(len(data), digest, path=path, warnings=warnings)


class FakeRenderer:
    """Implements ``ports.Renderer``: each render takes ``seconds``, then fails with the task's next fault, if any.

    ``hanging``: how long those of a task take instead. ``warnings``: what is missing from the PDF of a task;
    ``evidence``: what its faults come with. ``progress``: what a task's page says, each for ``seconds``, before.
    ``tokens``: the render tokens of a task, in the order of its attempts.
    """

    def __init__(self, slots: int = 2, weather: Weather | None = None, spool: Path | None = None) -> None:
        self.seconds = 1.0
        self.hanging: dict[str, float] = {}
        self.faults: dict[str, list[FaultKind | Exception]] = defaultdict(list)
        self.evidence: dict[str, Evidence] = {}
        self.warnings: dict[str, tuple[JobWarning, ...]] = {}
        self.progress: dict[str, list[float]] = {}
        self.rendered: list[tuple[str, bool]] = []
        self.tokens: dict[str, list[str]] = defaultdict(list)
        self.busy = 0
        self.most_busy = 0
        self._places = trio.Semaphore(slots)
        self._weather = weather or Weather()
        self._spool = spool

    @property
    def free(self) -> int:
        return self._places.value

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        async with self._places:
            yield self

    async def render(
        self, request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress = ignore_progress
    ) -> Pdf:
        self.rendered.append((request.task_id, dedicated_browser))
        self.tokens[request.task_id].append(request.token)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            async with self._weather.call("renderer", "render"):
                for step in self.progress.get(request.task_id, ()):
                    on_progress(step)
                    await trio.sleep(self.seconds)
                await trio.sleep(self.hanging.get(request.task_id, self.seconds))
                if faults := self.faults[request.task_id]:
                    fault = faults.pop(0)
                    evidence = self.evidence.get(request.task_id)
                    raise FaultError(fault, "scripted", evidence) if isinstance(fault, FaultKind) else fault
        finally:
            self.busy -= 1
        return pdf_of(request.task_id, self._spool, self.warnings.get(request.task_id, ()))


class FakeTypes:
    """Knows the type ``report``, also as ``old_report``, and those of ``names``; parameters must not hold ``wrong``.

    No job may have print options. ``timezone``: that of the type. ``broken``: what making a
    page raises. ``token``: its page is at a URL, and gets a render token in this place.
    """

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.names = {"report"}
        self.timezone = ""
        self.token: TokenPlace | None = None

    async def submission(self, body: bytes) -> Submission:
        return parse(body)

    async def message(self, body: str) -> Job | StoredJob:
        return from_message(body)

    async def check_submission(
        self, report_type: str, parameters: Mapping[str, Any], options: JobOptions
    ) -> list[FieldProblem]:
        return self.problems(report_type, parameters) + self.check_options(report_type, options)

    async def check(self, report_type: str, parameters: Mapping[str, Any], options: JobOptions) -> list[FieldProblem]:
        return self.problems(report_type, parameters) + self.check_options(report_type, options)

    def check_options(self, _report_type: str, options: JobOptions) -> list[FieldProblem]:
        return [FieldProblem(f"/pdf/{name}", "is not allowed") for name in options.pdf]

    def problems(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]:
        if self.canonical(report_type) is None:
            return [FieldProblem("/reportType", "there is no report type of this name")]
        return [FieldProblem("/parameters/wrong", "must not be there")] if "wrong" in parameters else []

    def canonical(self, report_type: str) -> str | None:
        name = "report" if report_type == "old_report" else report_type
        return name if name in self.names else None

    def with_defaults(self, job: Job) -> Job:
        return replace(job, options=replace(job.options, timezone=job.options.timezone or self.timezone))

    def check_callback(self, url: str) -> list[FieldProblem]:
        return [] if url.startswith("https://") else [FieldProblem("/callbackUrl", "must be https")]

    async def request(self, job: Job) -> RenderRequest:
        if self.broken is not None:
            raise self.broken
        request = request_for(job.task_id, job.report_type)
        if self.token is None:
            return request
        options = replace(request.options, token=self.token, token_margin_seconds=10.0)
        return replace(request, html=None, url="https://reports.internal/page", options=options)


def request_for(
    task_id: str, report_type: str = "report", *, timeout_seconds: float = 60.0, isolation: str = "page"
) -> RenderRequest:
    """A page without content."""
    return RenderRequest(
        task_id=task_id,
        report_type=report_type,
        rule=NetworkRule.of([]),
        options=RenderOptions(),
        timeout_seconds=timeout_seconds,
        html="<p>",
        isolation=isolation,
    )

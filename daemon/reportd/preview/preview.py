"""Prints a report type again and again, and keeps what there is to see.

A job goes the same way: the catalogue checks it and makes the page, the pool prints it and judges the PDF.
"""

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import structlog
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.signal import Signal
from reportd.config import ConfigError
from reportd.core.faults import FaultError
from reportd.core.jobs.job import Job
from reportd.core.jobs.submission import InvalidSubmissionError
from reportd.core.pages.assets import base_url
from reportd.ports import PagePictures, Pdf, Renderer, RenderRequest, TooCostlyError, UnavailableError
from reportd.preview import findings
from reportd.preview.inputs import ParametersError, Subject, read_parameters
from reportd.preview.view import Finding, Printed, View

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The user and the task of the report. They are the same each time, so that only what was edited changes."""

FIRST = 1
"""The attempt. A preview has no other."""

log = structlog.get_logger()


class Preview:
    """``view`` is what there is to see now; ``changed`` is notified of each new one.

    ``read``: reads the report type from its files; raises ConfigError. ``folders``: where those files are searched.
    ``options``: fields of a submission, such as ``locale``.
    """

    def __init__(
        self,
        report_type: str,
        read: Callable[[], Awaitable[Subject]],
        folders: Sequence[Path],
        renderer: Renderer,
        pictures: PagePictures,
        *,
        options: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.view = View(report_type)
        self.changed = Signal()
        self._read = read
        self._folders = folders
        self._renderer = renderer
        self._pictures = pictures
        self._options = options
        self._clock = clock
        self._wanted = Signal()
        self._versions = itertools.count(1)

    def again(self) -> None:
        """Print again. What is being printed now is given up."""
        self._wanted.notify()

    async def run(self) -> None:
        """Print now, and again after each ``again``, until cancelled. Whatever fails is shown, and ends nothing."""
        while True:
            wanted = self._wanted.next()
            with trio.CancelScope() as scope:
                async with open_background() as nursery:
                    nursery.start_soon(_cancel_at, wanted, scope)
                    await self._show_newest()
            await wanted.wait()

    async def _show_newest(self) -> None:
        self._show(busy=True)
        try:
            subject = await self._read()
        except Exception as error:  # noqa: BLE001 - it is shown
            self._show(busy=False, findings=self._unread(error))
            return
        self._show(parameters=subject.parameters if subject.parameters.is_file() else None)
        try:
            printed = await self._print(subject)
        except Exception as error:  # noqa: BLE001 - it is shown
            self._show(busy=False, findings=self._findings(error, subject))
        else:
            self._show(busy=False, findings=(), printed=printed)

    def _show(self, **changes: Any) -> None:
        self.view = replace(self.view, number=self.view.number + 1, **changes)
        self.changed.notify()

    def _unread(self, error: Exception) -> tuple[Finding, ...]:
        match error:
            case ConfigError():
                return findings.of_config(error, self._folders)
            case UnavailableError():
                return (Finding("The files can't be checked", str(error)),)
        return _own_fault(error)

    def _findings(self, error: Exception, subject: Subject) -> tuple[Finding, ...]:
        match error:
            case FaultError():
                return (findings.of_fault(error, self._folders),)
            case InvalidSubmissionError():
                return findings.of_fields(error.problems, subject.parameters)
            case ParametersError():
                return (findings.of_parameters(str(error), subject.parameters),)
            case TooCostlyError():
                return (Finding("The parameters are too costly to check", f"that {error}"),)
            case UnavailableError():
                return (Finding("The report can't be printed now", str(error)),)
        return _own_fault(error)

    # --- a report -------------------------------------------------------------------------------------------

    async def _print(self, subject: Subject) -> Printed:
        began = trio.current_time()
        job = await self._job(subject)
        request = await subject.types.request(job)
        request = replace(request, options=replace(request.options, evidence=True))
        made = trio.current_time()
        async with self._renderer.slot() as slot:
            pdf = await slot.render(await subject.tokens.add(request, job, FIRST), dedicated_browser=False)
        ended = trio.current_time()
        data = _data(pdf)
        return Printed(
            version=next(self._versions),
            pdf=data,
            pages=await self._pictures.sizes(data),
            html=_as_written(request),
            url=request.url,
            assets=request.assets,
            warnings=pdf.warnings,
            template_seconds=made - began,
            print_seconds=ended - made,
            at=self._clock(),
        )

    async def _job(self, subject: Subject) -> Job:
        """Return the job that a submission of these parameters would be. Raises what the intake refuses it with."""
        parameters = read_parameters(subject.parameters, given=subject.given)
        fields = {"reportType": subject.report_type, "userId": NOBODY, "parameters": parameters, **self._options}
        submission = await subject.types.submission(orjson.dumps(fields))
        problems = await subject.types.check_submission(
            submission.report_type, submission.parameters, submission.options
        )
        if problems:
            raise InvalidSubmissionError(problems)
        return Job(
            task_id=NOBODY,
            report_type=subject.report_type,
            parameters=submission.parameters,
            user_id=submission.user_id,
            submitted_at=self._clock(),
            options=submission.options,
        )


def _as_written(request: RenderRequest) -> str | None:
    """Return the HTML of a template without the base address, at which nothing but its print finds its files."""
    return request.html and request.html.replace(f'<base href="{base_url(request.edition)}">', "", 1)


def _own_fault(error: Exception) -> tuple[Finding, ...]:
    log.error("preview.failed", exc_info=error)
    return (Finding("reportd itself has failed", f"{type(error).__name__}; the terminal shows where"),)


def _data(pdf: Pdf) -> bytes:
    """Return a PDF's bytes. A large one is in a file, which is removed."""
    if pdf.data is not None:
        return pdf.data
    assert pdf.path is not None  # noqa: S101 - it is in the one or the other
    try:
        return pdf.path.read_bytes()
    finally:
        pdf.discard()


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

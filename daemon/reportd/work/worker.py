"""One message, from receipt to settlement. The order of its steps is what keeps the promises:

attempt recorded → rendered → PDF stored → success recorded → message deleted. Whatever is cut off in between is
found by whoever receives the message next, and every step may safely be done twice.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from reportd.breakers.manager import Breakers, DeferredError
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.core.jobs.retry import needs_solitude
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import (
    SILENT,
    Artifacts,
    Jobs,
    Meter,
    Pdf,
    PdfInfo,
    Received,
    Refused,
    Renderer,
    RenderRequest,
    Slot,
    Started,
    TooCostlyError,
)
from reportd.system.file_descriptors import none_left
from reportd.work.bulkheads import Bulkheads, Turn
from reportd.work.in_flight import InFlightTask, InFlightTasks
from reportd.work.settlement import MessageSettler
from reportd.work.timeouts import LearnedTimeouts

log = structlog.get_logger()

STORE_PATIENCE_SECONDS = 60.0
"""How long a rendered PDF waits for its store before the slot in the line goes to another job."""


class JobReportTypes(Protocol):
    """The report types: what the worker needs of the catalogue."""

    async def message(self, body: str) -> Job | StoredJob: ...

    async def check(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]: ...

    def canonical(self, report_type: str) -> str | None: ...

    async def request(self, job: Job) -> RenderRequest: ...


class Worker:
    """Handles messages, any number at a time.

    ``shortage_since``: whether the node had no file descriptor left at a moment since then, or just before.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        artifacts: Artifacts,
        renderer: Renderer,
        types: JobReportTypes,
        breakers: Breakers,
        bulkheads: Bulkheads,
        deadlines: LearnedTimeouts,
        in_flight: InFlightTasks,
        outcomes: MessageSettler,
        node: str,
        meter: Meter = SILENT,
        shortage_since: Callable[[float], bool] = lambda _begun: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._artifacts = artifacts
        self._renderer = renderer
        self._types = types
        self._breakers = breakers
        self._bulkheads = bulkheads
        self._deadlines = deadlines
        self._in_flight = in_flight
        self._outcomes = outcomes
        self._node = node
        self._meter = meter
        self._shortage_since = shortage_since
        self._clock = clock

    async def handle(self, message: Received) -> None:
        """Settle a message, or leave it to be delivered again; never raises for what is wrong with a job."""
        carried: list[Job | StoredJob] = []
        # It names no task yet, or none that could be relied on, so it is held by its receipt.
        await self._holding(message.receipt, message, partial(self._read, message, carried))
        for one in carried:
            await self._handle(message, one)

    async def _read(self, message: Received, carried: list[Job | StoredJob], task: InFlightTask) -> None:
        """What the message carries, unless it is malformed, or called off meanwhile: a large one takes a moment."""
        try:
            found = await retry_while_unavailable(lambda: self._types.message(message.body))
        except BadMessageError as error:
            await self._outcomes.malformed(message, error, task)
        except TooCostlyError as error:
            await self._outcomes.malformed(message, BadMessageError(f"the message can't be read: that {error}"), task)
        else:
            if task.revoked is None:
                carried.append(found)

    async def _handle(self, message: Received, carried: Job | StoredJob) -> None:
        while task := self._in_flight.get(carried.task_id):
            # A second message of the task, or its visibility had ended while we work on it: the same work.
            task.receipts.append(message.receipt)
            await task.ended.wait()
            if message.receipt not in task.receipts:
                return
        # The context is the task's own, so these stay with this job's lines.
        structlog.contextvars.bind_contextvars(taskId=carried.task_id)
        await self._holding(carried.task_id, message, partial(self._work_on, message, carried))

    async def _holding(self, key: str, message: Received, work: Callable[[InFlightTask], Awaitable[None]]) -> None:
        task = InFlightTask(key, [message.receipt], message.receive_count)
        self._in_flight.add(task)
        try:
            with task.scope:
                await work(task)
            if task.revoked is not None:
                await self._outcomes.called_off(task)
        finally:
            self._in_flight.remove(task)

    async def _work_on(self, message: Received, carried: Job | StoredJob, task: InFlightTask) -> None:
        if isinstance(carried, Job):
            job = carried
        else:
            record = await retry_while_unavailable(lambda: self._jobs.get(carried.task_id))
            if record is None:
                error = BadMessageError("its parameters are in the job store no more", carried.task_id)
                await self._outcomes.malformed(message, error, task)
                return
            job = record.job
        # An alias would have a breaker of its own.
        job = replace(job, report_type=self._types.canonical(job.report_type) or job.report_type)
        structlog.contextvars.bind_contextvars(reportType=job.report_type, userId=job.user_id)
        await self._work(job, task)

    async def _work(self, job: Job, task: InFlightTask) -> None:
        if fault := await self._unfit(job):
            await self._outcomes.unfit(job, task, fault)
            return
        try:
            self._breakers.check(job.report_type)
            timed_out_before = await self._timed_out_before(job, task)
            async with self._bulkheads.enter(job.report_type, timed_out_before=timed_out_before) as turn:
                prepared = await self._prepare(job)
                if not timed_out_before and not isinstance(prepared, FaultError):
                    usual = self._deadlines.limit(job.report_type, prepared.timeout_seconds)
                    prepared = replace(prepared, timeout_seconds=usual)
                pdf = await self._render(job, task, prepared, turn)
            if pdf is None:
                return
            try:
                stored = await self._store(job, pdf)
            finally:
                pdf.discard()
        except DeferredError as rest:
            await self._outcomes.defer(job, task, rest)
            return
        except FaultError as error:
            await self._outcomes.failed(job, task, error.fault)
            return
        await self._outcomes.succeeded(job, task, stored)

    async def _timed_out_before(self, job: Job, task: InFlightTask) -> bool:
        """Whether it timed out before. What is received for the first time can't have."""
        if task.receive_count == 1:
            return False
        record = await retry_while_unavailable(lambda: self._jobs.get(job.task_id))
        return record is not None and record.error is not None and record.error.kind is FaultKind.TIMEOUT

    async def _prepare(self, job: Job) -> RenderRequest | FaultError:
        """The page to print, made while others have the slots; what is wrong with it counts once it has one."""
        try:
            return await retry_while_unavailable(lambda: self._types.request(job))
        except FaultError as error:
            return error
        except Exception as error:  # noqa: BLE001 - logged, and judged like any other fault
            return _internal(error)

    async def _render(
        self, job: Job, task: InFlightTask, prepared: RenderRequest | FaultError, turn: Turn
    ) -> Pdf | None:
        """The PDF, or None when the job may not be started. The attempt is on record before a browser is touched."""
        await turn.come()
        async with (
            self._renderer.slot() as slot,
            self._breakers.admit(job.report_type, _timeout_seconds(prepared)) as admission,
        ):
            start = await retry_while_unavailable(lambda: self._start(job, task))
            if isinstance(start, Started):
                alone = admission.alone = needs_solitude(start.record.tally)
                log.info("job.started", attempt=start.record.tally.attempts, alone=alone, probe=admission.probe)
                self._meter.started(job.report_type, self._clock() - job.submitted_at)
                begun = trio.current_time()
                pdf = await self._rendered(slot, prepared, alone=alone)
                seconds = trio.current_time() - begun
                log.info("job.rendered", seconds=round(seconds, 3), bytes=pdf.size_bytes)
                self._meter.rendered(job.report_type, seconds, pdf.size_bytes)
                admission.succeeded(seconds)
                self._bulkheads.succeeded(job.report_type, seconds)
                self._deadlines.rendered(job.report_type, seconds)
                return pdf
        await self._outcomes.refused(job, task, start)
        return None

    async def _start(self, job: Job, task: InFlightTask) -> Started | Refused:
        with task.recording():
            start = await self._jobs.start(job, self._node, self._clock())
            if isinstance(start, Started):
                task.started = start
        return start

    async def _rendered(self, slot: Slot, prepared: RenderRequest | FaultError, *, alone: bool) -> Pdf:
        if isinstance(prepared, FaultError):
            raise prepared
        begun = trio.current_time()
        try:
            return await slot.render(prepared, alone=alone)
        except FaultError as error:
            nature = error.fault.nature
            if nature.counts and not nature.kills_browser and self._shortage_since(begun):
                raise FaultError(FaultKind.OUT_OF_FILES, f"{_NONE_LEFT}; {error.fault.detail}") from error
            raise
        except Exception as error:
            raise _internal(error) from error

    async def _unfit(self, job: Job) -> Fault | None:
        """Outside producers are not checked at the door, so everybody is checked here."""
        try:
            problems = await retry_while_unavailable(lambda: self._types.check(job.report_type, job.parameters))
        except Exception as error:  # noqa: BLE001 - logged, and judged like any other fault
            return _internal(error).fault
        if not problems:
            return None
        detail = "; ".join(f"{p.pointer}: {p.detail}" for p in problems)
        unknown = problems[0].pointer == "/reportType"
        return Fault(FaultKind.UNKNOWN_REPORT_TYPE if unknown else FaultKind.INVALID_PARAMETERS, detail)

    async def _store(self, job: Job, pdf: Pdf) -> PdfInfo:
        """About the PDF that is stored: this one, or the one that was when an earlier try of the job was cut off."""
        with trio.move_on_after(STORE_PATIENCE_SECONDS):
            return await retry_while_unavailable(lambda: self._artifacts.put(job, pdf))
        raise FaultError(FaultKind.STORE_UNAVAILABLE, f"no PDF could be stored for {STORE_PATIENCE_SECONDS:g} s")


def _timeout_seconds(prepared: RenderRequest | FaultError) -> float:
    return 0.0 if isinstance(prepared, FaultError) else prepared.timeout_seconds


_NONE_LEFT = "the node had no file descriptor left"


def _internal(error: Exception) -> FaultError:
    if none_left(error):
        return FaultError(FaultKind.OUT_OF_FILES, _NONE_LEFT)
    log.error("job.internal_error", exc_info=error)
    return FaultError(FaultKind.INTERNAL, f"{type(error).__name__} in the daemon; see its log")

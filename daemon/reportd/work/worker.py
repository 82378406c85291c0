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

from reportd.breakers.manager import Breakers, PutOffError
from reportd.concurrency.retrying import patiently
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
from reportd.work.in_flight import Held, Hold
from reportd.work.settlement import Outcomes
from reportd.work.timeouts import Deadlines

log = structlog.get_logger()

STORE_PATIENCE_SECONDS = 60.0
"""How long a rendered PDF waits for its store before the slot in the line goes to another job."""


class Types(Protocol):
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
        types: Types,
        breakers: Breakers,
        bulkheads: Bulkheads,
        deadlines: Deadlines,
        held: Held,
        outcomes: Outcomes,
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
        self._held = held
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

    async def _read(self, message: Received, carried: list[Job | StoredJob], hold: Hold) -> None:
        """What the message carries, unless it is malformed, or called off meanwhile: a large one takes a moment."""
        try:
            found = await patiently(lambda: self._types.message(message.body))
        except BadMessageError as error:
            await self._outcomes.malformed(message, error, hold)
        except TooCostlyError as error:
            await self._outcomes.malformed(message, BadMessageError(f"the message can't be read: that {error}"), hold)
        else:
            if hold.recalled is None:
                carried.append(found)

    async def _handle(self, message: Received, carried: Job | StoredJob) -> None:
        while hold := self._held.get(carried.task_id):
            # A second message of the task, or its visibility had ended while we work on it: the same work.
            hold.receipts.append(message.receipt)
            await hold.ended.wait()
            if message.receipt not in hold.receipts:
                return
        # The context is the task's own, so these stay with this job's lines.
        structlog.contextvars.bind_contextvars(taskId=carried.task_id)
        await self._holding(carried.task_id, message, partial(self._work_on, message, carried))

    async def _holding(self, key: str, message: Received, work: Callable[[Hold], Awaitable[None]]) -> None:
        hold = Hold(key, [message.receipt], message.receive_count)
        self._held.add(hold)
        try:
            with hold.scope:
                await work(hold)
            if hold.recalled is not None:
                await self._outcomes.called_off(hold)
        finally:
            self._held.remove(hold)

    async def _work_on(self, message: Received, carried: Job | StoredJob, hold: Hold) -> None:
        if isinstance(carried, Job):
            job = carried
        else:
            record = await patiently(lambda: self._jobs.get(carried.task_id))
            if record is None:
                error = BadMessageError("its parameters are in the job store no more", carried.task_id)
                await self._outcomes.malformed(message, error, hold)
                return
            job = record.job
        # An alias would have a breaker of its own.
        job = replace(job, report_type=self._types.canonical(job.report_type) or job.report_type)
        structlog.contextvars.bind_contextvars(reportType=job.report_type, userId=job.user_id)
        await self._work(job, hold)

    async def _work(self, job: Job, hold: Hold) -> None:
        if fault := await self._unfit(job):
            await self._outcomes.unfit(job, hold, fault)
            return
        try:
            self._breakers.check(job.report_type)
            offender = await self._is_offender(job, hold)
            async with self._bulkheads.enter(job.report_type, offender=offender) as turn:
                prepared = await self._prepare(job)
                if not offender and not isinstance(prepared, FaultError):
                    usual = self._deadlines.limit(job.report_type, prepared.timeout_seconds)
                    prepared = replace(prepared, timeout_seconds=usual)
                pdf = await self._render(job, hold, prepared, turn)
            if pdf is None:
                return
            try:
                stored = await self._store(job, pdf)
            finally:
                pdf.discard()
        except PutOffError as rest:
            await self._outcomes.put_off(job, hold, rest)
            return
        except FaultError as error:
            await self._outcomes.failed(job, hold, error.fault)
            return
        await self._outcomes.succeeded(job, hold, stored)

    async def _is_offender(self, job: Job, hold: Hold) -> bool:
        """Whether it timed out before. What is received for the first time can't have."""
        if hold.receive_count == 1:
            return False
        record = await patiently(lambda: self._jobs.get(job.task_id))
        return record is not None and record.error is not None and record.error.kind is FaultKind.TIMEOUT

    async def _prepare(self, job: Job) -> RenderRequest | FaultError:
        """The page to print, made while others have the slots; what is wrong with it counts once it has one."""
        try:
            return await patiently(lambda: self._types.request(job))
        except FaultError as error:
            return error
        except Exception as error:  # noqa: BLE001 - logged, and judged like any other fault
            return _internal(error)

    async def _render(self, job: Job, hold: Hold, prepared: RenderRequest | FaultError, turn: Turn) -> Pdf | None:
        """The PDF, or None when the job may not be started. The attempt is on record before a browser is touched."""
        await turn.come()
        async with (
            self._renderer.slot() as slot,
            self._breakers.admit(job.report_type, _timeout_seconds(prepared)) as admission,
        ):
            start = await patiently(lambda: self._start(job, hold))
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
        await self._outcomes.refused(job, hold, start)
        return None

    async def _start(self, job: Job, hold: Hold) -> Started | Refused:
        with hold.recording():
            start = await self._jobs.start(job, self._node, self._clock())
            if isinstance(start, Started):
                hold.started = start
        return start

    async def _rendered(self, slot: Slot, prepared: RenderRequest | FaultError, *, alone: bool) -> Pdf:
        if isinstance(prepared, FaultError):
            raise prepared
        begun = trio.current_time()
        try:
            return await slot.render(prepared, alone=alone)
        except FaultError as error:
            nature = error.fault.nature
            if nature.counts and not nature.loss and self._shortage_since(begun):
                raise FaultError(FaultKind.OUT_OF_FILES, f"{_NONE_LEFT}; {error.fault.detail}") from error
            raise
        except Exception as error:
            raise _internal(error) from error

    async def _unfit(self, job: Job) -> Fault | None:
        """Outside producers are not checked at the door, so everybody is checked here."""
        try:
            problems = await patiently(lambda: self._types.check(job.report_type, job.parameters))
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
            return await patiently(lambda: self._artifacts.put(job, pdf))
        raise FaultError(FaultKind.STORE_UNAVAILABLE, f"no PDF could be stored for {STORE_PATIENCE_SECONDS:g} s")


def _timeout_seconds(prepared: RenderRequest | FaultError) -> float:
    return 0.0 if isinstance(prepared, FaultError) else prepared.timeout_seconds


_NONE_LEFT = "the node had no file descriptor left"


def _internal(error: Exception) -> FaultError:
    if none_left(error):
        return FaultError(FaultKind.OUT_OF_FILES, _NONE_LEFT)
    log.error("job.internal_error", exc_info=error)
    return FaultError(FaultKind.INTERNAL, f"{type(error).__name__} in the daemon; see its log")

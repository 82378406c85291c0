"""Handles one message, from receipt to settlement. The order of the steps makes it safe to stop anywhere:

attempt recorded → rendered → PDF stored → success recorded → message deleted. If a node stops in between, the node
that receives the message next goes on from there. Every step may be repeated.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

import structlog
import trio

from reportd.breakers.admission import DeferredError
from reportd.breakers.manager import Breakers
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.retry import needs_dedicated_browser
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import (
    NULL_METER,
    Artifacts,
    AttemptRefused,
    AttemptStarted,
    EvidenceStore,
    Jobs,
    Meter,
    Pdf,
    PdfInfo,
    Received,
    Renderer,
    RenderRequest,
    TooCostlyError,
)
from reportd.work.attempt_tokens import AttemptTokens
from reportd.work.attempts import Attempts, internal_fault
from reportd.work.bulkheads import Bulkheads, Turn
from reportd.work.evidence import keep_evidence
from reportd.work.in_flight import InFlightTask, InFlightTasks
from reportd.work.settlement import MessageSettler
from reportd.work.timeouts import LearnedTimeouts

log = structlog.get_logger()

STORE_PATIENCE_SECONDS = 60.0
"""How long a rendered PDF waits for the artifact store. Then the attempt fails, so that other jobs get its capacity."""


class JobReportTypes(Protocol):
    """The part of the catalogue that the worker needs."""

    async def message(self, body: str) -> Job | StoredJob: ...

    async def check(
        self, report_type: str, parameters: Mapping[str, Any], options: JobOptions
    ) -> list[FieldProblem]: ...

    def canonical(self, report_type: str) -> str | None: ...

    async def request(self, job: Job) -> RenderRequest: ...


class Worker:
    """Handles any number of messages at a time.

    ``shortage_since``: whether the node has run out of file descriptors since that time, or just before it.
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
        timeouts: LearnedTimeouts,
        in_flight: InFlightTasks,
        settler: MessageSettler,
        evidence: EvidenceStore,
        node: str,
        tokens: AttemptTokens | None = None,
        meter: Meter = NULL_METER,
        shortage_since: Callable[[float], bool] = lambda _begun: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._artifacts = artifacts
        self._renderer = renderer
        self._types = types
        self._breakers = breakers
        self._bulkheads = bulkheads
        self._timeouts = timeouts
        self._in_flight = in_flight
        self._settler = settler
        self._evidence = evidence
        self._node = node
        self._attempts = Attempts(types, tokens or AttemptTokens(), shortage_since)
        self._meter = meter
        self._clock = clock

    async def handle(self, message: Received) -> None:
        """Settle a message, or leave it to be delivered again. A fault of the job raises nothing."""
        content = None
        # Its task id is not known yet, or can't be trusted, so it is in flight under its receipt.
        async with self._in_flight_as(message.receipt, message) as task:
            content = await self._read(message, task)
        # It may be revoked while it is read: a large message takes a moment.
        if content is None or task.revoked is not None or await self._is_joined(message, content.task_id):
            return
        # Each trio task has a context of its own, so these fields go into this job's log lines only.
        structlog.contextvars.bind_contextvars(taskId=content.task_id)
        async with self._in_flight_as(content.task_id, message) as task:
            if job := await self._job(message, content, task):
                structlog.contextvars.bind_contextvars(reportType=job.report_type, userId=job.user_id)
                await self._work(job, task)

    @asynccontextmanager
    async def _in_flight_as(self, key: str, message: Received) -> AsyncIterator[InFlightTask]:
        """Have the message in flight for as long as the block, which ends early when the message is revoked."""
        task = InFlightTask(key, [message.receipt], message.receive_count)
        self._in_flight.add(task)
        try:
            with task.scope:
                yield task
            if task.revoked is not None:
                await self._settler.revoked(task)
        finally:
            self._in_flight.remove(task)

    async def _read(self, message: Received, task: InFlightTask) -> Job | StoredJob | None:
        """Return what the message carries; None if it is malformed, and settled."""
        try:
            return await retry_while_unavailable(lambda: self._types.message(message.body))
        except BadMessageError as error:
            await self._settler.malformed(message, error, task)
        except TooCostlyError as error:
            await self._settler.malformed(message, BadMessageError(f"the message can't be read: that {error}"), task)
        return None

    async def _is_joined(self, message: Received, task_id: str) -> bool:
        """Join the work on another message of the job, if there is any: a second message, or a redelivery after the
        visibility of the first has ended. Return whether that work has settled this message, too.
        """
        while task := self._in_flight.get(task_id):
            task.receipts.append(message.receipt)
            await task.ended.wait()
            if message.receipt not in task.receipts:
                return True
        return False

    async def _job(self, message: Received, content: Job | StoredJob, task: InFlightTask) -> Job | None:
        """Return the job under its type's own name; None if it can't be found, and its message is settled."""
        if isinstance(content, Job):
            job = content
        else:
            record = await retry_while_unavailable(lambda: self._jobs.get(content.task_id))
            if record is None:
                error = BadMessageError("its parameters are in the job store no more", content.task_id)
                await self._settler.malformed(message, error, task)
                return None
            job = record.job
        # Under an alias, the job would have a breaker of its own.
        return replace(job, report_type=self._types.canonical(job.report_type) or job.report_type)

    async def _work(self, job: Job, task: InFlightTask) -> None:
        if fault := await self._unfit(job):
            await self._settler.unfit(job, task, fault)
            return
        try:
            self._breakers.check(job.report_type)
            timed_out_before = await self._timed_out_before(job, task)
            async with self._bulkheads.enter(job.report_type, timed_out_before=timed_out_before) as turn:
                prepared = await self._prepare(job)
                if not isinstance(prepared, FaultError):
                    task.edition = prepared.edition
                    if not timed_out_before:
                        timeout_seconds = self._timeouts.limit(job.report_type, prepared.timeout_seconds)
                        prepared = replace(prepared, timeout_seconds=timeout_seconds)
                pdf = await self._render(job, task, prepared, turn)
            if pdf is None:
                return
            try:
                stored = await self._store(job, pdf)
            finally:
                pdf.discard()
        except DeferredError as deferral:
            await self._settler.defer(job, task, deferral)
            return
        except FaultError as error:
            await keep_evidence(self._evidence, task, error.evidence, self._clock())
            await self._settler.failed(job, task, error.fault)
            return
        await self._settler.succeeded(job, task, stored, pdf.warnings)

    async def _timed_out_before(self, job: Job, task: InFlightTask) -> bool:
        """Return whether the job timed out before. A message received for the first time needs no look-up."""
        if task.receive_count == 1:
            return False
        record = await retry_while_unavailable(lambda: self._jobs.get(job.task_id))
        return record is not None and record.error is not None and record.error.kind is FaultKind.TIMEOUT

    async def _prepare(self, job: Job) -> RenderRequest | FaultError:
        """Make the page to print before the job needs a slot. Return a fault, which counts once the job has a slot."""
        try:
            return await retry_while_unavailable(lambda: self._types.request(job))
        except FaultError as error:
            return error
        except Exception as error:  # noqa: BLE001 - logged, and handled like any other fault
            return internal_fault(error)

    async def _render(
        self, job: Job, task: InFlightTask, prepared: RenderRequest | FaultError, turn: Turn
    ) -> Pdf | None:
        """Return the PDF, or None when the job may not be started. Record the attempt before a browser is used."""
        await turn.wait()
        async with (
            self._renderer.slot() as slot,
            self._breakers.admit(job.report_type, _timeout_seconds(prepared)) as admission,
        ):
            start = await retry_while_unavailable(lambda: self._start(job, task))
            if isinstance(start, AttemptStarted):
                dedicated = admission.dedicated_browser = needs_dedicated_browser(start.record.tally)
                log.info(
                    "job.started",
                    attempt=start.record.tally.attempts,
                    alone=dedicated,
                    probe=admission.probe,
                )
                self._meter.started(job.report_type, self._clock() - job.submitted_at)
                started_at = trio.current_time()
                pdf = await self._attempts.render(slot, prepared, job, task, dedicated_browser=dedicated)
                seconds = trio.current_time() - started_at
                log.info("job.rendered", seconds=round(seconds, 3), bytes=pdf.size_bytes)
                self._meter.rendered(job.report_type, seconds, pdf.size_bytes)
                admission.succeeded(seconds)
                self._bulkheads.succeeded(job.report_type, seconds)
                self._timeouts.rendered(job.report_type, seconds)
                return pdf
        await self._settler.refused(job, task, start)
        return None

    async def _start(self, job: Job, task: InFlightTask) -> AttemptStarted | AttemptRefused:
        with task.recording():
            start = await self._jobs.start(job, self._node, self._clock())
            if isinstance(start, AttemptStarted):
                task.started = start
        return start

    async def _unfit(self, job: Job) -> Fault | None:
        """Return why the job can never be rendered, or None. Check every job: producers may bypass the intake."""
        try:
            problems = await retry_while_unavailable(
                lambda: self._types.check(job.report_type, job.parameters, job.options)
            )
        except Exception as error:  # noqa: BLE001 - logged, and handled like any other fault
            return internal_fault(error).fault
        if not problems:
            return None
        detail = "; ".join(f"{p.pointer}: {p.detail}" for p in problems)
        unknown = problems[0].pointer == "/reportType"
        return Fault(FaultKind.UNKNOWN_REPORT_TYPE if unknown else FaultKind.INVALID_PARAMETERS, detail)

    async def _store(self, job: Job, pdf: Pdf) -> PdfInfo:
        """Store the PDF, unless an attempt that was cut off has stored one. Return the info of the stored one."""
        with trio.move_on_after(STORE_PATIENCE_SECONDS):
            return await retry_while_unavailable(lambda: self._artifacts.put(job, pdf))
        raise FaultError(FaultKind.STORE_UNAVAILABLE, f"no PDF could be stored for {STORE_PATIENCE_SECONDS:g} s")


def _timeout_seconds(prepared: RenderRequest | FaultError) -> float:
    return 0.0 if isinstance(prepared, FaultError) else prepared.timeout_seconds

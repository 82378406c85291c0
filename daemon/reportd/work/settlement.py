"""Settles a message when the work on it has ended: delete it, retry it, defer it, or dead-letter its job.

Every settlement records first, then sends, then deletes. If it is cut off, the next delivery completes it. Every step
may be repeated.
"""

import random
import time
from collections import Counter
from collections.abc import Callable

import structlog
import trio

from reportd.breakers.admission import DeferredError
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.faults import Fault
from reportd.core.jobs.job import BadMessageError, Job
from reportd.core.jobs.retry import GiveUp, RetryPolicy, Tally, after_fault, count_fault
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import (
    NULL_METER,
    Artifacts,
    AttemptRefused,
    Jobs,
    Meter,
    Outgoing,
    PdfInfo,
    Queue,
    Received,
    Record,
    Settlement,
)
from reportd.work.in_flight import InFlightTask, Revocation, delete, release
from reportd.work.job_waiters import JobWaiters
from reportd.work.messages import message_of

log = structlog.get_logger()

SETTLE_SECONDS = 3.0
"""How long each step to give back a revoked message may take. After that, its visibility timeout returns it."""

UNDER_WAY = frozenset({JobState.QUEUED, JobState.RUNNING})


class MessageSettler:
    """``max_receive_count``: after so many receives the queue itself dead-letters a message."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        artifacts: Artifacts,
        waiters: JobWaiters,
        policy: RetryPolicy,
        max_receive_count: int,
        meter: Meter = NULL_METER,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._dead = dead
        self._artifacts = artifacts
        self._waiters = waiters
        self._policy = policy
        self._max_receive_count = max_receive_count
        self._meter = meter
        self._clock = clock
        self._chance = chance

    async def succeeded(
        self, job: Job, task: InFlightTask, stored: PdfInfo, warnings: tuple[JobWarning, ...] = ()
    ) -> None:
        settlement = Settlement(
            job.task_id,
            JobEvent.SUCCEEDED,
            self._clock(),
            attempt_id=_attempt_id(task),
            pdf=stored,
            warnings=warnings,
            edition=task.edition,
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        log.info("job.succeeded")
        self._warn(job, warnings)
        self._ended(job, JobEvent.SUCCEEDED)
        self._waiters.notify(job.task_id)
        await delete(self._queue, task)

    async def failed(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        tally = count_fault(task.started.record.tally if task.started else Tally(), fault)
        decision = after_fault(fault, tally, self._policy, self._chance())
        log.warning("job.failed", kind=fault.kind, detail=fault.detail, attempt=tally.attempts)
        self._meter.failed(job.report_type, fault.kind)
        if isinstance(decision, GiveUp):
            log.error("job.dead_lettered", kind=fault.kind, reason=decision.reason)
            await self.dead_letter(job, task, fault)
            return
        settlement = Settlement(
            job.task_id,
            JobEvent.RETRIED,
            self._clock(),
            attempt_id=_attempt_id(task),
            fault=fault,
            edition=task.edition,
            counted=fault.nature.counts,
            loss=fault.nature.kills_browser,
            deferred_seconds=decision.delay_seconds,
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        self._waiters.notify(job.task_id)
        log.info("job.retry_scheduled", delaySeconds=round(decision.delay_seconds, 3))
        self._ended(job, JobEvent.RETRIED)
        await release(self._queue, task, decision.delay_seconds)

    async def defer(self, job: Job, task: InFlightTask, deferral: DeferredError) -> None:
        """Let the message come again later. That uses no attempt (I3).

        The queue's redrive policy counts receives. So a new message replaces it at half of ``max_receive_count``.
        """
        (record,) = await retry_while_unavailable(lambda: self._jobs.add([job]))
        if record.state not in UNDER_WAY:
            await self._finish(job, task, record)
            return
        settlement = Settlement(
            job.task_id,
            JobEvent.DEFERRED,
            self._clock(),
            attempt_id=_attempt_id(task),
            counted=False,
            deferred_seconds=deferral.seconds,
        )
        await retry_while_unavailable(lambda: self._jobs.settle(settlement))
        self._waiters.notify(job.task_id)
        log.info("job.put_off", why=str(deferral), seconds=round(deferral.seconds, 3))
        self._meter.deferred(job.report_type)
        if 2 * task.receive_count < self._max_receive_count:
            await release(self._queue, task, deferral.seconds)
            return
        # Without the attribute, a FIFO queue would drop it as a duplicate of the message that it replaces.
        max_bytes, attributes = self._queue.max_message_bytes, {"deferred": "yes"}
        message = message_of(job, max_bytes, delay_seconds=deferral.seconds, attributes=attributes)
        await self._send(self._queue, message)
        await delete(self._queue, task)

    async def refused(self, job: Job, task: InFlightTask, refused: AttemptRefused) -> None:
        if refused.fault is not None:
            log.error("job.dead_lettered", kind=refused.fault.kind, reason=refused.fault.detail)
            self._meter.failed(job.report_type, refused.fault.kind)
            await self.dead_letter(job, task, refused.fault)
            return
        await self._finish(job, task, refused.record)

    async def dead_letter(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        """Give the job up: record it, send a letter to the dead-letter queue, delete the message."""
        settlement = Settlement(
            job.task_id,
            JobEvent.DEAD_LETTERED,
            self._clock(),
            attempt_id=_attempt_id(task),
            fault=fault,
            edition=task.edition,
            counted=fault.nature.counts,
            loss=fault.nature.kills_browser and task.started is not None,
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        self._waiters.notify(job.task_id)
        self._ended(job, JobEvent.DEAD_LETTERED)
        await self._send_dead_letter(job, fault)
        await delete(self._queue, task)

    async def unfit(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        """Dead-letter a job that can never be rendered as it is."""
        self._meter.failed(job.report_type, fault.kind)
        await retry_while_unavailable(lambda: self._jobs.add([job]))
        await self.dead_letter(job, task, fault)

    async def malformed(self, message: Received, error: BadMessageError, task: InFlightTask) -> None:
        """Send a message that is no job to the dead-letter queue unchanged, with the reason."""
        log.error("message.malformed", detail=error.fault.detail, taskId=error.task_id)
        self._meter.failed("", error.fault.kind)
        attributes = {"kind": str(error.fault.kind), "reason": error.fault.detail[:1000]}
        # If this is cut off after the send, the letter is sent twice. This time shows that both are the same message.
        attributes["sentAt"] = f"{message.sent_at:.3f}"
        await self._send(self._dead, Outgoing(message.body, error.task_id or "", "", "", attributes=attributes))
        await delete(self._queue, task)

    async def revoked(self, task: InFlightTask) -> None:
        """Give back a message whose work was revoked. A revocation is no failure and uses no attempt (I7)."""
        log.info("job.called_off", why=task.revoked)
        if task.started:
            outcome = JobEvent.CANCELLED if task.revoked is Revocation.CANCELLED else JobEvent.RELEASED
            self._ended(task.started.record.job, outcome)
        with trio.CancelScope(shield=True):
            if task.revoked is Revocation.CANCELLED:
                with trio.move_on_after(SETTLE_SECONDS):
                    await retry_while_unavailable(lambda: self._artifacts.remove(task.task_id))
                    await delete(self._queue, task)
                return
            if task.started:
                settlement = Settlement(
                    task.task_id, JobEvent.RELEASED, self._clock(), attempt_id=_attempt_id(task), counted=False
                )
                with trio.move_on_after(SETTLE_SECONDS):
                    await retry_while_unavailable(lambda: self._jobs.settle(settlement))
            # Release it even if that was not recorded. Then the next start finds this attempt without an outcome.
            with trio.move_on_after(SETTLE_SECONDS) as releasing:
                await release(self._queue, task, 0.0)
            if releasing.cancelled_caught:
                log.warning("message.not_given_back", detail="it is received again when its visibility ends")

    async def _overtaken(self, job: Job, task: InFlightTask) -> None:
        """Finish the message of a job that its user, or another node that received the message, has settled."""
        record = await retry_while_unavailable(lambda: self._jobs.get(job.task_id))
        if record is not None and record.state not in UNDER_WAY:
            await self._finish(job, task, record)
        # Else keep the message: another node works on it, and our old receipt could still delete it.

    async def _finish(self, job: Job, task: InFlightTask, record: Record) -> None:
        """Complete the settlement of a job that is settled already. The node that settled it may have died midway."""
        log.info("job.already_settled", state=record.state)
        if record.state is JobState.DEAD_LETTERED:
            await self._send_dead_letter(job, record.error)
        elif record.state is JobState.CANCELLED:
            # A PDF may have been stored while the job was cancelled. Remove it only in this final state: a job that can
            # be revived may have a new PDF.
            await retry_while_unavailable(lambda: self._artifacts.remove(job.task_id))
        await delete(self._queue, task)

    async def _send_dead_letter(self, job: Job, fault: Fault | None) -> None:
        await self._send(self._dead, dead_letter(job, fault, self._dead.max_message_bytes))

    async def _send(self, queue: Queue, message: Outgoing) -> None:
        async def send() -> None:
            for error in await queue.send([message]):
                if error is not None:
                    raise error

        await retry_while_unavailable(send)

    def _warn(self, job: Job, warnings: tuple[JobWarning, ...]) -> None:
        """Log and count the warnings by kind. The log does not get their texts: a page chooses them."""
        counts: Counter[WarningKind] = Counter()
        for warning in warnings:
            counts[WarningKind(warning.kind)] += warning.count
        if counts:
            log.warning("job.warnings", counts={str(kind): count for kind, count in counts.items()})
        for kind, count in counts.items():
            self._meter.warned(job.report_type, kind, count)

    def _ended(self, job: Job, outcome: JobEvent) -> None:
        self._meter.ended(job.report_type, outcome, self._clock() - job.submitted_at)


def dead_letter(job: Job, fault: Fault | None, max_bytes: int) -> Outgoing:
    """Return the message that tells triage of a job that was given up."""
    attributes = {"kind": str(fault.kind), "reason": fault.detail[:1000]} if fault else {"kind": "unknown"}
    return message_of(job, max_bytes, attributes=attributes)


def _attempt_id(task: InFlightTask) -> int | None:
    return task.started.attempt_id if task.started else None

"""What becomes of a message when its work has ended: settled, sent again, put off, or dead-lettered.

The order of the steps is the point: record first, then send, then delete. Cut off anywhere, the next delivery completes
it, and every step may safely be done twice.
"""

import random
import time
from collections.abc import Callable

import structlog
import trio

from reportd.breakers.manager import DeferredError
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.faults import Fault
from reportd.core.jobs.job import BadMessageError, Job, to_message
from reportd.core.jobs.retry import GiveUp, RetryPolicy, Tally, after_fault, counted
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import (
    SILENT,
    Artifacts,
    Jobs,
    Meter,
    Outgoing,
    PdfInfo,
    Queue,
    Received,
    Record,
    Refused,
    Settlement,
)
from reportd.work.in_flight import InFlightTask, Revocation, delete, release
from reportd.work.job_waiters import JobWaiters

log = structlog.get_logger()

SETTLE_SECONDS = 3.0
"""How long giving a message back may take when its work was called off; then its visibility ends by itself."""

UNDER_WAY = frozenset({JobState.QUEUED, JobState.RUNNING})


class MessageSettler:
    """``max_receive_count``: after so many receives the queue itself takes a message for dead."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        artifacts: Artifacts,
        changes: JobWaiters,
        policy: RetryPolicy,
        max_receive_count: int,
        meter: Meter = SILENT,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._dead = dead
        self._artifacts = artifacts
        self._changes = changes
        self._policy = policy
        self._max_receive_count = max_receive_count
        self._meter = meter
        self._clock = clock
        self._chance = chance

    async def succeeded(self, job: Job, task: InFlightTask, stored: PdfInfo) -> None:
        settlement = Settlement(
            job.task_id, JobEvent.SUCCEEDED, self._clock(), attempt_id=_attempt_id(task), pdf=stored
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        log.info("job.succeeded")
        self._ended(job, JobEvent.SUCCEEDED)
        self._changes.notify(job.task_id)
        await delete(self._queue, task)

    async def failed(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        tally = counted(task.started.record.tally if task.started else Tally(), fault)
        verdict = after_fault(fault, tally, self._policy, self._chance())
        log.warning("job.failed", kind=fault.kind, detail=fault.detail, attempt=tally.attempts)
        self._meter.failed(job.report_type, fault.kind)
        if isinstance(verdict, GiveUp):
            log.error("job.dead_lettered", kind=fault.kind, reason=verdict.reason)
            await self.dead_letter(job, task, fault)
            return
        settlement = Settlement(
            job.task_id,
            JobEvent.RETRIED,
            self._clock(),
            attempt_id=_attempt_id(task),
            fault=fault,
            counted=fault.nature.counts,
            loss=fault.nature.kills_browser,
            away_seconds=verdict.delay_seconds,
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        self._changes.notify(job.task_id)
        log.info("job.retry_scheduled", delaySeconds=round(verdict.delay_seconds, 3))
        self._ended(job, JobEvent.RETRIED)
        await release(self._queue, task, verdict.delay_seconds)

    async def defer(self, job: Job, task: InFlightTask, rest: DeferredError) -> None:
        """It uses no attempt (I3), and no receive in the end: the queue's redrive policy counts those."""
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
            away_seconds=rest.seconds,
        )
        await retry_while_unavailable(lambda: self._jobs.settle(settlement))
        self._changes.notify(job.task_id)
        log.info("job.put_off", why=str(rest), seconds=round(rest.seconds, 3))
        self._meter.deferred(job.report_type)
        if 2 * task.receive_count < self._max_receive_count:
            await release(self._queue, task, rest.seconds)
            return
        body = to_message(job, self._queue.max_message_bytes)
        # With an attribute, a FIFO queue does not take it for the message that it replaces.
        again = Outgoing(body, job.task_id, job.report_type, job.user_id, rest.seconds, {"deferred": "yes"})
        await self._send(self._queue, again)
        await delete(self._queue, task)

    async def refused(self, job: Job, task: InFlightTask, refused: Refused) -> None:
        if refused.fault is not None:
            log.error("job.dead_lettered", kind=refused.fault.kind, reason=refused.fault.detail)
            self._meter.failed(job.report_type, refused.fault.kind)
            await self.dead_letter(job, task, refused.fault)
            return
        await self._finish(job, task, refused.record)

    async def dead_letter(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        """Record first, then send, then delete: cut off anywhere, the next delivery completes it."""
        settlement = Settlement(
            job.task_id,
            JobEvent.DEAD_LETTERED,
            self._clock(),
            attempt_id=_attempt_id(task),
            fault=fault,
            counted=fault.nature.counts,
            loss=fault.nature.kills_browser and task.started is not None,
        )
        if await retry_while_unavailable(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, task)
            return
        self._changes.notify(job.task_id)
        self._ended(job, JobEvent.DEAD_LETTERED)
        await self._send_dead_letter(job, fault)
        await delete(self._queue, task)

    async def unfit(self, job: Job, task: InFlightTask, fault: Fault) -> None:
        """It can never be rendered as it is."""
        self._meter.failed(job.report_type, fault.kind)
        await retry_while_unavailable(lambda: self._jobs.add([job]))
        await self.dead_letter(job, task, fault)

    async def malformed(self, message: Received, error: BadMessageError, task: InFlightTask) -> None:
        """What is no job goes to the dead-letter queue as it came, with the reason."""
        log.error("message.malformed", detail=error.fault.detail, taskId=error.task_id)
        self._meter.failed("", error.fault.kind)
        attributes = {"kind": str(error.fault.kind), "reason": error.fault.detail[:1000]}
        # Cut off here it is sent twice; by this, both are known for the same message.
        attributes["sentAt"] = f"{message.sent_at:.3f}"
        await self._send(self._dead, Outgoing(message.body, error.task_id or "", "", "", attributes=attributes))
        await delete(self._queue, task)

    async def called_off(self, task: InFlightTask) -> None:
        """The work was called off, which is nobody's failure (I7): no attempt is used."""
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
            # Also when that could not be recorded: then the next start finds this one without an outcome.
            with trio.move_on_after(SETTLE_SECONDS) as giving_back:
                await release(self._queue, task, 0.0)
            if giving_back.cancelled_caught:
                log.warning("message.not_given_back", detail="it comes again when its visibility ends")

    async def _overtaken(self, job: Job, task: InFlightTask) -> None:
        """Somebody else has moved the job: its user, or a node that was given its message while we had lost it."""
        record = await retry_while_unavailable(lambda: self._jobs.get(job.task_id))
        if record is not None and record.state not in UNDER_WAY:
            await self._finish(job, task, record)
        # Else the other one still needs the message, and an old receipt may be good enough to delete it.

    async def _finish(self, job: Job, task: InFlightTask, record: Record) -> None:
        """The job was settled before. Whoever did it may have died in the middle, so complete it."""
        log.info("job.already_settled", state=record.state)
        if record.state is JobState.DEAD_LETTERED:
            await self._send_dead_letter(job, record.error)
        elif record.state is JobState.CANCELLED:
            # A PDF that was being stored at that moment. Only where nothing can follow: what is revived has a new one.
            await retry_while_unavailable(lambda: self._artifacts.remove(job.task_id))
        await delete(self._queue, task)

    async def _send_dead_letter(self, job: Job, fault: Fault | None) -> None:
        await self._send(self._dead, dead_letter(job, fault, self._dead.max_message_bytes))

    async def _send(self, queue: Queue, letter: Outgoing) -> None:
        async def send() -> None:
            for error in await queue.send([letter]):
                if error is not None:
                    raise error

        await retry_while_unavailable(send)

    def _ended(self, job: Job, outcome: JobEvent) -> None:
        self._meter.ended(job.report_type, outcome, self._clock() - job.submitted_at)


def dead_letter(job: Job, fault: Fault | None, max_bytes: int) -> Outgoing:
    """The message that tells triage of a job that was given up."""
    attributes = {"kind": str(fault.kind), "reason": fault.detail[:1000]} if fault else {"kind": "unknown"}
    return Outgoing(to_message(job, max_bytes), job.task_id, job.report_type, job.user_id, attributes=attributes)


def _attempt_id(task: InFlightTask) -> int | None:
    return task.started.attempt_id if task.started else None

"""What becomes of a message when its work has ended: settled, sent again, put off, or dead-lettered.

The order of the steps is the point: record first, then send, then delete. Cut off anywhere, the next delivery completes
it, and every step may safely be done twice.
"""

import random
import time
from collections.abc import Callable

import structlog
import trio

from reportd.breakers.manager import PutOffError
from reportd.concurrency.retrying import patiently
from reportd.core.faults import Fault
from reportd.core.jobs.job import BadMessageError, Job, to_message
from reportd.core.jobs.retry import GiveUp, RetryPolicy, Tally, after_fault, counted
from reportd.core.jobs.transitions import Event, State
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
from reportd.work.in_flight import Hold, Recall, delete, release
from reportd.work.job_waiters import Changes

log = structlog.get_logger()

SETTLE_SECONDS = 3.0
"""How long giving a message back may take when its work was called off; then its visibility ends by itself."""

UNDER_WAY = frozenset({State.QUEUED, State.RUNNING})


class Outcomes:
    """``max_receive_count``: after so many receives the queue itself takes a message for dead."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        artifacts: Artifacts,
        changes: Changes,
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

    async def succeeded(self, job: Job, hold: Hold, stored: PdfInfo) -> None:
        settlement = Settlement(job.task_id, Event.SUCCEEDED, self._clock(), attempt_id=_attempt_id(hold), pdf=stored)
        if await patiently(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, hold)
            return
        log.info("job.succeeded")
        self._ended(job, Event.SUCCEEDED)
        self._changes.notify(job.task_id)
        await delete(self._queue, hold)

    async def failed(self, job: Job, hold: Hold, fault: Fault) -> None:
        tally = counted(hold.started.record.tally if hold.started else Tally(), fault)
        verdict = after_fault(fault, tally, self._policy, self._chance())
        log.warning("job.failed", kind=fault.kind, detail=fault.detail, attempt=tally.attempts)
        self._meter.failed(job.report_type, fault.kind)
        if isinstance(verdict, GiveUp):
            log.error("job.dead_lettered", kind=fault.kind, reason=verdict.reason)
            await self.dead_letter(job, hold, fault)
            return
        settlement = Settlement(
            job.task_id,
            Event.RETRIED,
            self._clock(),
            attempt_id=_attempt_id(hold),
            fault=fault,
            counted=fault.nature.counts,
            loss=fault.nature.loss,
            away_seconds=verdict.delay_seconds,
        )
        if await patiently(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, hold)
            return
        self._changes.notify(job.task_id)
        log.info("job.retry_scheduled", delaySeconds=round(verdict.delay_seconds, 3))
        self._ended(job, Event.RETRIED)
        await release(self._queue, hold, verdict.delay_seconds)

    async def put_off(self, job: Job, hold: Hold, rest: PutOffError) -> None:
        """It uses no attempt (I3), and no receive in the end: the queue's redrive policy counts those."""
        (record,) = await patiently(lambda: self._jobs.add([job]))
        if record.state not in UNDER_WAY:
            await self._finish(job, hold, record)
            return
        settlement = Settlement(
            job.task_id,
            Event.DEFERRED,
            self._clock(),
            attempt_id=_attempt_id(hold),
            counted=False,
            away_seconds=rest.seconds,
        )
        await patiently(lambda: self._jobs.settle(settlement))
        self._changes.notify(job.task_id)
        log.info("job.put_off", why=str(rest), seconds=round(rest.seconds, 3))
        self._meter.put_off(job.report_type)
        if 2 * hold.receive_count < self._max_receive_count:
            await release(self._queue, hold, rest.seconds)
            return
        body = to_message(job, self._queue.max_message_bytes)
        # With an attribute, a FIFO queue does not take it for the message that it replaces.
        again = Outgoing(body, job.task_id, job.report_type, job.user_id, rest.seconds, {"deferred": "yes"})
        await self._send(self._queue, again)
        await delete(self._queue, hold)

    async def refused(self, job: Job, hold: Hold, refused: Refused) -> None:
        if refused.fault is not None:
            log.error("job.dead_lettered", kind=refused.fault.kind, reason=refused.fault.detail)
            self._meter.failed(job.report_type, refused.fault.kind)
            await self.dead_letter(job, hold, refused.fault)
            return
        await self._finish(job, hold, refused.record)

    async def dead_letter(self, job: Job, hold: Hold, fault: Fault) -> None:
        """Record first, then send, then delete: cut off anywhere, the next delivery completes it."""
        settlement = Settlement(
            job.task_id,
            Event.DEAD_LETTERED,
            self._clock(),
            attempt_id=_attempt_id(hold),
            fault=fault,
            counted=fault.nature.counts,
            loss=fault.nature.loss and hold.started is not None,
        )
        if await patiently(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, hold)
            return
        self._changes.notify(job.task_id)
        self._ended(job, Event.DEAD_LETTERED)
        await self._send_dead_letter(job, fault)
        await delete(self._queue, hold)

    async def unfit(self, job: Job, hold: Hold, fault: Fault) -> None:
        """It can never be rendered as it is."""
        self._meter.failed(job.report_type, fault.kind)
        await patiently(lambda: self._jobs.add([job]))
        await self.dead_letter(job, hold, fault)

    async def malformed(self, message: Received, error: BadMessageError, hold: Hold) -> None:
        """What is no job goes to the dead-letter queue as it came, with the reason."""
        log.error("message.malformed", detail=error.fault.detail, taskId=error.task_id)
        self._meter.failed("", error.fault.kind)
        attributes = {"kind": str(error.fault.kind), "reason": error.fault.detail[:1000]}
        # Cut off here it is sent twice; by this, both are known for the same message.
        attributes["sentAt"] = f"{message.sent_at:.3f}"
        await self._send(self._dead, Outgoing(message.body, error.task_id or "", "", "", attributes=attributes))
        await delete(self._queue, hold)

    async def called_off(self, hold: Hold) -> None:
        """The work was called off, which is nobody's failure (I7): no attempt is used."""
        log.info("job.called_off", why=hold.recalled)
        if hold.started:
            outcome = Event.CANCELLED if hold.recalled is Recall.CANCELLED else Event.RELEASED
            self._ended(hold.started.record.job, outcome)
        with trio.CancelScope(shield=True):
            if hold.recalled is Recall.CANCELLED:
                with trio.move_on_after(SETTLE_SECONDS):
                    await patiently(lambda: self._artifacts.remove(hold.task_id))
                    await delete(self._queue, hold)
                return
            if hold.started:
                settlement = Settlement(
                    hold.task_id, Event.RELEASED, self._clock(), attempt_id=_attempt_id(hold), counted=False
                )
                with trio.move_on_after(SETTLE_SECONDS):
                    await patiently(lambda: self._jobs.settle(settlement))
            # Also when that could not be recorded: then the next start finds this one without an outcome.
            with trio.move_on_after(SETTLE_SECONDS) as giving_back:
                await release(self._queue, hold, 0.0)
            if giving_back.cancelled_caught:
                log.warning("message.not_given_back", detail="it comes again when its visibility ends")

    async def _overtaken(self, job: Job, hold: Hold) -> None:
        """Somebody else has moved the job: its user, or a node that was given its message while we had lost it."""
        record = await patiently(lambda: self._jobs.get(job.task_id))
        if record is not None and record.state not in UNDER_WAY:
            await self._finish(job, hold, record)
        # Else the other one still needs the message, and an old receipt may be good enough to delete it.

    async def _finish(self, job: Job, hold: Hold, record: Record) -> None:
        """The job was settled before. Whoever did it may have died in the middle, so complete it."""
        log.info("job.already_settled", state=record.state)
        if record.state is State.DEAD_LETTERED:
            await self._send_dead_letter(job, record.error)
        elif record.state is State.CANCELLED:
            # A PDF that was being stored at that moment. Only where nothing can follow: what is revived has a new one.
            await patiently(lambda: self._artifacts.remove(job.task_id))
        await delete(self._queue, hold)

    async def _send_dead_letter(self, job: Job, fault: Fault | None) -> None:
        await self._send(self._dead, dead_letter(job, fault, self._dead.max_message_bytes))

    async def _send(self, queue: Queue, letter: Outgoing) -> None:
        async def send() -> None:
            for error in await queue.send([letter]):
                if error is not None:
                    raise error

        await patiently(send)

    def _ended(self, job: Job, outcome: Event) -> None:
        self._meter.ended(job.report_type, outcome, self._clock() - job.submitted_at)


def dead_letter(job: Job, fault: Fault | None, max_bytes: int) -> Outgoing:
    """The message that tells triage of a job that was given up."""
    attributes = {"kind": str(fault.kind), "reason": fault.detail[:1000]} if fault else {"kind": "unknown"}
    return Outgoing(to_message(job, max_bytes), job.task_id, job.report_type, job.user_id, attributes=attributes)


def _attempt_id(hold: Hold) -> int | None:
    return hold.started.attempt_id if hold.started else None

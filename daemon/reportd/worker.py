"""One message, from receipt to settlement. The order of its steps is what keeps the promises:

attempt recorded → rendered → PDF stored → success recorded → message deleted. Whatever is cut off in between is
found by whoever receives the message next, and every step may safely be done twice.
"""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from reportd.breakers import Breakers, PutOffError
from reportd.changes import Changes
from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.core.job import BadMessageError, Job, StoredJob, from_message, to_message
from reportd.core.retry import GiveUp, RetryPolicy, Tally, after_fault, needs_solitude
from reportd.core.transitions import Event, State
from reportd.held import Held, Hold, Recall, delete, release
from reportd.patience import patiently
from reportd.ports import (
    Artifacts,
    Jobs,
    Outgoing,
    Pdf,
    Queue,
    Received,
    Record,
    Refused,
    Renderer,
    RenderRequest,
    Settlement,
    Slot,
    Started,
    UnavailableError,
)
from reportd.service import FieldProblem

log = structlog.get_logger()

SETTLE_SECONDS = 5.0
"""How long giving a message back may take when its work was called off; then its visibility ends by itself."""

STORE_PATIENCE_SECONDS = 60.0
"""How long a rendered PDF waits for its store before the slot in the line goes to another job."""


UNDER_WAY = frozenset({State.QUEUED, State.RUNNING})


class Types(Protocol):
    """The report types: what the worker needs of the catalogue."""

    def check(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]: ...

    def request(self, job: Job) -> RenderRequest: ...


class Worker:
    """Handles messages, any number at a time. ``store_trouble``: why the last PDF could not be stored, else empty."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        artifacts: Artifacts,
        renderer: Renderer,
        types: Types,
        breakers: Breakers,
        max_receive_count: int,
        held: Held,
        changes: Changes,
        policy: RetryPolicy,
        node: str,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.store_trouble = ""
        self._jobs = jobs
        self._queue = queue
        self._dead = dead
        self._artifacts = artifacts
        self._renderer = renderer
        self._types = types
        self._breakers = breakers
        self._max_receive_count = max_receive_count
        self._held = held
        self._changes = changes
        self._policy = policy
        self._node = node
        self._clock = clock
        self._chance = chance

    async def handle(self, message: Received) -> None:
        """Settle a message, or leave it to be delivered again; never raises for what is wrong with a job."""
        try:
            carried = from_message(message.body)
        except BadMessageError as error:
            # It names no task that could be relied on, so it is held by its receipt.
            await self._holding(message.receipt, message, partial(self._dead_letter_message, message, error))
            return
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
                await self._give_back(hold)
        finally:
            self._held.remove(hold)

    async def _work_on(self, message: Received, carried: Job | StoredJob, hold: Hold) -> None:
        if isinstance(carried, Job):
            job = carried
        else:
            record = await patiently(lambda: self._jobs.get(carried.task_id))
            if record is None:
                error = BadMessageError("its parameters are in the job store no more", carried.task_id)
                await self._dead_letter_message(message, error, hold)
                return
            job = record.job
        structlog.contextvars.bind_contextvars(reportType=job.report_type, userId=job.user_id)
        await self._work(job, hold)

    async def _work(self, job: Job, hold: Hold) -> None:
        if fault := self._unfit(job):
            await patiently(lambda: self._jobs.add([job]))
            await self._dead_letter(job, hold, fault)
            return
        try:
            self._breakers.check(job.report_type)
            prepared = await self._prepare(job)
            pdf = await self._render(job, hold, prepared)
            if pdf is None:
                return
            try:
                await self._store(job, pdf)
            finally:
                pdf.discard()
        except PutOffError as rest:
            await self._put_off(job, hold, rest)
            return
        except FaultError as error:
            await self._failed(job, hold, error.fault)
            return
        await self._succeeded(job, hold, pdf)

    async def _prepare(self, job: Job) -> RenderRequest | FaultError:
        """The page to print, made while others have the slots; what is wrong with it counts once it has one."""
        try:
            return await trio.to_thread.run_sync(self._types.request, job)
        except FaultError as error:
            return error
        except Exception as error:  # noqa: BLE001 - logged, and judged like any other fault
            return _internal(error)

    async def _render(self, job: Job, hold: Hold, prepared: RenderRequest | FaultError) -> Pdf | None:
        """The PDF, or None when the job may not be started. The attempt is on record before a browser is touched."""
        async with (
            self._renderer.slot() as slot,
            self._breakers.admit(job.report_type, _timeout_seconds(prepared)) as admission,
        ):
            start = await patiently(lambda: self._start(job, hold))
            if isinstance(start, Started):
                alone = needs_solitude(start.record.tally)
                log.info("job.started", attempt=start.record.tally.attempts, alone=alone, probe=admission.probe)
                begun = trio.current_time()
                pdf = await self._rendered(slot, prepared, alone=alone)
                seconds = trio.current_time() - begun
                log.info("job.rendered", seconds=round(seconds, 3), bytes=pdf.size_bytes)
                admission.succeeded(seconds)
                return pdf
        await self._refused(job, hold, start)
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
        try:
            return await slot.render(prepared, alone=alone)
        except FaultError:
            raise
        except Exception as error:
            raise _internal(error) from error

    async def _succeeded(self, job: Job, hold: Hold, pdf: Pdf) -> None:
        settlement = Settlement(job.task_id, Event.SUCCEEDED, self._clock(), attempt_id=_attempt_id(hold), pdf=pdf.info)
        if await patiently(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, hold)
            return
        log.info("job.succeeded")
        self._changes.notify(job.task_id)
        await delete(self._queue, hold)

    def _unfit(self, job: Job) -> Fault | None:
        """Outside producers are not checked at the door, so everybody is checked here."""
        try:
            problems = self._types.check(job.report_type, job.parameters)
        except Exception as error:  # noqa: BLE001 - logged, and judged like any other fault
            return _internal(error).fault
        if not problems:
            return None
        detail = "; ".join(f"{p.pointer}: {p.detail}" for p in problems)
        unknown = problems[0].pointer == "/reportType"
        return Fault(FaultKind.UNKNOWN_REPORT_TYPE if unknown else FaultKind.INVALID_PARAMETERS, detail)

    async def _store(self, job: Job, pdf: Pdf) -> None:
        with trio.move_on_after(STORE_PATIENCE_SECONDS):
            await patiently(lambda: self._put(job, pdf))
            return
        raise FaultError(FaultKind.STORE_UNAVAILABLE, f"no PDF could be stored for {STORE_PATIENCE_SECONDS:g} s")

    async def _put(self, job: Job, pdf: Pdf) -> None:
        try:
            await self._artifacts.put(job, pdf)
        except UnavailableError as error:
            self.store_trouble = str(error)
            raise
        self.store_trouble = ""

    # --- what does not succeed ------------------------------------------------------------------------------

    async def _failed(self, job: Job, hold: Hold, fault: Fault) -> None:
        nature = fault.nature
        before = hold.started.record.tally if hold.started else Tally()
        tally = replace(
            before,
            losses=before.losses + nature.loss,
            unharmed=before.unharmed + (not nature.counts),
        )
        verdict = after_fault(fault, tally, self._policy, self._chance())
        log.warning("job.failed", kind=fault.kind, detail=fault.detail, attempt=tally.attempts)
        if isinstance(verdict, GiveUp):
            log.error("job.dead_lettered", kind=fault.kind, reason=verdict.reason)
            await self._dead_letter(job, hold, fault)
            return
        settlement = Settlement(
            job.task_id,
            Event.RETRIED,
            self._clock(),
            attempt_id=_attempt_id(hold),
            fault=fault,
            counted=nature.counts,
            loss=nature.loss,
        )
        if await patiently(lambda: self._jobs.settle(settlement)) is None:
            await self._overtaken(job, hold)
            return
        self._changes.notify(job.task_id)
        log.info("job.retry_scheduled", delaySeconds=round(verdict.delay_seconds, 3))
        await release(self._queue, hold, verdict.delay_seconds)

    async def _put_off(self, job: Job, hold: Hold, rest: PutOffError) -> None:
        """It uses no attempt (I3), and no receive in the end: the queue's redrive policy counts those."""
        (record,) = await patiently(lambda: self._jobs.add([job]))
        if record.state not in UNDER_WAY:
            await self._finish(job, hold, record)
            return
        settlement = Settlement(job.task_id, Event.DEFERRED, self._clock(), attempt_id=_attempt_id(hold), counted=False)
        await patiently(lambda: self._jobs.settle(settlement))
        self._changes.notify(job.task_id)
        log.info("job.put_off", why=str(rest), seconds=round(rest.seconds, 3))
        if 2 * hold.receive_count < self._max_receive_count:
            await release(self._queue, hold, rest.seconds)
            return
        body = to_message(job, self._queue.max_message_bytes)
        # With an attribute, a FIFO queue does not take it for the message that it replaces.
        again = Outgoing(body, job.task_id, job.report_type, job.user_id, rest.seconds, {"deferred": "yes"})
        await self._send(self._queue, again)
        await delete(self._queue, hold)

    async def _refused(self, job: Job, hold: Hold, refused: Refused) -> None:
        if refused.fault is not None:
            log.error("job.dead_lettered", kind=refused.fault.kind, reason=refused.fault.detail)
            await self._dead_letter(job, hold, refused.fault)
            return
        await self._finish(job, hold, refused.record)

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
        elif record.state is not State.SUCCEEDED:
            # A PDF that was being stored at that moment.
            await patiently(lambda: self._artifacts.remove(job.task_id))
        await delete(self._queue, hold)

    async def _dead_letter(self, job: Job, hold: Hold, fault: Fault) -> None:
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
        await self._send_dead_letter(job, fault)
        await delete(self._queue, hold)

    async def _send_dead_letter(self, job: Job, fault: Fault | None) -> None:
        attributes = {"kind": str(fault.kind), "reason": fault.detail[:1000]} if fault else {"kind": "unknown"}
        letter = Outgoing(
            to_message(job, self._dead.max_message_bytes),
            job.task_id,
            job.report_type,
            job.user_id,
            attributes=attributes,
        )
        await self._send(self._dead, letter)

    async def _send(self, queue: Queue, letter: Outgoing) -> None:
        async def send() -> None:
            for error in await queue.send([letter]):
                if error is not None:
                    raise error

        await patiently(send)

    async def _dead_letter_message(self, message: Received, error: BadMessageError, hold: Hold) -> None:
        """What is no job goes to the dead-letter queue as it came, with the reason."""
        log.error("message.malformed", detail=error.fault.detail, taskId=error.task_id)
        attributes = {"kind": str(error.fault.kind), "reason": error.fault.detail[:1000]}
        # Cut off here it is sent twice; by this, both are known for the same message.
        attributes["sentAt"] = f"{message.sent_at:.3f}"
        await self._send(self._dead, Outgoing(message.body, error.task_id or "", "", "", attributes=attributes))
        await delete(self._queue, hold)

    # --- giving a message back ------------------------------------------------------------------------------

    async def _give_back(self, hold: Hold) -> None:
        """The work was called off, which is nobody's failure (I7): no attempt is used."""
        log.info("job.called_off", why=hold.recalled)
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
            with trio.move_on_after(SETTLE_SECONDS):
                await release(self._queue, hold, 0.0)


def _timeout_seconds(prepared: RenderRequest | FaultError) -> float:
    return 0.0 if isinstance(prepared, FaultError) else prepared.timeout_seconds


def _internal(error: Exception) -> FaultError:
    log.error("job.internal_error", exc_info=error)
    return FaultError(FaultKind.INTERNAL, f"{type(error).__name__} in the daemon; see its log")


def _attempt_id(hold: Hold) -> int | None:
    return hold.started.attempt_id if hold.started else None

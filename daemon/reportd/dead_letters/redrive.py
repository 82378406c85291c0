"""The letters that wait: when their cause may have passed, one job of it is tried, and then the rest.

``core.dead_letters.redrive`` decides when and how many. One node at a time does it. If two nodes meet at a cause, only
one moves it: its job, its letter and the cause change in one transaction.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from reportd.concurrency.periodic import LEASE_ROUNDS
from reportd.core.breaker.breaker import Breaker
from reportd.core.dead_letters.redrive import Cause, is_over, is_own, judged, may_go
from reportd.core.dead_letters.triage import (
    Action,
    JobHistory,
    Reading,
    TriageFacts,
    TriagePolicy,
    TriageVerdict,
    triage,
)
from reportd.core.jobs.job import timestamp, to_message
from reportd.core.jobs.retry import Tally
from reportd.dead_letters.quarantine import Quarantine
from reportd.ports import (
    Audit,
    AuditEntry,
    CauseView,
    DeadLetter,
    DeadLetters,
    Jobs,
    Outgoing,
    Queue,
    Record,
    Redrive,
    UnavailableError,
)

MAX_CAUSES = 200
MAX_OVERDUE = 500

log = structlog.get_logger()


class Redriver:
    """``go`` is one round."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        letters: DeadLetters,
        quarantine: Quarantine,
        breaker_of: Callable[[str], Breaker],
        audit: Audit,
        policy: TriagePolicy,
        lease_seconds: float,
        node: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._letters = letters
        self._quarantine = quarantine
        self._breaker_of = breaker_of
        self._audit = audit
        self._policy = policy
        self._lease_seconds = lease_seconds
        self._node = node
        self._clock = clock

    async def go(self) -> None:
        """One round over all causes, if it is this node that does it."""
        if not await self._jobs.acquire_lease("redrive", self._node, LEASE_ROUNDS * self._lease_seconds):
            return
        await self._letters.tidy()
        for letter in await self._letters.overdue(self._clock() - self._policy.max_wait_seconds, MAX_OVERDUE):
            await self._judge(letter, turn=False)
        views = await self._letters.causes(self._clock(), MAX_CAUSES)
        last_sent_at: dict[str, float] = defaultdict(float)
        for view in views:
            name = view.cause.report_type
            last_sent_at[name] = max(last_sent_at[name], view.cause.sent_at)
        for view in views:
            if await self._consider(view, last_sent_at[view.cause.report_type]):
                last_sent_at[view.cause.report_type] = self._clock()

    async def _consider(self, view: CauseView, last_sent_at: float) -> bool:
        """Judge the last wave, and send the next one if it is time; whether it was."""
        now = self._clock()
        cause = judged(view.cause, view.outcome, now)
        if view.cause.wave and not cause.wave:
            log.info("cause.judged", cause=cause.signature, reportType=cause.report_type, **_told(view))
        breaker = self._breaker_of(cause.report_type)
        count = min(view.due, may_go(cause, breaker, last_sent_at, now, self._policy))
        wave = await self._choose(cause, count) if count else []
        if wave:
            own = {m.id: is_own(cause, breaker, len(wave), view.waiting, m.first_seen_at) for m in wave}
            return await self._send(cause, wave, own)
        if cause.version and not view.waiting and is_over(cause, now, self._policy):
            await self._letters.forget(cause)
        elif cause is not view.cause:
            await self._letters.replace(cause)
        return False

    async def _choose(self, cause: Cause, count: int) -> list[DeadLetter]:
        due = await self._letters.due(cause, self._clock(), count)
        return [letter for letter in due if (await self._judge(letter, turn=True)).action is Action.REDRIVE]

    async def _judge(self, letter: DeadLetter, *, turn: bool) -> TriageVerdict:
        record = await self._jobs.get(letter.task_id or letter.id)
        verdict = triage(self._case(letter, record, turn=turn))
        if verdict.action is Action.QUARANTINE:
            await self._quarantine.take_waiting(replace(letter, reason=verdict.reason))
        return verdict

    def _case(self, letter: DeadLetter, record: Record | None, *, turn: bool) -> TriageFacts:
        """Its content was judged when it came, so what is left is its fault and its history."""
        history = JobHistory(
            state=record.state if record else None,
            fault=record.error if record else None,
            tally=record.tally if record else Tally(),
            redrives=letter.redrives,
            returns=letter.returns,
            first_failed_at=letter.first_seen_at,
            last_failed_at=letter.due_at - self._policy.cooldown_seconds,
            turn=turn,
        )
        reading = Reading(record.job if record else None, letter.task_id)
        return TriageFacts(reading, history, self._breaker_of(letter.report_type), self._clock(), self._policy)

    async def _send(self, cause: Cause, wave: Sequence[DeadLetter], own: Mapping[str, bool]) -> bool:
        now = self._clock()
        sent = replace(cause, wave=tuple(letter.id for letter in wave), sent_at=now)
        released = await self._letters.release([Redrive(letter.id, own[letter.id]) for letter in wave], now, sent)
        if released is None:
            log.info("cause.moved_by_another_node", cause=cause.signature, reportType=cause.report_type)
            return False
        log.warning("cause.tried", cause=cause.signature, reportType=cause.report_type, jobs=len(released))
        about = {letter.id: letter for letter in wave}
        messages = [
            self._message(record, about[record.job.task_id], own=own[record.job.task_id]) for record in released
        ]
        await self._deliver(messages)
        detail = {"group": cause.signature, "jobs": len(released), "canary": len(released) == 1}
        await self._audit.record(
            [AuditEntry(now, self._node, "dead_letter.redriven", message.task_id, detail) for message in messages]
        )
        return True

    def _message(self, record: Record, letter: DeadLetter, *, own: bool) -> Outgoing:
        job = record.job
        # With attributes, a FIFO queue does not take it for the first message once more.
        told = {"redrives": str(letter.redrives + own), "firstFailedAt": timestamp(letter.first_seen_at)}
        body = to_message(job, self._queue.max_message_bytes)
        return Outgoing(body, job.task_id, job.report_type, job.user_id, attributes=told)

    async def _deliver(self, messages: Sequence[Outgoing]) -> None:
        """What the queue does not take now, the sweep of unconfirmed jobs sends later."""
        if not messages:
            return
        try:
            outcomes = await self._queue.send(messages)
        except UnavailableError as error:
            outcomes = [error] * len(messages)
        sent = [message.task_id for message, problem in zip(messages, outcomes, strict=True) if problem is None]
        await self._jobs.confirm(sent)


def _told(view: CauseView) -> dict[str, int]:
    outcome = view.outcome
    return {"succeeded": outcome.succeeded, "failed": outcome.failed, "waiting": view.waiting}

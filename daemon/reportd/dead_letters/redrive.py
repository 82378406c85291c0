"""Redrives the letters that wait: once their cause may have passed, first one job of it, the canary, then the others.

``core.dead_letters.redrive`` decides when and how many. One node at a time does it. If two nodes handle the same cause,
only one succeeds: the jobs, their letters and the cause change in one transaction.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from reportd.concurrency.periodic import LEASE_ROUNDS
from reportd.core.breaker.breaker import Breaker
from reportd.core.dead_letters.redrive import Cause, counts_as_redrive, is_expired, next_wave_size, settle_wave
from reportd.core.dead_letters.triage import (
    Action,
    JobHistory,
    LetterContent,
    TriageFacts,
    TriagePolicy,
    TriageVerdict,
    triage,
)
from reportd.core.jobs.job import timestamp
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
)
from reportd.work.messages import message_of, send_messages

MAX_CAUSES = 200
"""The most causes of a round."""

MAX_OVERDUE = 500
"""The most letters of a round that are quarantined because they have waited too long."""

log = structlog.get_logger()


class Redriver:
    """``run_round`` goes once over all causes."""

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

    async def run_round(self) -> None:
        """Go once over all causes, if this node has the lease."""
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
            if await self._redrive(view, last_sent_at[view.cause.report_type]):
                last_sent_at[view.cause.report_type] = self._clock()

    async def _redrive(self, view: CauseView, last_sent_at: float) -> bool:
        """Judge the last wave, and send the next one if it is time. Return whether one was sent."""
        now = self._clock()
        cause = settle_wave(view.cause, view.outcome, now)
        if view.cause.wave and not cause.wave:
            log.info("cause.judged", cause=cause.signature, reportType=cause.report_type, **_counts(view))
        breaker = self._breaker_of(cause.report_type)
        count = min(view.due, next_wave_size(cause, breaker, last_sent_at, now, self._policy))
        wave = await self._choose(cause, count) if count else []
        if wave:
            own = {m.id: counts_as_redrive(cause, breaker, len(wave), view.waiting, m.first_seen_at) for m in wave}
            return await self._send(cause, wave, own)
        if cause.version and not view.waiting and is_expired(cause, now, self._policy):
            await self._letters.forget(cause)
        elif cause is not view.cause:
            await self._letters.replace(cause)
        return False

    async def _choose(self, cause: Cause, count: int) -> list[DeadLetter]:
        due = await self._letters.due(cause, self._clock(), count)
        return [letter for letter in due if (await self._judge(letter, turn=True)).action is Action.REDRIVE]

    async def _judge(self, letter: DeadLetter, *, turn: bool) -> TriageVerdict:
        record = await self._jobs.get(letter.task_id or letter.id)
        verdict = triage(self._facts(letter, record, turn=turn))
        if verdict.action is Action.QUARANTINE:
            await self._quarantine.add_waiting(replace(letter, reason=verdict.reason))
        return verdict

    def _facts(self, letter: DeadLetter, record: Record | None, *, turn: bool) -> TriageFacts:
        """Return the fault and the history of a kept letter. Its content was judged when it came from the DLQ."""
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
        reading = LetterContent(record.job if record else None, letter.task_id)
        return TriageFacts(reading, history, self._breaker_of(letter.report_type), self._clock(), self._policy)

    async def _send(self, cause: Cause, wave: Sequence[DeadLetter], own: Mapping[str, bool]) -> bool:
        now = self._clock()
        sent = replace(cause, wave=tuple(letter.id for letter in wave), sent_at=now)
        released = await self._letters.release([Redrive(letter.id, own[letter.id]) for letter in wave], now, sent)
        if released is None:
            log.info("cause.moved_by_another_node", cause=cause.signature, reportType=cause.report_type)
            return False
        log.warning("cause.tried", cause=cause.signature, reportType=cause.report_type, jobs=len(released))
        letters = {letter.id: letter for letter in wave}
        messages = [
            self._message(record, letters[record.job.task_id], own=own[record.job.task_id]) for record in released
        ]
        errors = await send_messages(self._queue, messages)
        # The janitor sends those later that the queue does not accept now.
        if confirmed := [m.task_id for m, error in zip(messages, errors, strict=True) if error is None]:
            await self._jobs.confirm(confirmed)
        detail = {"group": cause.signature, "jobs": len(released), "canary": len(released) == 1}
        await self._audit.record(
            [AuditEntry(now, self._node, "dead_letter.redriven", message.task_id, detail) for message in messages]
        )
        return True

    def _message(self, record: Record, letter: DeadLetter, *, own: bool) -> Outgoing:
        # Without attributes, a FIFO queue may drop it as a duplicate of the first message.
        attributes = {"redrives": str(letter.redrives + own), "firstFailedAt": timestamp(letter.first_seen_at)}
        return message_of(record.job, self._queue.max_message_bytes, attributes=attributes)


def _counts(view: CauseView) -> dict[str, int]:
    outcome = view.outcome
    return {"succeeded": outcome.succeeded, "failed": outcome.failed, "waiting": view.waiting}

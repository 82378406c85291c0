"""Quarantines letters that only people can help: keep a copy, set the job to ``quarantined``, alert people.

The copy comes first, so that nothing is lost if this is cut off. Every step may be repeated.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.dead_letters.signature import normalised, signature
from reportd.core.dead_letters.triage import LetterContent, RawLetter, TriageFacts, TriageVerdict
from reportd.core.faults import Fault, FaultKind, stored_fault
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import (
    Audit,
    AuditEntry,
    DeadLetter,
    DeadLetters,
    Jobs,
    LetterStatus,
    OnQuarantined,
    Record,
    Settlement,
)
from reportd.work.job_waiters import JobWaiters

log = structlog.get_logger()


class Quarantine:
    """``on_quarantined``: called once for each letter, on the node that settled it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        letters: DeadLetters,
        audit: Audit,
        waiters: JobWaiters,
        node: str,
        on_quarantined: OnQuarantined = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._audit = audit
        self._waiters = waiters
        self._node = node
        self._on_quarantined = on_quarantined
        self._clock = clock

    async def add(self, letter: DeadLetter) -> bool:
        """Quarantine a letter from the DLQ. Return False when its job has changed meanwhile: then judge it again."""
        letter = replace(letter, standing=LetterStatus.QUARANTINED)
        if letter.task_id is not None:
            if not await self._letters.keep(letter):
                return False
            await self._settle(letter)
        elif await self._letters.keep(letter):
            await self._report(letter)
        return True

    async def add_waiting(self, letter: DeadLetter) -> None:
        """Quarantine a letter that is kept already. If this is cut off, the letter still waits, and is judged again."""
        await self._settle(letter)
        await self._letters.keep(replace(letter, standing=LetterStatus.QUARANTINED))

    async def _settle(self, letter: DeadLetter) -> None:
        task_id = letter.task_id or letter.id
        fault = stored_fault(letter.kind, letter.detail)
        if await self._jobs.settle(Settlement(task_id, JobEvent.QUARANTINED, self._clock(), fault=fault)) is None:
            return
        self._waiters.notify(task_id)
        await self._report(letter)

    async def _report(self, letter: DeadLetter) -> None:
        log.error("job.quarantined", letter=letter.id, kind=letter.kind, reason=letter.reason, cause=letter.signature)
        self._on_quarantined(letter)
        detail = {"group": letter.signature, "kind": letter.kind, "reason": letter.reason}
        entry = AuditEntry(self._clock(), self._node, "dead_letter.quarantined", letter.id, detail)
        # Retry here, because no later step would record it.
        await retry_while_unavailable(lambda: self._audit.record([entry]))


def copy_of(letter: RawLetter, facts: TriageFacts, verdict: TriageVerdict, record: Record | None) -> DeadLetter:
    """Return the copy to keep of a letter, as one that waits."""
    job = record.job if record else facts.reading.job
    history = facts.history
    fault = _fault(letter, facts.reading, verdict, record)
    return DeadLetter(
        id=job.task_id if job else letter.id,
        task_id=job.task_id if job else None,
        signature=signature(fault.kind, fault.detail),
        report_type=job.report_type if job else "",
        kind=fault.kind,
        detail=fault.detail,
        cause=normalised(fault.detail),
        standing=LetterStatus.WAITING,
        reason=verdict.reason,
        first_seen_at=history.first_failed_at,
        last_seen_at=facts.now,
        body=letter.body,
        attributes=letter.attributes,
        due_at=history.last_failed_at + facts.policy.cooldown_seconds,
        redrives=history.redrives,
        returns=history.returns,
    )


def _fault(letter: RawLetter, reading: LetterContent, verdict: TriageVerdict, record: Record | None) -> Fault:
    """Return why the letter is here: the error in its job's record, or the reason of the rule that decided."""
    if record is not None and record.error is not None and record.state is JobState.DEAD_LETTERED:
        return record.error
    if verdict.rule == "unfit":
        unknown = reading.problem.startswith("/reportType")
        return Fault(FaultKind.UNKNOWN_REPORT_TYPE if unknown else FaultKind.INVALID_PARAMETERS, reading.problem)
    if reading.job is None:
        return Fault(FaultKind.MALFORMED_MESSAGE, verdict.reason)
    if verdict.rule == "trouble":
        return Fault(FaultKind.INTERNAL, verdict.reason)
    try:
        return Fault(FaultKind(letter.attributes.get("kind", "")), letter.attributes.get("reason", ""))
    except ValueError:
        return Fault(FaultKind.EXHAUSTED_RECEIVES, verdict.reason)

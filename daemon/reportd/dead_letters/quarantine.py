"""Where what nobody can help ends: a copy of the letter is kept, its job is ``quarantined``, and people hear of it.

The copy comes first, so that nothing is lost wherever this is cut off; each step may be done again.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.dead_letters.signature import normalised, signature
from reportd.core.dead_letters.triage import RawLetter, Reading, TriageFacts, TriageVerdict
from reportd.core.faults import Fault, FaultKind
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
    """``on_quarantined`` is called once for every letter, by the node that settled it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        letters: DeadLetters,
        audit: Audit,
        changes: JobWaiters,
        node: str,
        on_quarantined: OnQuarantined = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._audit = audit
        self._changes = changes
        self._node = node
        self._on_quarantined = on_quarantined
        self._clock = clock

    async def take(self, letter: DeadLetter) -> bool:
        """Of a letter from the DLQ. False when its job has moved in the meantime: then it is to be judged again."""
        letter = replace(letter, standing=LetterStatus.QUARANTINED)
        if letter.task_id is not None:
            if not await self._letters.keep(letter):
                return False
            await self._settle(letter)
        elif await self._letters.keep(letter):
            await self._tell(letter)
        return True

    async def take_waiting(self, letter: DeadLetter) -> None:
        """Of one that is kept already: as long as it is waiting, this will be done again."""
        await self._settle(letter)
        await self._letters.keep(replace(letter, standing=LetterStatus.QUARANTINED))

    async def _settle(self, letter: DeadLetter) -> None:
        task_id = letter.task_id or letter.id
        fault = Fault(FaultKind(letter.kind), letter.detail)
        if await self._jobs.settle(Settlement(task_id, JobEvent.QUARANTINED, self._clock(), fault=fault)) is None:
            return
        self._changes.notify(task_id)
        await self._tell(letter)

    async def _tell(self, letter: DeadLetter) -> None:
        log.error("job.quarantined", letter=letter.id, kind=letter.kind, reason=letter.reason, cause=letter.signature)
        self._on_quarantined(letter)
        detail = {"group": letter.signature, "kind": letter.kind, "reason": letter.reason}
        entry = AuditEntry(self._clock(), self._node, "dead_letter.quarantined", letter.id, detail)
        # Nobody comes by again who could record it.
        await retry_while_unavailable(lambda: self._audit.record([entry]))


def copy_of(letter: RawLetter, case: TriageFacts, verdict: TriageVerdict, record: Record | None) -> DeadLetter:
    """What is kept of a letter that waits."""
    job = record.job if record else case.reading.job
    fault = _fault(letter, case.reading, verdict, record)
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
        first_seen_at=case.history.first_failed_at,
        last_seen_at=case.now,
        body=letter.body,
        attributes=letter.attributes,
        due_at=case.history.last_failed_at + case.policy.cooldown_seconds,
        redrives=case.history.redrives,
        returns=case.history.returns,
    )


def _fault(letter: RawLetter, reading: Reading, verdict: TriageVerdict, record: Record | None) -> Fault:
    """Why it is here: as its job's record says, or by the rule that has judged it."""
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

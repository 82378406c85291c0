"""Dead letters for the suite, and jobs that they are about."""

from dataclasses import dataclass, replace
from typing import Any

from reportd.core.dead_letters.redrive import Cause
from reportd.core.dead_letters.signature import normalised, signature
from reportd.core.faults import Fault
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.transitions import JobState
from reportd.ports import DeadLetter, DeadLetters, Jobs, LetterStatus
from tests.contract.jobs.jobs_lab import NOON, TIMEOUT, a_job, bring


def a_letter(job: Job | None = None, **fields: Any) -> DeadLetter:
    """Of a job that took too long, or of a message that is none."""
    fault: Fault = fields.pop("fault", TIMEOUT)
    letter = DeadLetter(
        id=job.task_id if job else "00000000-0000-5000-8000-000000000000",
        task_id=job.task_id if job else None,
        signature=signature(fault.kind, fault.detail),
        report_type=job.report_type if job else "",
        kind=fault.kind,
        detail=fault.detail,
        cause=normalised(fault.detail),
        standing=LetterStatus.WAITING,
        reason="it waits for its turn",
        first_seen_at=NOON,
        last_seen_at=NOON,
        body=to_message(job) if job else "{",
        attributes={"kind": fault.kind},
        due_at=NOON + 60,
    )
    return replace(letter, **fields)


def cause_of(letter: DeadLetter) -> Cause:
    return Cause(letter.signature, letter.report_type)


@dataclass
class LettersLab:
    """``other_node``: the same letters, from another node."""

    jobs: Jobs
    letters: DeadLetters
    other_node: DeadLetters

    async def waiting(self, **fields: Any) -> DeadLetter:
        """A job that has failed, and its letter."""
        job = a_job(**{name: fields.pop(name) for name in ("report_type", "task_id") if name in fields})
        await bring(self.jobs, job, JobState.DEAD_LETTERED)
        letter = a_letter(job, **fields)
        assert await self.letters.keep(letter)
        return letter

    async def state(self, letter: DeadLetter) -> JobState:
        record = await self.jobs.get(letter.id)
        assert record is not None
        return record.state

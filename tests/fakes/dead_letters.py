"""Dead letters in memory, beside the jobs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from reportd.core.dead_letters.redrive import Cause, RedriveOutcome
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import UNCONFIRMED_SECONDS, CauseView, DeadLetter, Group, LetterStatus, Record, Redrive
from tests.fakes.clock import now
from tests.fakes.jobs import MemoryJobs
from tests.fakes.weather import Weather

EXAMPLES = 3
DEAD = (JobState.DEAD_LETTERED, JobState.QUARANTINED)
UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DEAD_LETTERED)


class MemoryDeadLetters:
    """Implements ``ports.DeadLetters``. ``letters`` and ``known_causes`` are all there is."""

    def __init__(self, jobs: MemoryJobs, weather: Weather | None = None) -> None:
        self.letters: dict[str, DeadLetter] = {}
        self.known_causes: dict[tuple[str, str], Cause] = {}
        self._jobs = jobs
        self._weather = weather or Weather()
        self._released: dict[str, float] = {}

    async def keep(self, letter: DeadLetter) -> bool:
        async with self._weather.call("letters", "keep"):
            if letter.task_id and letter.standing is not LetterStatus.UNDERWAY and self._state(letter) not in DEAD:
                return False
            if letter.task_id is None and letter.id in self.letters:
                return False
            if before := self.letters.get(letter.id):
                letter = replace(letter, first_seen_at=before.first_seen_at)
            self.letters[letter.id] = letter
            return True

    async def get(self, letter_id: str) -> DeadLetter | None:
        async with self._weather.call("letters", "get"):
            return self.letters.get(letter_id)

    async def remove(self, letter_ids: Sequence[str]) -> int:
        async with self._weather.call("letters", "remove"):
            return sum(self.letters.pop(letter_id, None) is not None for letter_id in letter_ids)

    async def groups(self, limit: int, before: tuple[float, str] | None = None) -> list[Group]:
        async with self._weather.call("letters", "groups"):
            found = [self._group(signature) for signature in {letter.signature for letter in self._shown()}]
            found.sort(key=lambda group: (group.last_seen_at, group.signature), reverse=True)
            return [g for g in found if before is None or (g.last_seen_at, g.signature) < before][:limit]

    async def group(self, signature: str) -> Group | None:
        async with self._weather.call("letters", "group"):
            return self._group(signature) if self._members(signature) else None

    async def members(self, signature: str, limit: int, before: tuple[float, str] | None = None) -> list[DeadLetter]:
        async with self._weather.call("letters", "members"):
            return [m for m in self._members(signature) if before is None or (m.last_seen_at, m.id) < before][:limit]

    async def causes(self, now: float, limit: int) -> list[CauseView]:
        async with self._weather.call("letters", "causes"):
            waiting = Counter((m.signature, m.report_type) for m in self._waiting())
            due = Counter((m.signature, m.report_type) for m in self._waiting() if m.due_at <= now)
            found = [self.known_causes.get(key) or Cause(*key) for key in {*self.known_causes, *waiting}]
            found.sort(key=lambda cause: (cause.sent_at, cause.signature, cause.report_type))
            keyed = [((cause.signature, cause.report_type), cause) for cause in found[:limit]]
            return [CauseView(cause, self._outcome(cause), waiting[key], due[key]) for key, cause in keyed]

    async def due(self, cause: Cause, now: float, limit: int) -> list[DeadLetter]:
        async with self._weather.call("letters", "due"):
            mine = [m for m in self._waiting() if (m.signature, m.report_type) == (cause.signature, cause.report_type)]
            found = [m for m in mine if m.due_at <= now]
            return sorted(found, key=lambda m: (self._released.get(m.id, 0.0), m.first_seen_at, m.id))[:limit]

    async def overdue(self, before: float, limit: int) -> list[DeadLetter]:
        async with self._weather.call("letters", "overdue"):
            found = [m for m in self._waiting() if m.first_seen_at <= before]
            return sorted(found, key=lambda m: m.first_seen_at)[:limit]

    async def release(self, redrives: Sequence[Redrive], at: float, cause: Cause | None = None) -> list[Record] | None:
        async with self._weather.call("letters", "release"):
            if cause is not None and not self._replace(cause):
                return None
            return [self._release(redrive, at) for redrive in redrives if self._is_dead(redrive.task_id)]

    def _is_dead(self, task_id: str) -> bool:
        record = self._jobs.records.get(task_id)
        return record is not None and record.state is JobState.DEAD_LETTERED

    def _release(self, redrive: Redrive, at: float) -> Record:
        self._jobs._move(redrive.task_id, JobEvent.REDRIVEN)
        record = self._jobs.records[redrive.task_id]
        if letter := self.letters.get(redrive.task_id):
            self.letters[letter.id] = replace(
                letter, standing=LetterStatus.UNDERWAY, redrives=letter.redrives + redrive.own
            )
            self._released[letter.id] = at
        tally = replace(record.tally, node_losses=0)
        job = record.job
        if redrive.job is not None:
            job = replace(job, report_type=redrive.job.report_type, parameters=redrive.job.parameters)
        due_at = now() + UNCONFIRMED_SECONDS
        return self._jobs._change(redrive.task_id, confirmed=False, error=None, tally=tally, job=job, due_at=due_at)

    async def replace(self, cause: Cause) -> bool:
        async with self._weather.call("letters", "replace"):
            return self._replace(cause)

    def _replace(self, cause: Cause) -> bool:
        key = cause.signature, cause.report_type
        known = self.known_causes.get(key)
        if (known.version if known else 0) != cause.version:
            return False
        self.known_causes[key] = replace(cause, version=cause.version + 1)
        return True

    async def forget(self, cause: Cause) -> None:
        async with self._weather.call("letters", "forget"):
            key = cause.signature, cause.report_type
            known = self.known_causes.get(key)
            if known is not None and known.version == cause.version:
                del self.known_causes[key]

    async def missing(self, limit: int) -> list[Record]:
        async with self._weather.call("letters", "missing"):
            kept = {letter.id for letter in self._shown()}
            dead = [r for r in self._jobs.records.values() if r.state is JobState.DEAD_LETTERED]
            found = [r for r in dead if r.due_at < now() and r.job.task_id not in kept]
            return sorted(found, key=lambda record: record.due_at)[:limit]

    async def tidy(self) -> int:
        async with self._weather.call("letters", "tidy"):
            over = [
                m.id
                for m in self.letters.values()
                if m.task_id and self._state(m) not in (UNDER_WAY if m.standing is LetterStatus.UNDERWAY else DEAD)
            ]
            for letter_id in over:
                del self.letters[letter_id]
            return len(over)

    def _state(self, letter: DeadLetter) -> JobState | None:
        record = self._jobs.records.get(letter.task_id or "")
        return record.state if record else None

    def _shown(self) -> list[DeadLetter]:
        return [letter for letter in self.letters.values() if letter.standing is not LetterStatus.UNDERWAY]

    def _waiting(self) -> list[DeadLetter]:
        return [letter for letter in self.letters.values() if letter.standing is LetterStatus.WAITING]

    def _members(self, signature: str) -> list[DeadLetter]:
        mine = [letter for letter in self._shown() if letter.signature == signature]
        return sorted(mine, key=lambda m: (m.last_seen_at, m.id), reverse=True)

    def _group(self, signature: str) -> Group:
        members = self._members(signature)
        waiting = sum(m.standing is LetterStatus.WAITING for m in members)
        return Group(
            signature=signature,
            kind=min(m.kind for m in members),
            cause=min(m.cause for m in members),
            report_types=tuple(sorted({m.report_type for m in members if m.report_type})),
            waiting=waiting,
            quarantined=len(members) - waiting,
            first_seen_at=min(m.first_seen_at for m in members),
            last_seen_at=max(m.last_seen_at for m in members),
            examples=tuple(members[:EXAMPLES]),
        )

    def _outcome(self, cause: Cause) -> RedriveOutcome:
        ends = Counter(self._jobs.records[task_id].state for task_id in cause.wave if task_id in self._jobs.records)
        pending = ends[JobState.QUEUED] + ends[JobState.RUNNING]
        return RedriveOutcome(
            pending, ends[JobState.SUCCEEDED], ends[JobState.DEAD_LETTERED] + ends[JobState.QUARANTINED]
        )

"""A job store in memory, built on the same tables of ``core`` as the real ones."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unicodedata import category

import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import NO_OPTIONS
from reportd.core.jobs.retry import Tally, may_start
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState, after, sources
from reportd.core.jobs.warnings import JobWarning
from reportd.core.status.snapshot import Load
from reportd.ports import UNCONFIRMED_SECONDS, Attempt, AttemptRefused, AttemptStarted, JobFilter, Record, Settlement
from tests.fakes.clock import now
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.weather import Weather

OWNERS_ONLY = frozenset({JobEvent.RETRIED, JobEvent.RELEASED, JobEvent.DEFERRED, JobEvent.DEAD_LETTERED})
"""What only the node whose attempt it is may say of a job."""

UNDER_WAY = frozenset({JobState.QUEUED, JobState.RUNNING})
MAX_DETAIL = 2000
SILENT_SECONDS = 90.0


class MemoryJobs:
    """Implements ``ports.Jobs``. ``moves``: every event that took effect, with the state it led to."""

    def __init__(self, weather: Weather | None = None, outbox: MemoryOutbox | None = None) -> None:
        self.records: dict[str, Record] = {}
        self.moves: list[tuple[str, JobEvent, JobState]] = []
        self._weather = weather or Weather()
        self._outbox = outbox
        self._attempts: dict[int, tuple[str, Attempt]] = {}
        self._attempts_of: defaultdict[str, list[int]] = defaultdict(list)
        self._leases: dict[str, tuple[str, float]] = {}

    def terminal_moves(self, task_id: str) -> list[JobState]:
        return [state for task, _, state in self.moves if task == task_id and state in TERMINAL]

    async def add(self, jobs: Sequence[Job]) -> list[Record]:
        async with self._weather.call("jobs", "add"):
            return [self.records.setdefault(job.task_id, _new(job, UNCONFIRMED_SECONDS)) for job in jobs]

    async def confirm(self, task_ids: Sequence[str]) -> None:
        async with self._weather.call("jobs", "confirm"):
            for task_id in self.records.keys() & task_ids:
                record = self.records[task_id]
                if not record.confirmed or record.due_at < now():
                    self._change(task_id, confirmed=True, due_at=max(record.due_at, now() + SILENT_SECONDS))

    async def renew(self, task_ids: Sequence[str]) -> None:
        async with self._weather.call("jobs", "renew"):
            for task_id in self.records.keys() & task_ids:
                if self.records[task_id].state in UNDER_WAY:
                    self._change(task_id, due_at=now() + SILENT_SECONDS)

    async def report_progress(self, progress: Mapping[str, float]) -> None:
        async with self._weather.call("jobs", "report_progress"):
            for task_id in self.records.keys() & progress:
                if self.records[task_id].state is JobState.RUNNING:
                    self._change(task_id, progress=progress[task_id])

    async def overdue(
        self, limit: int, *, confirmed: bool, overdue_seconds: float = 0.0, but: Collection[str] = ()
    ) -> list[Record]:
        async with self._weather.call("jobs", "overdue"):
            states = UNDER_WAY if confirmed else {JobState.QUEUED}
            wanted = [r for r in self.records.values() if r.state in states and r.confirmed is confirmed]
            silent = [
                r for r in wanted if r.due_at < now() - overdue_seconds and (r.due_at > 0 or overdue_seconds <= 0)
            ]
            silent = [r for r in silent if r.job.report_type not in but]
            return sorted(silent, key=lambda record: record.due_at)[:limit]

    async def discard(self, task_ids: Sequence[str]) -> None:
        async with self._weather.call("jobs", "discard"):
            for task_id in task_ids:
                record = self.records.get(task_id)
                if record and record.state is JobState.QUEUED and not record.confirmed and record.started_at is None:
                    del self.records[task_id]

    async def get(self, task_id: str) -> Record | None:
        async with self._weather.call("jobs", "get"):
            return self.records.get(task_id)

    async def attempts(self, task_id: str) -> list[Attempt]:
        async with self._weather.call("jobs", "attempts"):
            return [self._attempts[number][1] for number in self._attempts_of[task_id]]

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        async with self._weather.call("jobs", "search"):
            newest_first = sorted(self.records.values(), key=_age, reverse=True)
            found = [r for r in newest_first if _matches(r, wanted) and (before is None or _age(r) < before)]
            return [
                replace(record, job=replace(record.job, parameters={}, options=NO_OPTIONS)) for record in found[:limit]
            ]

    async def start(self, job: Job, node: str, at: float) -> AttemptStarted | AttemptRefused:
        async with self._weather.call("jobs", "start"):
            record = self.records.setdefault(job.task_id, _new(job, SILENT_SECONDS))
            if record.state not in sources(JobEvent.STARTED):
                return AttemptRefused(record)
            tally = self._without_lost_nodes(record, at)
            self._change(job.task_id, due_at=now() + SILENT_SECONDS, progress=None)
            if fault := may_start(tally):
                return AttemptRefused(self._change(job.task_id, tally=tally, confirmed=True), fault)
            attempt_id = 1 + len(self._attempts)
            self._attempts_of[job.task_id].append(attempt_id)
            number = len(self._attempts_of[job.task_id])
            self._attempts[attempt_id] = (job.task_id, Attempt(number, node, at))
            tally = replace(tally, attempts=tally.attempts + 1)
            self._move(job.task_id, JobEvent.STARTED)
            record = self._change(job.task_id, tally=tally, confirmed=True, started_at=at)
            return AttemptStarted(attempt_id, record, number)

    async def settle(self, settlement: Settlement) -> JobState | None:
        async with self._weather.call("jobs", "settle"):
            return self._settle(settlement)

    async def revive(self, task_id: str) -> Record | None:
        async with self._weather.call("jobs", "revive"):
            record = self.records.get(task_id)
            if record is None or record.state is not JobState.QUARANTINED:
                return None
            self._move(task_id, JobEvent.REVIVED)
            due_at = now() + UNCONFIRMED_SECONDS
            cleared = {"tally": Tally(), "error": None, "warnings": (), "finished_at": None, "confirmed": False}
            return self._change(task_id, due_at=due_at, **cleared)

    async def expired(self, before: float, limit: int) -> list[str]:
        async with self._weather.call("jobs", "expired"):
            kept = [r for r in self.records.values() if r.pdf and not r.pdf.purged]
            ended = [(r.finished_at, r.job.task_id) for r in kept if r.finished_at is not None]
            over = [(at, task_id) for at, task_id in ended if at < before]
            return [task_id for _, task_id in sorted(over)][:limit]

    async def purge(self, task_ids: Sequence[str]) -> None:
        async with self._weather.call("jobs", "purge"):
            for task_id in task_ids:
                if (record := self.records.get(task_id)) and record.pdf:
                    self._change(task_id, pdf=replace(record.pdf, purged=True))

    async def acquire_lease(self, work: str, node: str, seconds: float) -> bool:
        async with self._weather.call("jobs", "acquire_lease"):
            holder, until = self._leases.get(work, (node, 0.0))
            if holder != node and until > trio.current_time():
                return False
            self._leases[work] = (node, trio.current_time() + seconds)
            return True

    async def counts(self) -> dict[JobState, int]:
        async with self._weather.call("jobs", "counts"):
            found = Counter(record.state for record in self.records.values())
            return {state: found[state] for state in JobState}

    async def loads(self) -> dict[str, Load]:
        async with self._weather.call("jobs", "loads"):
            found: dict[str, list[Record]] = {}
            for record in self.records.values():
                if record.state in (JobState.QUEUED, JobState.RUNNING):
                    found.setdefault(record.job.report_type, []).append(record)
            return {name: _load(records) for name, records in found.items()}

    async def sent(self) -> int:
        async with self._weather.call("jobs", "sent"):
            return sum(record.confirmed and record.state in UNDER_WAY for record in self.records.values())

    async def waiting(self) -> dict[tuple[str, str], int]:
        async with self._weather.call("jobs", "waiting"):
            queued = [record.job for record in self.records.values() if record.state is JobState.QUEUED]
            return dict(Counter((job.report_type, job.user_id) for job in queued))

    def _change(self, task_id: str, **changes: Any) -> Record:
        self.records[task_id] = replace(self.records[task_id], **changes)
        return self.records[task_id]

    def _move(self, task_id: str, event: JobEvent) -> JobState:
        state = after(self.records[task_id].state, event)
        self._change(task_id, state=state)
        self.moves.append((task_id, event, state))
        return state

    def _open_attempts(self, task_id: str) -> list[int]:
        return [number for number in self._attempts_of[task_id] if self._attempts[number][1].outcome is None]

    def _close(self, attempt_id: int, at: float, outcome: str, detail: str) -> None:
        task_id, attempt = self._attempts[attempt_id]
        self._attempts[attempt_id] = task_id, replace(attempt, finished_at=at, outcome=outcome, detail=detail)

    def _without_lost_nodes(self, record: Record, at: float) -> Tally:
        tally = record.tally
        for attempt_id in self._open_attempts(record.job.task_id):
            self._close(attempt_id, at, str(FaultKind.NODE_LOST), "")
            tally = replace(tally, attempts=max(0, tally.attempts - 1), node_losses=tally.node_losses + 1)
        return tally

    def _settle(self, done: Settlement) -> JobState | None:
        record = self.records.get(done.task_id)
        if record is None or record.state not in sources(done.event):
            return None
        if done.attempt_id is None and done.event is JobEvent.DEFERRED:
            record = self._change(done.task_id, tally=self._without_lost_nodes(record, done.at))
        still_open = self._open_attempts(done.task_id)
        if done.attempt_id is not None and done.event in OWNERS_ONLY:
            still_open = [attempt_id for attempt_id in still_open if attempt_id == done.attempt_id]
            if not still_open:
                return None
        for attempt_id in still_open:
            fault = done.fault if attempt_id == done.attempt_id else None
            outcome = (fault.kind if fault else done.event) if attempt_id == done.attempt_id else JobEvent.CANCELLED
            self._close(attempt_id, done.at, str(outcome), fault.detail[:MAX_DETAIL] if fault else "")
        state = self._move(done.task_id, done.event)
        due_at = now() + done.deferred_seconds + SILENT_SECONDS
        changes: dict[str, Any] = {"tally": _settled_tally(record.tally, done), "due_at": due_at, "progress": None}
        if state in TERMINAL:
            changes["finished_at"] = done.at
        if done.event in (JobEvent.SUCCEEDED, JobEvent.REDRIVEN):
            changes["error"] = None
        elif done.fault is not None:
            changes["error"] = replace(done.fault, detail=done.fault.detail[:MAX_DETAIL])
        if done.pdf is not None:
            changes["pdf"] = done.pdf
        if done.event is JobEvent.SUCCEEDED or done.warnings:
            changes["warnings"] = tuple(_in_one_line(warning) for warning in done.warnings)
        if done.edition:
            changes["edition"] = done.edition
        ended = self._change(done.task_id, **changes)
        if self._outbox and state in TERMINAL:
            self._outbox.enter(ended, done.at)
        return state


def _in_one_line(warning: JobWarning) -> JobWarning:
    what, why = ("".join(" " if category(c) == "Cc" else c for c in text) for text in (warning.what, warning.why))
    return replace(warning, what=what, why=why)


def _new(job: Job, due_seconds: float) -> Record:
    return Record(job, JobState.QUEUED, Tally(), due_at=now() + due_seconds)


def _settled_tally(tally: Tally, done: Settlement) -> Tally:
    uncounted = done.attempt_id is not None and not done.counted
    return replace(
        tally,
        attempts=max(0, tally.attempts - uncounted),
        uncounted=tally.uncounted + (uncounted and done.event is JobEvent.RETRIED),
        deferrals=tally.deferrals + (done.event is JobEvent.DEFERRED),
        losses=tally.losses + done.loss,
    )


def _age(record: Record) -> tuple[float, str]:
    return record.job.submitted_at, record.job.task_id


def _matches(record: Record, wanted: JobFilter) -> bool:
    return (
        wanted.state in (None, record.state)
        and wanted.report_type in (None, record.job.report_type)
        and wanted.user_id in (None, record.job.user_id)
    )


def _load(records: Sequence[Record]) -> Load:
    waiting = [record for record in records if record.state is JobState.QUEUED]
    untried = sum(record.tally.attempts == 0 for record in waiting)
    oldest_at = min((record.job.submitted_at for record in waiting), default=None)
    return Load(len(waiting), untried, len(records) - len(waiting), oldest_at)

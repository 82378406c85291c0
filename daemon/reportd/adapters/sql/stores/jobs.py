"""The job store: rows of ``jobs`` and ``attempts``, moved along ``core.jobs.transitions`` by compare-and-set.

Each change reads and locks the job's row first, so that one node acts and the others see the result.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import STORED, jobs, leases
from reportd.adapters.sql.stores import job_statements as sql
from reportd.adapters.sql.stores import records
from reportd.adapters.sql.stores.clock import CLOCK, now
from reportd.adapters.sql.stores.inserts import counted_insert, insert_missing
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally, may_start
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState, after, sources
from reportd.core.status.snapshot import Load
from reportd.ports import UNCONFIRMED_SECONDS, Attempt, AttemptRefused, AttemptStarted, JobFilter, Record, Settlement

# After another node has closed the attempt, only a success is still worth recording.
_OWNERS_ONLY = frozenset({JobEvent.RETRIED, JobEvent.RELEASED, JobEvent.DEFERRED, JobEvent.DEAD_LETTERED})


class SqlJobs:
    """Implements ``ports.Jobs``. Ends of jobs that need a callback are entered into ``outbox``.

    ``silent_seconds``: a job that is not deferred is overdue after this time without news of its message.
    """

    def __init__(self, database: Database, outbox: SqlOutbox | None = None, silent_seconds: float = 90.0) -> None:
        self._database = database
        self._outbox = outbox
        self._silent_seconds = silent_seconds
        self._insert = counted_insert(database, jobs).values(due_at=sql.LATER)
        self._insert_lease = insert_missing(database, leases)

    async def add(self, new: Sequence[Job]) -> list[Record]:
        if not new:
            return []
        # Always in the same order, so that two nodes that add the same jobs don't deadlock.
        unsent = {"confirmed": False, "away": UNCONFIRMED_SECONDS}
        rows = sorted((records.new_row(job) | unsent for job in new), key=lambda row: str(row["task_id"]))

        def change(connection: Connection) -> dict[str, Record]:
            if connection.execute(self._insert, rows).rowcount == len(rows):
                return {job.task_id: Record(job, JobState.QUEUED, Tally()) for job in new}
            stored: dict[str, Record] = {}
            # An existing row may be discarded a moment later, so insert the missing ones again.
            while absent := [row for row in rows if row["task_id"] not in stored]:
                connection.execute(self._insert, absent)
                present = connection.execute(sql.LISTED, {"ids": [row["task_id"] for row in absent]})
                stored |= {row.task_id: records.record(row) for row in present}
            return stored

        stored = await self._database.write(change)
        return [stored[job.task_id] for job in new]

    async def confirm(self, task_ids: Sequence[str]) -> None:
        await self._write(sql.CONFIRM, {"ids": list(task_ids), "away": self._silent_seconds}, durably=False)

    async def renew(self, task_ids: Sequence[str]) -> None:
        await self._write(sql.RENEW, {"ids": list(task_ids), "away": self._silent_seconds}, durably=False)

    async def report_progress(self, progress: Mapping[str, float]) -> None:
        # Always in the same order, so that two nodes don't deadlock.
        rows = [{"task": task_id, "done": progress[task_id]} for task_id in sorted(progress)]
        if rows:
            await self._database.write(
                lambda connection: connection.execute(sql.PROGRESS, rows).rowcount, durably=False
            )

    async def overdue(
        self, limit: int, *, confirmed: bool, overdue_seconds: float = 0.0, but: Collection[str] = ()
    ) -> list[Record]:
        silent = (
            (sql.under_way if confirmed else jobs.c.state == JobState.QUEUED)
            & jobs.c.confirmed.is_(confirmed)
            & (jobs.c.due_at < CLOCK - overdue_seconds)
        )
        if overdue_seconds > 0:
            # A row of an older version has due_at 0: how long it has been due is unknown.
            silent &= jobs.c.due_at > 0
        if but:
            silent &= jobs.c.report_type.not_in(sorted(but))
        # Choose by id first: rows with their parameters are wide, and there may be many to choose from.
        first = select(jobs.c.task_id).where(silent).order_by(jobs.c.due_at).limit(limit)
        return await self._records(select(jobs).where(jobs.c.task_id.in_(first)).order_by(jobs.c.due_at))

    async def discard(self, task_ids: Sequence[str]) -> None:
        await self._write(sql.DISCARD, {"ids": list(task_ids)})

    async def get(self, task_id: str) -> Record | None:
        def query(connection: Connection) -> Record | None:
            row = connection.execute(sql.ONE, {"task": task_id}).one_or_none()
            return None if row is None else records.record(row)

        return await self._database.read(query)

    async def attempts(self, task_id: str) -> list[Attempt]:
        def query(connection: Connection) -> list[Attempt]:
            return [records.attempt(row) for row in connection.execute(sql.ATTEMPTS, {"task": task_id})]

        return await self._database.read(query)

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        statement = sql.SEARCHED.order_by(jobs.c.submitted_at.desc(), jobs.c.task_id.desc()).limit(limit)
        if wanted.state is not None:
            statement = statement.where(jobs.c.state == wanted.state)
        if wanted.report_type is not None:
            statement = statement.where(jobs.c.report_type == wanted.report_type)
        if wanted.user_id is not None:
            statement = statement.where(jobs.c.user_id == wanted.user_id)
        if before is not None:
            statement = statement.where(tuple_(jobs.c.submitted_at, jobs.c.task_id) < before)
        return await self._records(statement)

    async def start(self, job: Job, node: str, at: float) -> AttemptStarted | AttemptRefused:
        def change(connection: Connection) -> AttemptStarted | AttemptRefused:
            row = _locked(connection, job.task_id)
            if row is None:
                sent = {"confirmed": True, "away": self._silent_seconds}
                connection.execute(self._insert, [records.new_row(job) | sent])
                row = connection.execute(sql.ONE_LOCKED, {"task": job.task_id}).one()
            return self._start(connection, records.record(row), node, at)

        return await self._database.write(change)

    async def settle(self, settlement: Settlement) -> JobState | None:
        def change(connection: Connection) -> tuple[JobState | None, bool]:
            row = _locked(connection, settlement.task_id)
            state = None if row is None else self._settle(connection, row, settlement)
            return state, row is not None and state in TERMINAL and self._enter(connection, row, settlement.at)

        state, entered = await self._database.write(change)
        if self._outbox is not None and entered:
            self._outbox.entered()
        return state

    def _start(self, connection: Connection, record: Record, node: str, at: float) -> AttemptStarted | AttemptRefused:
        if record.state not in sources(JobEvent.STARTED):
            return AttemptRefused(record)
        task_id = record.job.task_id
        # Most jobs have never been started.
        earlier = [] if record.started_at is None else connection.execute(sql.ATTEMPTS, {"task": task_id}).all()
        # An attempt without an outcome: its node died, or lost the message to this one. It counts as a node loss.
        lost = sum(attempt.outcome is None for attempt in earlier)
        if lost:
            close = {
                "task": task_id,
                "attempt": None,
                "at": at,
                "result": "",
                "other": FaultKind.NODE_LOST,
                "text": "",
            }
            connection.execute(sql.CLOSE_ALL, close)
        tally = replace(
            record.tally,
            attempts=max(0, record.tally.attempts - lost),
            node_losses=record.tally.node_losses + lost,
        )
        record = replace(record, tally=tally, confirmed=True, progress=None)
        fault = may_start(tally)
        if fault is None:
            state = after(record.state, JobEvent.STARTED)
            record = replace(record, state=state, tally=replace(tally, attempts=tally.attempts + 1), started_at=at)
        values = records.tally_columns(record.tally)
        values |= {"state": record.state, "started_at": record.started_at, "confirmed": True, "progress": None}
        connection.execute(sql.CHANGE, {"task": task_id, "away": self._silent_seconds, **values})
        if fault is not None:
            return AttemptRefused(record, fault)
        number = len(earlier) + 1
        attempt = {"task_id": task_id, "number": number, "node": node, "started_at": at}
        return AttemptStarted(connection.execute(sql.NEW_ATTEMPT, attempt).scalar_one(), record, number)

    def _settle(self, connection: Connection, row: Row[Any], settlement: Settlement) -> JobState | None:
        if JobState(row.state) not in sources(settlement.event):
            return None
        owners_only = settlement.attempt_id is not None and settlement.event in _OWNERS_ONLY
        # Deferred before its start: an open attempt is one whose node died, as in ``_start``.
        finds_lost = settlement.attempt_id is None and settlement.event is JobEvent.DEFERRED
        fault = settlement.fault
        closed = connection.execute(
            sql.CLOSE_OWN if owners_only else sql.CLOSE_ALL,
            {
                "task": settlement.task_id,
                "attempt": settlement.attempt_id,
                "at": settlement.at,
                "result": fault.kind if fault else settlement.event,
                "text": records.detail(fault) if fault else "",
                "other": FaultKind.NODE_LOST if finds_lost else JobEvent.CANCELLED,
            },
        ).rowcount
        if owners_only and not closed:
            return None
        state = after(JobState(row.state), settlement.event)
        values = _settled_columns(row, settlement, state, lost=closed if finds_lost else 0)
        away = settlement.deferred_seconds + self._silent_seconds
        connection.execute(sql.CHANGE, {"task": settlement.task_id, "away": away, **values})
        return state

    def _enter(self, connection: Connection, row: Row[Any], at: float) -> bool:
        """Enter an ended job into the outbox, if it has a callback; most have none and cost no statement."""
        outbox = self._outbox
        url = outbox.url_for(row.report_type, row.callback_url) if outbox else None
        if outbox is None or url is None:
            return False
        record = records.record(connection.execute(sql.ONE, {"task": row.task_id}).one())
        outbox.enter(connection, record, url, at)
        return True

    async def revive(self, task_id: str) -> Record | None:
        def change(connection: Connection) -> Record | None:
            row = _locked(connection, task_id)
            if row is None or row.state not in sources(JobEvent.REVIVED):
                return None
            values = {"state": after(JobState(row.state), JobEvent.REVIVED), "finished_at": None, "confirmed": False}
            values |= records.tally_columns(Tally()) | records.error_columns(None) | records.warnings_column(())
            connection.execute(sql.CHANGE, {"task": task_id, "away": UNCONFIRMED_SECONDS, **values})
            return records.record(connection.execute(sql.ONE, {"task": task_id}).one())

        return await self._database.write(change)

    async def expired(self, before: float, limit: int) -> list[str]:
        statement = (
            select(jobs.c.task_id).where(jobs.c.finished_at < before, STORED).order_by(jobs.c.finished_at).limit(limit)
        )
        return await self._database.read(lambda connection: list(connection.execute(statement).scalars()))

    async def purge(self, task_ids: Sequence[str]) -> None:
        await self._write(sql.PURGE, {"ids": list(task_ids)})

    async def acquire_lease(self, work: str, node: str, seconds: float) -> bool:
        def change(connection: Connection) -> bool:
            at = now(connection)
            values = {"name": work, "owner": node, "at": at, "then": at + seconds}
            connection.execute(self._insert_lease, {"work": work, "node": node, "until": 0.0})
            return bool(connection.execute(sql.LEAD, values).rowcount)

        return await self._database.write(change)

    async def counts(self) -> dict[JobState, int]:
        statement = select(jobs.c.state, func.count()).group_by(jobs.c.state)

        def query(connection: Connection) -> dict[JobState, int]:
            counts = {JobState(state): count for state, count in connection.execute(statement)}
            return {state: counts.get(state, 0) for state in JobState}

        return await self._database.read(query)

    async def loads(self) -> dict[str, Load]:
        def query(connection: Connection) -> dict[str, Load]:
            rows = connection.execute(sql.LOADS)
            return {row.report_type: Load(row.waiting, row.untried, row.running, row.oldest_at) for row in rows}

        return await self._database.read(query)

    async def sent(self) -> int:
        return await self._database.read(lambda connection: int(connection.execute(sql.SENT).scalar_one()))

    async def waiting(self) -> dict[tuple[str, str], int]:
        def query(connection: Connection) -> dict[tuple[str, str], int]:
            return {(report_type, user_id): count for report_type, user_id, count in connection.execute(sql.WAITING)}

        return await self._database.read(query)

    async def _write(self, statement: Any, values: dict[str, Any], *, durably: bool = True) -> None:
        if values["ids"]:
            await self._database.write(
                lambda connection: connection.execute(statement, values).rowcount, durably=durably
            )

    async def _records(self, statement: Any) -> list[Record]:
        return await self._database.read(
            lambda connection: [records.record(row) for row in connection.execute(statement)]
        )


def _locked(connection: Connection, task_id: str) -> Row[Any] | None:
    return connection.execute(sql.ONE_LOCKED, {"task": task_id}).one_or_none()


def _settled_columns(row: Row[Any], settlement: Settlement, state: JobState, lost: int) -> dict[str, Any]:
    uncounted = settlement.attempt_id is not None and not settlement.counted
    values: dict[str, Any] = {
        "state": state,
        "attempts": max(0, row.attempts - uncounted - lost),
        "node_losses": row.node_losses + lost,
        "unharmed": row.unharmed + (uncounted and settlement.event is JobEvent.RETRIED),
        "deferrals": row.deferrals + (settlement.event is JobEvent.DEFERRED),
        "losses": row.losses + settlement.loss,
        "progress": None,
    }
    if state in TERMINAL:
        values["finished_at"] = settlement.at
    if settlement.event in (JobEvent.SUCCEEDED, JobEvent.REDRIVEN):
        values |= records.error_columns(None)
    elif settlement.fault is not None:
        values |= records.error_columns(settlement.fault)
    if settlement.pdf is not None:
        values |= {"pdf_bytes": settlement.pdf.size_bytes, "pdf_sha256": settlement.pdf.sha256}
    if settlement.event is JobEvent.SUCCEEDED or settlement.warnings:
        values |= records.warnings_column(settlement.warnings)
    if settlement.edition:
        values["edition"] = settlement.edition
    return values

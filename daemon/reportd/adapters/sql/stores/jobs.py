"""The job store: rows of ``jobs`` and ``attempts``, moved along ``core.jobs.transitions`` by compare-and-set.

Whoever changes a job reads its row first, locked, so that of several nodes one acts and the others see what it did.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import STORED, attempts, jobs, leases
from reportd.adapters.sql.stores import records
from reportd.adapters.sql.stores.messages import CLOCK, now
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally, may_start
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState, after, sources
from reportd.core.status.snapshot import Load
from reportd.ports import UNCONFIRMED_SECONDS, Attempt, JobFilter, Record, Refused, Settlement, Started

# After an attempt that somebody else has closed, only a success is still worth recording.
_OWNERS_ONLY = frozenset({JobEvent.RETRIED, JobEvent.RELEASED, JobEvent.DEFERRED, JobEvent.DEAD_LETTERED})

_this = jobs.c.task_id == bindparam("task")
_listed = jobs.c.task_id.in_(bindparam("ids", expanding=True))
_open = (attempts.c.task_id == bindparam("task")) & attempts.c.outcome.is_(None)

_ONE = select(jobs).where(_this)
# SQLite has one writer at a time and knows no row locks; there this is the same statement.
_ONE_LOCKED = _ONE.with_for_update()
_LISTED = select(jobs).where(_listed)
# Those that are listed may have a megabyte of parameters each.
_SEARCHED = select(*(column for column in jobs.c if column is not jobs.c.parameters), literal("{}").label("parameters"))
_later = CLOCK + bindparam("away")
_CHANGE = update(jobs).where(_this).values(due_at=_later)
# A row that somebody has locked is being started or settled: that waits for nobody, and says by itself when it is due.
_FREE = select(jobs.c.task_id).where(_listed).with_for_update(skip_locked=True)
_UNCONFIRMED = _FREE.where(jobs.c.confirmed.is_(other=False) | (jobs.c.due_at < CLOCK))
# What has been put off in the meantime stays due when that is over.
_CONFIRM = (
    update(jobs)
    .where(jobs.c.task_id.in_(_UNCONFIRMED))
    .values(confirmed=True, due_at=case((jobs.c.due_at < _later, _later), else_=jobs.c.due_at))
)
_under_way = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
_RENEW = update(jobs).where(jobs.c.task_id.in_(_FREE.where(_under_way))).values(due_at=_later)
_DISCARD = delete(jobs).where(
    _listed, jobs.c.state == JobState.QUEUED, jobs.c.confirmed.is_(other=False), jobs.c.started_at.is_(None)
)
_PURGE = update(jobs).where(_listed).values(pdf_purged=True)

_waits = jobs.c.state == JobState.QUEUED
_LOADS = (
    select(
        jobs.c.report_type,
        func.count(case((_waits, 1))).label("waiting"),
        func.count(case((_waits & (jobs.c.attempts == 0), 1))).label("untried"),
        func.count(case((~_waits, 1))).label("running"),
        func.min(case((_waits, jobs.c.submitted_at))).label("oldest_at"),
    )
    .where(jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)))
    .group_by(jobs.c.report_type)
)

_SENT = select(func.count()).where(_under_way, jobs.c.confirmed)
_WAITING = (
    select(jobs.c.report_type, jobs.c.user_id, func.count()).where(_waits).group_by(jobs.c.report_type, jobs.c.user_id)
)

_LEAD = (
    update(leases)
    .where(
        leases.c.work == bindparam("name"), (leases.c.node == bindparam("who")) | (leases.c.until <= bindparam("at"))
    )
    .values(node=bindparam("who"), until=bindparam("then"))
)

_ATTEMPTS = select(attempts).where(attempts.c.task_id == bindparam("task")).order_by(attempts.c.id)
_NEW_ATTEMPT = insert(attempts).returning(attempts.c.id)
_is_settled = attempts.c.id == bindparam("attempt")
_CLOSE_ALL = (
    update(attempts)
    .where(_open)
    .values(
        finished_at=bindparam("at"),
        outcome=case((_is_settled, bindparam("what")), else_=bindparam("other")),
        detail=case((_is_settled, bindparam("text")), else_=""),
    )
)
_CLOSE_OWN = _CLOSE_ALL.where(_is_settled)


class SqlJobs:
    """Implements ``ports.Jobs``. What ends and is to be told goes into ``outbox``.

    ``silent_seconds``: how long nothing may be heard of a message that is not put off.
    """

    def __init__(self, database: Database, outbox: SqlOutbox | None = None, silent_seconds: float = 90.0) -> None:
        self._database = database
        self._outbox = outbox
        self._silent_seconds = silent_seconds
        dialect: Any = sqlite if database.is_sqlite else postgresql
        # Of many rows, too, the driver's count of those inserted is wanted.
        inserted = dialect.insert(jobs).values(due_at=_later)
        self._insert = inserted.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        self._insert_lease = dialect.insert(leases).on_conflict_do_nothing()

    async def add(self, new: Sequence[Job]) -> list[Record]:
        if not new:
            return []
        # In one order everywhere, so that two nodes that add the same jobs don't block each other.
        unsent = {"confirmed": False, "away": UNCONFIRMED_SECONDS}
        rows = sorted((records.new_row(job) | unsent for job in new), key=lambda row: str(row["task_id"]))

        def change(connection: Connection) -> dict[str, Record]:
            if connection.execute(self._insert, rows).rowcount == len(rows):
                return {job.task_id: Record(job, JobState.QUEUED, Tally()) for job in new}
            there: dict[str, Record] = {}
            # One that was in the way may have been discarded a moment later.
            while absent := [row for row in rows if row["task_id"] not in there]:
                connection.execute(self._insert, absent)
                found = connection.execute(_LISTED, {"ids": [row["task_id"] for row in absent]})
                there |= {row.task_id: records.record(row) for row in found}
            return there

        there = await self._database.write(change)
        return [there[job.task_id] for job in new]

    async def confirm(self, task_ids: Sequence[str]) -> None:
        await self._write(_CONFIRM, {"ids": list(task_ids), "away": self._silent_seconds}, durably=False)

    async def renew(self, task_ids: Sequence[str]) -> None:
        await self._write(_RENEW, {"ids": list(task_ids), "away": self._silent_seconds}, durably=False)

    async def overdue(
        self, limit: int, *, confirmed: bool, by_seconds: float = 0.0, but: Collection[str] = ()
    ) -> list[Record]:
        silent = (
            (_under_way if confirmed else jobs.c.state == JobState.QUEUED)
            & jobs.c.confirmed.is_(confirmed)
            & (jobs.c.due_at < CLOCK - by_seconds)
        )
        if by_seconds > 0:
            # Of what a node of an older version has written it is not known for how long it has been due.
            silent &= jobs.c.due_at > 0
        if but:
            silent &= jobs.c.report_type.not_in(sorted(but))
        # Without the parameters, which are wide, while there may be many to choose from.
        first = select(jobs.c.task_id).where(silent).order_by(jobs.c.due_at).limit(limit)
        return await self._records(select(jobs).where(jobs.c.task_id.in_(first)).order_by(jobs.c.due_at))

    async def discard(self, task_ids: Sequence[str]) -> None:
        await self._write(_DISCARD, {"ids": list(task_ids)})

    async def get(self, task_id: str) -> Record | None:
        def query(connection: Connection) -> Record | None:
            row = connection.execute(_ONE, {"task": task_id}).one_or_none()
            return None if row is None else records.record(row)

        return await self._database.read(query)

    async def attempts(self, task_id: str) -> list[Attempt]:
        def query(connection: Connection) -> list[Attempt]:
            return [records.attempt(row) for row in connection.execute(_ATTEMPTS, {"task": task_id})]

        return await self._database.read(query)

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        statement = _SEARCHED.order_by(jobs.c.submitted_at.desc(), jobs.c.task_id.desc()).limit(limit)
        if wanted.state is not None:
            statement = statement.where(jobs.c.state == wanted.state)
        if wanted.report_type is not None:
            statement = statement.where(jobs.c.report_type == wanted.report_type)
        if wanted.user_id is not None:
            statement = statement.where(jobs.c.user_id == wanted.user_id)
        if before is not None:
            statement = statement.where(tuple_(jobs.c.submitted_at, jobs.c.task_id) < before)
        return await self._records(statement)

    async def start(self, job: Job, node: str, at: float) -> Started | Refused:
        def change(connection: Connection) -> Started | Refused:
            row = _locked(connection, job.task_id)
            if row is None:
                sent = {"confirmed": True, "away": self._silent_seconds}
                connection.execute(self._insert, [records.new_row(job) | sent])
                row = connection.execute(_ONE_LOCKED, {"task": job.task_id}).one()
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

    def _start(self, connection: Connection, record: Record, node: str, at: float) -> Started | Refused:
        if record.state not in sources(JobEvent.STARTED):
            return Refused(record)
        task_id = record.job.task_id
        # Most have never been started.
        earlier = [] if record.started_at is None else connection.execute(_ATTEMPTS, {"task": task_id}).all()
        # A start without an outcome: its node died, or lost the message to us. Neither uses an attempt.
        lost = sum(attempt.outcome is None for attempt in earlier)
        if lost:
            close = {"task": task_id, "attempt": None, "at": at, "what": "", "other": FaultKind.NODE_LOST, "text": ""}
            connection.execute(_CLOSE_ALL, close)
        tally = replace(
            record.tally,
            attempts=max(0, record.tally.attempts - lost),
            node_losses=record.tally.node_losses + lost,
        )
        record = replace(record, tally=tally, confirmed=True)
        fault = may_start(tally)
        if fault is None:
            state = after(record.state, JobEvent.STARTED)
            record = replace(record, state=state, tally=replace(tally, attempts=tally.attempts + 1), started_at=at)
        values = records.tally_columns(record.tally)
        values |= {"state": record.state, "started_at": record.started_at, "confirmed": True}
        connection.execute(_CHANGE, {"task": task_id, "away": self._silent_seconds, **values})
        if fault is not None:
            return Refused(record, fault)
        attempt = {"task_id": task_id, "number": len(earlier) + 1, "node": node, "started_at": at}
        return Started(connection.execute(_NEW_ATTEMPT, attempt).scalar_one(), record)

    def _settle(self, connection: Connection, row: Row[Any], done: Settlement) -> JobState | None:
        if JobState(row.state) not in sources(done.event):
            return None
        owners_only = done.attempt_id is not None and done.event in _OWNERS_ONLY
        # Put off before it starts, it finds a start: as for one that starts, that one's node died.
        finds_lost = done.attempt_id is None and done.event is JobEvent.DEFERRED
        closed = connection.execute(
            _CLOSE_OWN if owners_only else _CLOSE_ALL,
            {
                "task": done.task_id,
                "attempt": done.attempt_id,
                "at": done.at,
                "what": done.fault.kind if done.fault else done.event,
                "text": records.detail(done.fault) if done.fault else "",
                "other": FaultKind.NODE_LOST if finds_lost else JobEvent.CANCELLED,
            },
        ).rowcount
        if owners_only and not closed:
            return None
        state = after(JobState(row.state), done.event)
        values = _settled(row, done, state, lost=closed if finds_lost else 0)
        away = done.away_seconds + self._silent_seconds
        connection.execute(_CHANGE, {"task": done.task_id, "away": away, **values})
        return state

    def _enter(self, connection: Connection, row: Row[Any], at: float) -> bool:
        """Most jobs call nobody back, and cost no statement more."""
        outbox = self._outbox
        url = outbox.url_for(row.report_type, row.callback_url) if outbox else None
        if outbox is None or url is None:
            return False
        record = records.record(connection.execute(_ONE, {"task": row.task_id}).one())
        outbox.enter(connection, record, url, at)
        return True

    async def revive(self, task_id: str) -> Record | None:
        def change(connection: Connection) -> Record | None:
            row = _locked(connection, task_id)
            if row is None or row.state not in sources(JobEvent.REVIVED):
                return None
            afresh = {"state": after(JobState(row.state), JobEvent.REVIVED), "finished_at": None, "confirmed": False}
            values = afresh | records.tally_columns(Tally()) | records.error_columns(None)
            connection.execute(_CHANGE, {"task": task_id, "away": UNCONFIRMED_SECONDS, **values})
            return records.record(connection.execute(_ONE, {"task": task_id}).one())

        return await self._database.write(change)

    async def expired(self, before: float, limit: int) -> list[str]:
        statement = (
            select(jobs.c.task_id).where(jobs.c.finished_at < before, STORED).order_by(jobs.c.finished_at).limit(limit)
        )
        return await self._database.read(lambda connection: list(connection.execute(statement).scalars()))

    async def purge(self, task_ids: Sequence[str]) -> None:
        await self._write(_PURGE, {"ids": list(task_ids)})

    async def acquire_lease(self, work: str, node: str, seconds: float) -> bool:
        def change(connection: Connection) -> bool:
            at = now(connection)
            values = {"name": work, "who": node, "at": at, "then": at + seconds}
            connection.execute(self._insert_lease, {"work": work, "node": node, "until": 0.0})
            return bool(connection.execute(_LEAD, values).rowcount)

        return await self._database.write(change)

    async def counts(self) -> dict[JobState, int]:
        statement = select(jobs.c.state, func.count()).group_by(jobs.c.state)

        def query(connection: Connection) -> dict[JobState, int]:
            found = {JobState(state): count for state, count in connection.execute(statement)}
            return {state: found.get(state, 0) for state in JobState}

        return await self._database.read(query)

    async def loads(self) -> dict[str, Load]:
        def query(connection: Connection) -> dict[str, Load]:
            rows = connection.execute(_LOADS)
            return {row.report_type: Load(row.waiting, row.untried, row.running, row.oldest_at) for row in rows}

        return await self._database.read(query)

    async def sent(self) -> int:
        return await self._database.read(lambda connection: int(connection.execute(_SENT).scalar_one()))

    async def waiting(self) -> dict[tuple[str, str], int]:
        def query(connection: Connection) -> dict[tuple[str, str], int]:
            return {(report_type, user_id): count for report_type, user_id, count in connection.execute(_WAITING)}

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
    return connection.execute(_ONE_LOCKED, {"task": task_id}).one_or_none()


def _settled(row: Row[Any], done: Settlement, state: JobState, lost: int) -> dict[str, Any]:
    uncounted = done.attempt_id is not None and not done.counted
    values: dict[str, Any] = {
        "state": state,
        "attempts": max(0, row.attempts - uncounted - lost),
        "node_losses": row.node_losses + lost,
        "unharmed": row.unharmed + (uncounted and done.event is JobEvent.RETRIED),
        "deferrals": row.deferrals + (done.event is JobEvent.DEFERRED),
        "losses": row.losses + done.loss,
    }
    if state in TERMINAL:
        values["finished_at"] = done.at
    if done.event in (JobEvent.SUCCEEDED, JobEvent.REDRIVEN):
        values |= records.error_columns(None)
    elif done.fault is not None:
        values |= records.error_columns(done.fault)
    if done.pdf is not None:
        values |= {"pdf_bytes": done.pdf.size_bytes, "pdf_sha256": done.pdf.sha256}
    return values

"""The job store: rows of ``jobs`` and ``attempts``, moved along ``core.transitions`` by compare-and-set."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import attempts, jobs
from reportd.core.faults import Fault, FaultKind
from reportd.core.job import Job
from reportd.core.retry import Tally, may_start
from reportd.core.transitions import TERMINAL, Event, State, after, sources
from reportd.ports import Attempt, JobFilter, PdfInfo, Record, Refused, Settlement, Started

MAX_DETAIL = 2000

# After an attempt that somebody else has closed, only a success is still worth recording.
_OWNERS_ONLY = frozenset({Event.RETRIED, Event.RELEASED, Event.DEFERRED, Event.DEAD_LETTERED})

_ONE = select(jobs).where(jobs.c.task_id == bindparam("id"))
# SQLite has one writer at a time and knows no row locks; there this is the same statement.
_ONE_LOCKED = _ONE.with_for_update()
_OPEN_ATTEMPTS = select(attempts.c.id).where(attempts.c.task_id == bindparam("id"), attempts.c.outcome.is_(None))
_STARTS = select(func.count()).select_from(attempts).where(attempts.c.task_id == bindparam("id"))
_CLOSE = (
    update(attempts)
    .where(attempts.c.id == bindparam("attempt"), attempts.c.outcome.is_(None))
    .values(finished_at=bindparam("at"), outcome=bindparam("what"), detail=bindparam("text"))
)


class SqlJobs:
    """Implements ``ports.Jobs``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect: Any = sqlite if database.is_sqlite else postgresql
        self._insert = dialect.insert(jobs).on_conflict_do_nothing()

    async def add(self, new: Sequence[Job]) -> list[Record]:
        rows = [_row(job, confirmed=False) for job in new]

        def change(connection: Connection) -> list[Record]:
            connection.execute(self._insert, rows)
            ids = {job.task_id for job in new}
            found = connection.execute(select(jobs).where(jobs.c.task_id.in_(ids)))
            records = {row.task_id: _record(row) for row in found}
            return [records[job.task_id] for job in new]

        return await self._database.write(change) if rows else []

    async def confirm(self, task_ids: Sequence[str]) -> None:
        statement = update(jobs).where(jobs.c.task_id.in_(task_ids)).values(confirmed=True)
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def unconfirmed(self, before: float, limit: int) -> list[Record]:
        statement = (
            select(jobs)
            .where(jobs.c.state == State.QUEUED, jobs.c.submitted_at < before, jobs.c.confirmed.is_(other=False))
            .order_by(jobs.c.submitted_at)
            .limit(limit)
        )
        return await self._records(statement)

    async def discard(self, task_ids: Sequence[str]) -> None:
        statement = delete(jobs).where(
            jobs.c.task_id.in_(task_ids),
            jobs.c.state == State.QUEUED,
            jobs.c.confirmed.is_(other=False),
            jobs.c.started_at.is_(None),
        )
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def get(self, task_id: str) -> Record | None:
        def query(connection: Connection) -> Record | None:
            row = connection.execute(_ONE, {"id": task_id}).one_or_none()
            return None if row is None else _record(row)

        return await self._database.read(query)

    async def attempts(self, task_id: str) -> list[Attempt]:
        statement = select(attempts).where(attempts.c.task_id == task_id).order_by(attempts.c.id)

        def query(connection: Connection) -> list[Attempt]:
            return [
                Attempt(r.number, r.node, r.started_at, r.finished_at, r.outcome, r.detail)
                for r in connection.execute(statement)
            ]

        return await self._database.read(query)

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        statement = select(jobs).order_by(jobs.c.submitted_at.desc(), jobs.c.task_id.desc()).limit(limit)
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
            row = connection.execute(_ONE_LOCKED, {"id": job.task_id}).one_or_none()
            if row is None:
                connection.execute(self._insert, [_row(job, confirmed=True)])
                row = connection.execute(_ONE_LOCKED, {"id": job.task_id}).one()
            record = _record(row)
            if record.state not in sources(Event.STARTED):
                return Refused(record)
            tally = _without_lost_nodes(connection, record, at)
            fault = may_start(tally)
            state = record.state if fault else after(record.state, Event.STARTED)
            values = _tally_values(tally) | {"state": state, "confirmed": True}
            attempt_id = 0
            if fault is None:
                number = connection.execute(_STARTS, {"id": job.task_id}).scalar_one() + 1
                values |= {"attempts": tally.attempts + 1, "started_at": at}
                attempt = insert(attempts).values(task_id=job.task_id, number=number, node=node, started_at=at)
                attempt_id = connection.execute(attempt).inserted_primary_key[0]  # type: ignore[index]
            connection.execute(update(jobs).where(jobs.c.task_id == job.task_id).values(values))
            now = _record(connection.execute(_ONE, {"id": job.task_id}).one())
            return Refused(now, fault) if fault else Started(attempt_id, now)

        return await self._database.write(change)

    async def settle(self, settlement: Settlement) -> State | None:
        return await self._database.write(lambda connection: _settle(connection, settlement))

    async def revive(self, task_id: str) -> Record | None:
        values: dict[str, Any] = _tally_values(Tally()) | {
            "state": State.QUEUED,
            "error_kind": None,
            "error_detail": None,
            "finished_at": None,
            "confirmed": False,
        }

        def change(connection: Connection) -> Record | None:
            statement = update(jobs).where(jobs.c.task_id == task_id, jobs.c.state == State.QUARANTINED)
            if not connection.execute(statement.values(values)).rowcount:
                return None
            return _record(connection.execute(_ONE, {"id": task_id}).one())

        return await self._database.write(change)

    async def expired(self, before: float, limit: int) -> list[str]:
        statement = (
            select(jobs.c.task_id)
            .where(jobs.c.finished_at < before, jobs.c.pdf_bytes.is_not(None), jobs.c.pdf_purged.is_(other=False))
            .limit(limit)
        )
        return await self._database.read(lambda connection: list(connection.execute(statement).scalars()))

    async def purge(self, task_ids: Sequence[str]) -> None:
        statement = update(jobs).where(jobs.c.task_id.in_(task_ids)).values(pdf_purged=True)
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def counts(self) -> dict[State, int]:
        statement = select(jobs.c.state, func.count()).group_by(jobs.c.state)

        def query(connection: Connection) -> dict[State, int]:
            found = {State(state): count for state, count in connection.execute(statement)}
            return {state: found.get(state, 0) for state in State}

        return await self._database.read(query)

    async def _records(self, statement: Any) -> list[Record]:
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(statement)])


def _settle(connection: Connection, done: Settlement) -> State | None:
    row = connection.execute(_ONE_LOCKED, {"id": done.task_id}).one_or_none()
    if row is None or State(row.state) not in sources(done.event):
        return None
    closed = _close_attempts(connection, done)
    if done.attempt_id is not None and not closed and done.event in _OWNERS_ONLY:
        return None
    moved = connection.execute(
        update(jobs).where(jobs.c.task_id == done.task_id, jobs.c.state == row.state).values(_settled(row, done))
    )
    return after(State(row.state), done.event) if moved.rowcount else None


def _close_attempts(connection: Connection, done: Settlement) -> bool:
    """Give the settled attempt its outcome; False when somebody else has. A job at its end has no open attempt."""
    outcome = str(done.fault.kind) if done.fault else str(done.event)
    close = {"at": done.at, "what": outcome, "text": done.fault.detail[:MAX_DETAIL] if done.fault else ""}
    closed = False
    if done.attempt_id is not None:
        closed = bool(connection.execute(_CLOSE, close | {"attempt": done.attempt_id}).rowcount)
    if done.event in (Event.CANCELLED, Event.SUCCEEDED):
        for attempt_id in connection.execute(_OPEN_ATTEMPTS, {"id": done.task_id}).scalars().all():
            connection.execute(_CLOSE, close | {"attempt": attempt_id, "what": str(Event.CANCELLED)})
    return closed


def _settled(row: Row[Any], done: Settlement) -> dict[str, Any]:
    state = after(State(row.state), done.event)
    uncounted = done.attempt_id is not None and not done.counted
    values: dict[str, Any] = {
        "state": state,
        "attempts": max(0, row.attempts - uncounted),
        "unharmed": row.unharmed + (uncounted and done.event is Event.RETRIED),
        "deferrals": row.deferrals + (done.event is Event.DEFERRED),
        "losses": row.losses + done.loss,
    }
    if state in TERMINAL:
        values["finished_at"] = done.at
    if done.event in (Event.SUCCEEDED, Event.REDRIVEN):
        values |= {"error_kind": None, "error_detail": None}
    elif done.fault is not None:
        values |= {"error_kind": done.fault.kind, "error_detail": done.fault.detail[:MAX_DETAIL]}
    if done.pdf is not None:
        values |= {"pdf_bytes": done.pdf.size_bytes, "pdf_sha256": done.pdf.sha256}
    return values


def _without_lost_nodes(connection: Connection, record: Record, at: float) -> Tally:
    """A start without an outcome: its node died, or lost the message to us. Neither uses an attempt."""
    tally = record.tally
    for attempt_id in connection.execute(_OPEN_ATTEMPTS, {"id": record.job.task_id}).scalars().all():
        connection.execute(
            _CLOSE, {"attempt": attempt_id, "at": at, "what": FaultKind.NODE_LOST, "text": "never settled"}
        )
        tally = Tally(max(0, tally.attempts - 1), tally.deferrals, tally.losses, tally.node_losses + 1, tally.unharmed)
    return tally


def _tally_values(tally: Tally) -> dict[str, Any]:
    return {
        "attempts": tally.attempts,
        "deferrals": tally.deferrals,
        "losses": tally.losses,
        "node_losses": tally.node_losses,
        "unharmed": tally.unharmed,
    }


def _row(job: Job, *, confirmed: bool) -> dict[str, Any]:
    return {
        "task_id": job.task_id,
        "report_type": job.report_type,
        "user_id": job.user_id,
        "parameters": orjson.dumps(job.parameters).decode(),
        "callback_url": job.callback_url,
        "state": State.QUEUED,
        "submitted_at": job.submitted_at,
        "confirmed": confirmed,
    }


def _record(row: Row[Any]) -> Record:
    error = Fault(FaultKind(row.error_kind), row.error_detail or "") if row.error_kind else None
    pdf = None if row.pdf_bytes is None else PdfInfo(row.pdf_bytes, row.pdf_sha256, row.pdf_purged)
    return Record(
        job=Job(
            row.task_id,
            row.report_type,
            orjson.loads(row.parameters),
            row.user_id,
            row.submitted_at,
            row.callback_url,
        ),
        state=State(row.state),
        tally=Tally(row.attempts, row.deferrals, row.losses, row.node_losses, row.unharmed),
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=error,
        pdf=pdf,
        confirmed=row.confirmed,
    )

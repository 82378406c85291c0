"""Dead letters and their causes, in tables beside the jobs.

A job and its letter change in one transaction. A cause is replaced by compare-and-set, so that only one node sends its
canary.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import causes, dead_letters, jobs
from reportd.adapters.sql.stores import records
from reportd.adapters.sql.stores.clock import CLOCK
from reportd.adapters.sql.stores.inserts import counted_insert, dialect_insert
from reportd.adapters.sql.text import storable
from reportd.core.dead_letters.redrive import Cause, RedriveOutcome
from reportd.core.jobs.job import Job
from reportd.core.jobs.parameters import text_of
from reportd.core.jobs.transitions import JobEvent, JobState, after, sources
from reportd.ports import UNCONFIRMED_SECONDS, CauseView, DeadLetter, Group, LetterStatus, Record, Redrive

EXAMPLES = 3
MAX_REPORT_TYPES = 20

_c = dead_letters.c
_SHOWN = _c.standing.in_([LetterStatus.WAITING, LetterStatus.QUARANTINED])
_WAITING = _c.standing == LetterStatus.WAITING
_DEAD = (JobState.DEAD_LETTERED, JobState.QUARANTINED)
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DEAD_LETTERED)

_STATE_LOCKED = select(jobs.c.state).where(jobs.c.task_id == bindparam("task")).with_for_update()
_STATES = select(jobs.c.task_id, jobs.c.state).where(jobs.c.task_id.in_(bindparam("ids", expanding=True)))
_JOBS = select(jobs).where(jobs.c.task_id.in_(bindparam("ids", expanding=True)))

_GROUPED = (
    select(
        _c.signature,
        func.min(_c.kind).label("kind"),
        func.min(_c.cause).label("cause"),
        func.count(case((_WAITING, 1))).label("waiting"),
        func.count(case((~_WAITING, 1))).label("quarantined"),
        func.min(_c.first_seen_at).label("first_seen_at"),
        func.max(_c.last_seen_at).label("last_seen_at"),
    )
    .where(_SHOWN)
    .group_by(_c.signature)
)
_MEMBERS = (
    select(dead_letters)
    .where(_SHOWN, _c.signature == bindparam("sig"))
    .order_by(_c.last_seen_at.desc(), _c.id.desc())
    .limit(bindparam("count"))
)
_TYPES = (
    select(_c.report_type)
    .where(_SHOWN, _c.signature == bindparam("sig"), _c.report_type != "")
    .distinct()
    .order_by(_c.report_type)
    .limit(MAX_REPORT_TYPES)
)
_WAITING_BY_CAUSE = (
    select(
        _c.signature,
        _c.report_type,
        func.count().label("waiting"),
        func.count(case((_c.due_at <= bindparam("now"), 1))).label("due"),
    )
    .where(_WAITING)
    .group_by(_c.signature, _c.report_type)
)
_DUE = (
    select(dead_letters)
    .where(
        _WAITING, _c.signature == bindparam("sig"), _c.report_type == bindparam("kind"), _c.due_at <= bindparam("now")
    )
    .order_by(_c.released_at, _c.first_seen_at, _c.id)
    .limit(bindparam("count"))
)

_REDRIVE = (
    update(jobs)
    .where(jobs.c.task_id == bindparam("task"), jobs.c.state.in_([str(state) for state in sources(JobEvent.REDRIVEN)]))
    .values(due_at=CLOCK + UNCONFIRMED_SECONDS)
)
_UNDERWAY = (
    update(dead_letters)
    .where(_c.id == bindparam("task"))
    .values(standing=LetterStatus.UNDERWAY, redrives=_c.redrives + bindparam("own"), released_at=bindparam("at"))
)
_this_cause = (causes.c.signature == bindparam("sig")) & (causes.c.report_type == bindparam("kind"))
_same_version = causes.c.version == bindparam("seen")


def _of_a_job(*states: JobState) -> ColumnElement[bool]:
    return exists().where(jobs.c.task_id == _c.task_id, jobs.c.state.in_([str(state) for state in states]))


_TIDY = delete(dead_letters).where(
    _c.task_id.is_not(None),
    or_(_SHOWN & ~_of_a_job(*_DEAD), (_c.standing == LetterStatus.UNDERWAY) & ~_of_a_job(*_UNDER_WAY)),
)

_MISSING = (
    select(jobs)
    .where(
        jobs.c.state == JobState.DEAD_LETTERED,
        jobs.c.due_at < CLOCK,
        ~exists().where(_c.id == jobs.c.task_id, _SHOWN),
    )
    .order_by(jobs.c.due_at)
    .limit(bindparam("count"))
)


class SqlDeadLetters:
    """Implements ``ports.DeadLetters``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert = dialect_insert(database, dead_letters)
        changes = {c.name: insert.excluded[c.name] for c in _c if c.name not in ("id", "first_seen_at", "released_at")}
        self._keep_new = counted_insert(database, dead_letters)
        self._keep = insert.on_conflict_do_update(index_elements=["id"], set_=changes)
        self._new_cause = counted_insert(database, causes)

    async def keep(self, letter: DeadLetter) -> bool:
        def change(connection: Connection) -> bool:
            if letter.task_id is None:
                return connection.execute(self._keep_new, _row(letter)).rowcount == 1
            if letter.standing is not LetterStatus.UNDERWAY:
                state = connection.execute(_STATE_LOCKED, {"task": letter.task_id}).scalar()
                if state not in _DEAD:
                    return False
            connection.execute(self._keep, _row(letter))
            return True

        return await self._database.write(change)

    async def get(self, letter_id: str) -> DeadLetter | None:
        letters = await self._letters(select(dead_letters).where(_c.id == letter_id))
        return letters[0] if letters else None

    async def remove(self, letter_ids: Sequence[str]) -> int:
        statement = delete(dead_letters).where(_c.id.in_(list(letter_ids)))
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def groups(self, limit: int, before: tuple[float, str] | None = None) -> list[Group]:
        last = func.max(_c.last_seen_at)
        statement = _GROUPED.order_by(last.desc(), _c.signature.desc()).limit(limit)
        if before is not None:
            statement = statement.having(tuple_(last, _c.signature) < before)
        return await self._groups(statement)

    async def group(self, signature: str) -> Group | None:
        groups = await self._groups(_GROUPED.where(_c.signature == signature))
        return groups[0] if groups else None

    async def _groups(self, statement: Any) -> list[Group]:
        def query(connection: Connection) -> list[Group]:
            return [_group(connection, row) for row in connection.execute(statement).all()]

        return await self._database.read(query)

    async def members(self, signature: str, limit: int, before: tuple[float, str] | None = None) -> list[DeadLetter]:
        statement = _MEMBERS if before is None else _MEMBERS.where(tuple_(_c.last_seen_at, _c.id) < before)
        return await self._letters(statement, {"sig": signature, "count": limit})

    async def causes(self, now: float, limit: int) -> list[CauseView]:
        def query(connection: Connection) -> list[CauseView]:
            waiting = {
                (row.signature, row.report_type): row for row in connection.execute(_WAITING_BY_CAUSE, {"now": now})
            }
            stored = {(row.signature, row.report_type): _cause(row) for row in connection.execute(select(causes))}
            views = [stored.get(key) or Cause(*key) for key in dict.fromkeys([*stored, *waiting])]
            views = sorted(views, key=lambda cause: (cause.sent_at, cause.signature, cause.report_type))[:limit]
            ids = [task_id for cause in views for task_id in cause.wave]
            states = {task_id: JobState(state) for task_id, state in connection.execute(_STATES, {"ids": ids})}
            return [_view(cause, states, waiting.get((cause.signature, cause.report_type))) for cause in views]

        return await self._database.read(query)

    async def due(self, cause: Cause, now: float, limit: int) -> list[DeadLetter]:
        return await self._letters(_DUE, {**_key(cause), "now": now, "count": limit})

    async def overdue(self, before: float, limit: int) -> list[DeadLetter]:
        statement = select(dead_letters).where(_WAITING, _c.first_seen_at <= before)
        return await self._letters(statement.order_by(_c.first_seen_at).limit(limit))

    async def release(self, redrives: Sequence[Redrive], at: float, cause: Cause | None = None) -> list[Record] | None:
        def change(connection: Connection) -> list[Record] | None:
            if cause is not None and not self._replace(connection, cause):
                return None
            # Always in the same order, so that two nodes don't deadlock.
            ordered = sorted(redrives, key=lambda redrive: redrive.task_id)
            released = [redrive.task_id for redrive in ordered if _release(connection, redrive, at)]
            return [records.record(row) for row in connection.execute(_JOBS, {"ids": released})]

        return await self._database.write(change)

    async def replace(self, cause: Cause) -> bool:
        return await self._database.write(lambda connection: self._replace(connection, cause))

    def _replace(self, connection: Connection, cause: Cause) -> bool:
        values = {
            "version": cause.version + 1,
            "sent_at": cause.sent_at,
            "failed_at": cause.failed_at,
            "passed_at": cause.passed_at,
            "size": cause.size,
            "failures": cause.failures,
            "wave": orjson.dumps(cause.wave).decode(),
        }
        if not cause.version:
            names = {"signature": cause.signature, "report_type": cause.report_type}
            return bool(connection.execute(self._new_cause, {**names, **values}).rowcount)
        statement = update(causes).where(_this_cause, _same_version).values(values)
        return bool(connection.execute(statement, {**_key(cause), "seen": cause.version}).rowcount)

    async def forget(self, cause: Cause) -> None:
        statement = delete(causes).where(_this_cause, _same_version)
        values = {**_key(cause), "seen": cause.version}
        await self._database.write(lambda connection: connection.execute(statement, values).rowcount)

    async def missing(self, limit: int) -> list[Record]:
        return await self._database.read(
            lambda connection: [records.record(row) for row in connection.execute(_MISSING, {"count": limit})]
        )

    async def tidy(self) -> int:
        return await self._database.write(lambda connection: connection.execute(_TIDY).rowcount)

    async def _letters(self, statement: Any, values: dict[str, Any] | None = None) -> list[DeadLetter]:
        return await self._database.read(
            lambda connection: [_letter(row) for row in connection.execute(statement, values or {})]
        )


def _release(connection: Connection, redrive: Redrive, at: float) -> bool:
    values: dict[str, Any] = {"state": after(JobState.DEAD_LETTERED, JobEvent.REDRIVEN), "confirmed": False}
    # Node losses use no attempt, and the job gets one more try.
    values |= {"node_losses": 0} | records.error_columns(None)
    if redrive.job is not None:
        values |= _content(redrive.job)
    if not connection.execute(_REDRIVE.values(values), {"task": redrive.task_id}).rowcount:
        return False
    connection.execute(_UNDERWAY, {"task": redrive.task_id, "own": int(redrive.own), "at": at})
    return True


def _content(job: Job) -> dict[str, Any]:
    return {"report_type": job.report_type, "parameters": text_of(job.parameters)}


def _group(connection: Connection, row: Row[Any]) -> Group:
    values = {"sig": row.signature, "count": EXAMPLES}
    examples = tuple(_letter(member) for member in connection.execute(_MEMBERS, values))
    types = tuple(connection.execute(_TYPES, {"sig": row.signature}).scalars())
    return Group(report_types=types, examples=examples, **row._asdict())


def _view(cause: Cause, states: dict[str, JobState], row: Row[Any] | None) -> CauseView:
    states_now = Counter(states[task_id] for task_id in cause.wave if task_id in states)
    pending = states_now[JobState.QUEUED] + states_now[JobState.RUNNING]
    failed = states_now[JobState.DEAD_LETTERED] + states_now[JobState.QUARANTINED]
    outcome = RedriveOutcome(pending, states_now[JobState.SUCCEEDED], failed)
    return CauseView(cause, outcome, row.waiting if row else 0, row.due if row else 0)


def _key(cause: Cause) -> dict[str, str]:
    return {"sig": cause.signature, "kind": cause.report_type}


def _cause(row: Row[Any]) -> Cause:
    return Cause(**row._asdict() | {"wave": tuple(orjson.loads(row.wave))})


def _row(letter: DeadLetter) -> dict[str, Any]:
    attributes = {name: storable(value) for name, value in letter.attributes.items()}
    return {
        "id": letter.id,
        "task_id": letter.task_id,
        "signature": letter.signature,
        "report_type": letter.report_type,
        "kind": letter.kind,
        "standing": letter.standing,
        "redrives": letter.redrives,
        "returns": letter.returns,
        "first_seen_at": letter.first_seen_at,
        "last_seen_at": letter.last_seen_at,
        "due_at": letter.due_at,
        "released_at": 0.0,
        "reason": storable(letter.reason),
        "cause": storable(letter.cause),
        "detail": storable(letter.detail[: records.MAX_DETAIL]),
        "attributes": orjson.dumps(attributes).decode(),
        "body": letter.body,
    }


def _letter(row: Row[Any]) -> DeadLetter:
    values = row._asdict() | {"standing": LetterStatus(row.standing), "attributes": orjson.loads(row.attributes)}
    del values["released_at"]
    return DeadLetter(**values)

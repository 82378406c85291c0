"""Evidence of failed attempts: a row of ``evidence`` each. Losing one in a power cut harms nobody."""

import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, or_, select

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import evidence as table
from reportd.adapters.sql.stores.inserts import insert_missing
from reportd.adapters.sql.text import storable
from reportd.core.jobs.evidence import Evidence
from reportd.ports import KEPT_PER_JOB, StoredEvidence

_this_job = table.c.task_id == bindparam("task")
_last = select(table.c.attempt).where(_this_job).order_by(table.c.attempt.desc()).limit(KEPT_PER_JOB)
_FORGET = delete(table).where(_this_job, table.c.attempt.not_in(_last))
# Not the screenshot itself: the page of a job needs only to know whether there is one.
_OF_JOB = (
    select(
        table.c.attempt,
        table.c.taken_at,
        table.c.screenshot.is_not(None).label("has_screenshot"),
        table.c.content,
    )
    .where(_this_job)
    .order_by(table.c.attempt)
)
_SCREENSHOT = select(table.c.screenshot).where(_this_job, table.c.attempt == bindparam("number"))


class SqlEvidence:
    """Implements ``ports.EvidenceStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = insert_missing(database, table)

    async def put(self, task_id: str, attempt: int, taken_at: float, evidence: Evidence) -> None:
        row = {
            "task_id": task_id,
            "attempt": attempt,
            "taken_at": taken_at,
            "content": _content(evidence),
            "screenshot": evidence.screenshot or None,
        }

        def change(connection: Connection) -> None:
            connection.execute(self._insert, row)
            connection.execute(_FORGET, {"task": task_id})

        await self._database.write(change, durably=False)

    async def of_job(self, task_id: str) -> list[StoredEvidence]:
        return await self._database.read(
            lambda connection: [_stored(row) for row in connection.execute(_OF_JOB, {"task": task_id})]
        )

    async def screenshot(self, task_id: str, attempt: int) -> bytes | None:
        values = {"task": task_id, "number": attempt}
        return await self._database.read(
            lambda connection: connection.execute(_SCREENSHOT, values).scalar_one_or_none()
        )

    async def purge(self, before: float, keep: int) -> int:
        newest = select(table.c.taken_at).order_by(table.c.taken_at.desc())
        too_old = newest.offset(keep).limit(1).scalar_subquery()
        statement = delete(table).where(or_(table.c.taken_at < before, table.c.taken_at <= too_old))
        return await self._database.write(lambda connection: connection.execute(statement).rowcount, durably=False)


def _content(evidence: Evidence) -> str:
    return json.dumps(
        {
            "console": [storable(line) for line in evidence.console],
            "requests": [storable(line) for line in evidence.requests],
            "activity": storable(evidence.activity),
        },
        ensure_ascii=False,
    )


def _stored(row: Row[Any]) -> StoredEvidence:
    content = json.loads(row.content)
    return StoredEvidence(
        row.attempt,
        row.taken_at,
        bool(row.has_screenshot),
        tuple(content["console"]),
        tuple(content["requests"]),
        content["activity"],
    )

"""The audit log: rows of ``audit`` are added and read, never changed, and kept as long as those of jobs."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import audit
from reportd.adapters.sql.stores.inserts import insert_missing
from reportd.adapters.sql.text import storable
from reportd.ports import AuditEntry

MAX_NAME = 255
"""The longest actor, action or subject; a longer one is cut."""


class SqlAudit:
    """Implements ``ports.Audit``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # An existing row is this entry: the answer to the first write was lost.
        self._insert = insert_missing(database, audit)

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        if entries:
            rows = [_row(entry) for entry in entries]
            await self._database.write(lambda connection: connection.execute(self._insert, rows).rowcount)

    async def latest(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        statement = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
        if subject is not None:
            statement = statement.where(audit.c.subject == _name(subject))
        return await self._database.read(lambda connection: [_entry(row) for row in connection.execute(statement)])


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "actor": _name(entry.actor),
        "action": _name(entry.action),
        "subject": _name(entry.subject),
        "detail": storable(json.dumps(dict(entry.detail), ensure_ascii=False)),
    }


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(row.at, row.actor, row.action, row.subject, json.loads(row.detail))


def _name(text: str) -> str:
    return storable(text)[:MAX_NAME]

"""The alert store: one row for each channel and cause, changed by one node at a time."""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import alerts
from reportd.adapters.sql.stores.clock import clock_or_database
from reportd.adapters.sql.stores.inserts import counted_insert
from reportd.adapters.sql.text import storable
from reportd.core.alerts.incidents import Incident, Kind
from reportd.ports import Decide

_columns = alerts.c
_this = (_columns.channel == bindparam("of_channel")) & (_columns.signature == bindparam("of_signature"))

# SQLite has one writer at a time and no row locks, so there this is the plain statement.
_ONE = select(alerts).where(_this).with_for_update()
_CHANGE = update(alerts).where(_this)
_FORGET = delete(alerts).where(_this)
_DUE = (
    select(_columns.signature, _columns.due_at)
    .where(_columns.channel == bindparam("of_channel"), _columns.due_at < float("inf"))
    .order_by(_columns.due_at)
    .limit(bindparam("limit"))
)


class SqlAlerts:
    """Implements ``ports.AlertStore``."""

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._now = clock_or_database(clock)
        self._insert = counted_insert(database, alerts)

    async def change(self, channel: str, signature: str, decide: Decide) -> Incident | None:
        signature = storable(signature)
        key = {"of_channel": channel, "of_signature": signature}

        def change(connection: Connection) -> Incident | None:
            while True:
                row = connection.execute(_ONE, key).one_or_none()
                before = None if row is None else _incident(row)
                after = decide(before, self._now(connection))
                if after is None:
                    if before is not None:
                        connection.execute(_FORGET, key)
                elif before is None:
                    values = {"channel": channel, "signature": signature, **_values(after)}
                    if not connection.execute(self._insert, values).rowcount:
                        continue  # another node was quicker
                elif after != before:
                    connection.execute(_CHANGE, key | _values(after))
                return after

        return await self._database.write(change)

    async def due(self, channel: str, limit: int) -> tuple[list[str], float | None]:
        def query(connection: Connection) -> tuple[list[str], float | None]:
            rows = connection.execute(_DUE, {"of_channel": channel, "limit": limit}).all()
            if not rows:
                return [], None
            at = self._now(connection)
            return [row.signature for row in rows if row.due_at <= at], max(0.0, rows[0].due_at - at)

        return await self._database.read(query)


def _values(incident: Incident) -> dict[str, Any]:
    return asdict(incident) | {"detail": storable(incident.detail)}


def _incident(row: Row[Any]) -> Incident:
    values = {field.name: getattr(row, field.name) for field in fields(Incident)}
    return Incident(**values | {"kind": Kind(row.kind)})

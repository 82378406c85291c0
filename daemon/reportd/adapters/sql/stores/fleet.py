"""The nodes' heartbeats: one row of ``nodes`` each, overwritten again and again."""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, select

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import nodes
from reportd.adapters.sql.stores.clock import now
from reportd.adapters.sql.stores.inserts import dialect_insert
from reportd.adapters.sql.text import storable
from reportd.ports import Heartbeat

_ALL = select(nodes).order_by(nodes.c.node)
_LEAVE = delete(nodes).where(nodes.c.node == bindparam("which"))
_FORGET = delete(nodes).where(nodes.c.seen_at < bindparam("before"))


class SqlFleet:
    """Implements ``ports.Fleet``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert = dialect_insert(database, nodes)
        self._report = insert.on_conflict_do_update(
            index_elements=[nodes.c.node], set_={"seen_at": insert.excluded.seen_at, "told": insert.excluded.told}
        )

    async def report(self, node: str, told: Mapping[str, Any]) -> None:
        text = storable(orjson.dumps(told).decode())

        def change(connection: Connection) -> None:
            connection.execute(self._report, {"node": node, "seen_at": now(connection), "told": text})

        await self._database.write(change)

    async def heartbeats(self) -> list[Heartbeat]:
        def query(connection: Connection) -> list[Heartbeat]:
            at = now(connection)
            rows = connection.execute(_ALL)
            return [
                Heartbeat(row.node, row.seen_at, max(0.0, at - row.seen_at), orjson.loads(row.told)) for row in rows
            ]

        return await self._database.read(query)

    async def leave(self, node: str) -> None:
        await self._database.write(lambda connection: connection.execute(_LEAVE, {"which": node}).rowcount)

    async def forget(self, older_than_seconds: float) -> None:
        def change(connection: Connection) -> None:
            connection.execute(_FORGET, {"before": now(connection) - older_than_seconds})

        await self._database.write(change)

"""What all nodes of a cluster agree on: a row of ``cluster`` each."""

from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import cluster

_ONE = select(cluster.c.value).where(cluster.c.name == bindparam("which"))


class SqlCluster:
    """``alone``: there is one node, by the kind of the database."""

    def __init__(self, database: Database) -> None:
        self.alone = database.is_sqlite
        self._database = database
        dialect: Any = sqlite if database.is_sqlite else postgresql
        self._insert = dialect.insert(cluster).on_conflict_do_nothing()
        upsert = dialect.insert(cluster)
        self._replace = upsert.on_conflict_do_update(
            index_elements=[cluster.c.name], set_={"value": upsert.excluded.value}
        )

    async def known(self, name: str) -> str | None:
        """What was agreed on under that name. Raises UnavailableError."""
        return await self._database.read(lambda connection: connection.execute(_ONE, {"which": name}).scalar())

    async def agree(self, name: str, value: str) -> str:
        """That, unless something was agreed on before; what holds now. Raises UnavailableError."""

        def take(connection: Connection) -> str:
            connection.execute(self._insert, {"name": name, "value": value})
            return str(connection.execute(_ONE, {"which": name}).scalar_one())

        return await self._database.write(take)

    async def change(self, name: str, value: str) -> None:
        """That, whatever was agreed on before. Raises UnavailableError."""
        values = {"name": name, "value": value}
        await self._database.write(lambda connection: connection.execute(self._replace, values).rowcount)

"""Values that all nodes of a cluster agree on: one row of ``cluster`` each."""

from sqlalchemy import Connection, Table, select

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import cluster
from reportd.adapters.sql.stores.inserts import dialect_insert, insert_missing


class SqlCluster:
    """``alone``: whether the database can serve only one node."""

    def __init__(self, database: Database) -> None:
        self.alone = database.is_sqlite
        self._database = database
        insert = dialect_insert(database, cluster)
        self._replace = insert.on_conflict_do_update(
            index_elements=[cluster.c.name], set_={"value": insert.excluded.value}
        )

    async def known(self, name: str) -> str | None:
        """Return the value of this name; None if there is none yet. Raises UnavailableError."""
        statement = select(cluster.c.value).where(cluster.c.name == name)
        return await self._database.read(lambda connection: connection.execute(statement).scalar())

    async def agree(self, name: str, value: str) -> str:
        """Set the value unless there is one. Return the value that holds now. Raises UnavailableError."""
        return await set_once(self._database, cluster, name, value)

    async def change(self, name: str, value: str) -> None:
        """Set the value, replacing any other. Raises UnavailableError."""
        values = {"name": name, "value": value}
        await self._database.write(lambda connection: connection.execute(self._replace, values).rowcount)


async def set_once(database: Database, table: Table, name: str, value: str) -> str:
    """Set a value in a table of names and values, unless there is one. Return the value that holds now."""
    insert = insert_missing(database, table)
    statement = select(table.c.value).where(table.c.name == name)

    def change(connection: Connection) -> str:
        connection.execute(insert, {"name": name, "value": value})
        return str(connection.execute(statement).scalar_one())

    return await database.write(change)

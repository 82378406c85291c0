"""Secrets that the nodes make themselves and share: they must outlive a restart, and nobody has to set them up."""

from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import secrets

_ONE = select(secrets.c.value).where(secrets.c.name == bindparam("which"))


async def shared_secret(database: Database, name: str) -> bytes:
    """256 bits, the same on all nodes, made by the first that asks. Raises UnavailableError."""
    dialect: Any = sqlite if database.is_sqlite else postgresql
    insert = dialect.insert(secrets).on_conflict_do_nothing()

    def take(connection: Connection) -> str:
        connection.execute(insert, {"name": name, "value": token_hex(32)})
        value: str = connection.execute(_ONE, {"which": name}).scalar_one()
        return value

    return bytes.fromhex(await database.write(take))

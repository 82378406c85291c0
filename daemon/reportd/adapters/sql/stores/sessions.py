"""Ended logins: one row of ``ended_sessions`` each, until the login would have expired."""

from sqlalchemy import Connection, bindparam, delete, func, select

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import ended_sessions as table
from reportd.adapters.sql.stores.inserts import insert_missing
from reportd.ports import EndedSession

MAX_OF_TOKEN = 1000
"""Limit of rows per token: its owner can log in and out any number of times."""

EVERY = ""
"""In place of a session: all sessions of the token."""

_FORGET = delete(table).where(table.c.until <= bindparam("now"))
_COUNT = select(func.count()).where(table.c.token == bindparam("which"))
_CLEAR = delete(table).where(table.c.token == bindparam("which"))
_STILL = select(table).where(table.c.until > bindparam("now")).order_by(table.c.token, table.c.session)


class SqlEndedSessions:
    """Implements ``ports.EndedSessions``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = insert_missing(database, table)

    async def end(self, token: str, session: str, at: float, until: float) -> None:
        def change(connection: Connection) -> None:
            connection.execute(_FORGET, {"now": at})
            ended = session
            if connection.execute(_COUNT, {"which": token}).scalar_one() >= MAX_OF_TOKEN:
                connection.execute(_CLEAR, {"which": token})
                ended = EVERY
            connection.execute(self._insert, {"token": token, "session": ended, "at": at, "until": until})

        await self._database.write(change)

    async def ended(self, at: float) -> list[EndedSession]:
        def query(connection: Connection) -> list[EndedSession]:
            return [EndedSession(row.token, row.session, row.at) for row in connection.execute(_STILL, {"now": at})]

        return await self._database.read(query)

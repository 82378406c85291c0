"""One database, SQLite or PostgreSQL, reached from trio: reads in threads, writes in shared transactions.

Every write that arrives while a commit is under way shares the next one (group commit), so that the durable
202 of one client costs no more than that of thirty. Only the SQL adapters may use it.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from reportd.batch import Batcher, open_batcher
from reportd.ports import UnavailableError

T = TypeVar("T")

LOCK_WAIT_SECONDS = 4.0
"""How long a write waits for SQLite's lock before it is said to be unavailable."""

MAX_WRITES_PER_COMMIT = 200
MAX_READERS = 4


class Database:
    """Runs functions of a connection. Made by ``open_database``."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(MAX_READERS)
        self._commits: Batcher[Callable[[Connection], Any], Any] | None = None

    @property
    def is_sqlite(self) -> bool:
        return self._writer.dialect.name == "sqlite"

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Commit what ``change`` does, durably. Raises UnavailableError if the database can't do it now.

        ``change`` may run a second time, after a rollback, when another one of its transaction failed.
        """
        if self._commits is None:
            raise UnavailableError("database", "it is closed")
        result: T = await self._commits.submit(change)
        return result

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What ``query`` answers. Raises UnavailableError if the database can't be read now."""

        def run() -> T:
            try:
                with self._reader.connect() as connection:
                    return query(connection)
            except exc.DBAPIError as error:
                raise _judged(error) from error

        return await trio.to_thread.run_sync(run, limiter=self._read_limiter)

    def with_writer(self, change: Callable[[Connection], T]) -> T:
        """``change`` in a transaction of its own, on the calling thread: for migrations, before all else."""
        try:
            with self._writer.begin() as connection:
                return change(connection)
        except exc.DBAPIError as error:
            raise _judged(error) from error

    async def _flush(self, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
        return await trio.to_thread.run_sync(self._commit, changes, limiter=self._write_limiter)

    def _commit(self, changes: Sequence[Callable[[Connection], Any]]) -> list[Any]:
        try:
            with self._writer.begin() as connection:
                return [change(connection) for change in changes]
        except exc.DBAPIError as error:
            judged = _judged(error)
            if len(changes) == 1 or isinstance(judged, UnavailableError):
                return [judged] * len(changes)
        except Exception as error:  # noqa: BLE001 - handed to the caller whose change it is
            if len(changes) == 1:
                return [error]
        # One of them is at fault: each for itself, so that it fails alone.
        return [self._commit([change])[0] for change in changes]


def _judged(error: exc.DBAPIError) -> Exception:
    """A fault of the statement stays what it is; anything about the database's condition is unavailability."""
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated:
        return UnavailableError("database", str(error.orig).splitlines()[0] if str(error.orig) else "no answer")
    return error


@asynccontextmanager
async def open_database(url: str | URL) -> AsyncIterator[Database]:
    """Connect lazily; the schema is ``migrate``'s business."""
    writer, reader = _engines(make_url(url))
    database = Database(writer, reader)
    try:
        async with open_batcher(database._flush, MAX_WRITES_PER_COMMIT) as commits:  # noqa: SLF001 - its maker
            database._commits = commits  # noqa: SLF001
            try:
                yield database
            finally:
                database._commits = None  # noqa: SLF001
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(writer.dispose)
            await trio.to_thread.run_sync(reader.dispose)


def _engines(url: URL) -> tuple[Engine, Engine]:
    if url.get_backend_name() != "sqlite":
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        engine = create_engine(url, pool_size=MAX_READERS + 1, max_overflow=0, pool_pre_ping=True)
        return engine, engine
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False, "timeout": LOCK_WAIT_SECONDS}}
    writer = create_engine(url, pool_size=1, max_overflow=0, **options)
    reader = create_engine(url, pool_size=MAX_READERS, max_overflow=0, **options)
    for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _beginner(begin))
    return writer, reader


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and as readers; ours begin as writers at once, because a
    # reader that turns into a writer can be refused without waiting (sqlite.org/lang_transaction.html).
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL: a commit has reached the disk when it returns, so a 202 survives a power cut (sqlite.org/pragma.html).
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _beginner(statement: str) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return begin

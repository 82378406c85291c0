"""Connections to SQLite and PostgreSQL, set up so that nothing waits for ever."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

LOCK_WAIT_SECONDS = 2.0
"""How long a write waits for a lock. One that comes while another waits may wait as long again."""

MIGRATION_WAIT_SECONDS = 60.0
"""The same on SQLite for whoever starts while another daemon makes the schema."""

ANSWER_SECONDS = 6.0
"""How long a statement may take on PostgreSQL. The server's own limits say nothing while it stands still itself, and
TCP's say nothing either: its kernel goes on acknowledging. So the client ends the connection."""

MAX_READERS = 4

# A dead peer is noticed in ten seconds (postgresql.org/docs/current/libpq-connect.html).
_POSTGRESQL_OPTIONS: dict[str, Any] = {
    "connect_timeout": 4,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Nothing is kept in the session, because a pooler in transaction mode gives each transaction another one and refuses
# `options` at the start (pgbouncer.org/features.html). What a node that vanished held is let go after half a minute.
_SETTINGS = {"lock_timeout": f"{LOCK_WAIT_SECONDS:g}s", "idle_in_transaction_session_timeout": "30s"}


DURABLY = "durably"
"""In the ``info`` of a connection that writes: whether the next transaction must have reached the disk when it ends.
PostgreSQL's always have."""

_SYNCHRONOUS = "synchronous"


def open_engines(url: URL) -> tuple[Engine, Engine]:
    """One for writing, with one connection, and one for reading; on PostgreSQL they are the same."""
    return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=MAX_READERS + 1,
        max_overflow=0,
        pool_pre_ping=True,
        # The driver would send a BEGIN of its own before what begins a transaction here.
        isolation_level="AUTOCOMMIT",
        connect_args={name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in url.query},
    )
    from reportd.adapters.sql.postgresql import BoundedConnection  # its library is not needed for SQLite

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> BoundedConnection:
        # Prepared statements are of a session, too. Who wants them all the same says after how many uses.
        threshold = options.pop("prepare_threshold", None)
        return BoundedConnection.connect(**options, prepare_threshold=None if threshold is None else int(threshold))

    # The statements are written for this level: each sees what others have committed before it.
    statements = "BEGIN ISOLATION LEVEL READ COMMITTED"
    if "options" not in url.query:  # else the URL has the last word
        statements = "; ".join([statements, *(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())])

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One message to the server; several statements at once can't be prepared.
        driver: Any = connection.connection.driver_connection
        threshold, driver.prepare_threshold = driver.prepare_threshold, None
        connection.exec_driver_sql(statements)
        driver.prepare_threshold = threshold

    return engine, engine


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False, "timeout": LOCK_WAIT_SECONDS}}
    writer = create_engine(url, pool_size=1, max_overflow=0, **options)
    reader = create_engine(url, pool_size=MAX_READERS, max_overflow=0, **options)
    for engine, begin in ((writer, _begin_writing), (reader, _begin_reading)):
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", begin)
    return writer, reader


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and as readers; ours begin as writers at once, because a
    # reader that turns into a writer can be refused without waiting (sqlite.org/lang_transaction.html).
    connection.isolation_level = None
    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Where two do so for a new file at the same instant, each may hold what the other waits for. SQLite then refuses
    one of them at once, whatever ``timeout`` says (sqlite.org/c3ref/busy_handler.html).
    """
    until = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311 - nothing secret
        else:
            return


def _begin_writing(connection: Connection) -> None:
    # FULL: a commit has reached the disk when it returns, with all before it, so a 202 survives a power cut. NORMAL:
    # it is in the file, but the disk may not have it yet (sqlite.org/pragma.html).
    synchronous = "FULL" if connection.info.get(DURABLY, True) else "NORMAL"
    if connection.info.get(_SYNCHRONOUS) != synchronous:
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
        connection.info[_SYNCHRONOUS] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """What is done in the block may take as long as it takes, and may wait for another node that does the same."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.execute(f"PRAGMA busy_timeout={MIGRATION_WAIT_SECONDS * 1000:.0f}")
    else:
        driver.answer_seconds = None
    try:
        yield
    finally:
        if connection.dialect.name == "sqlite":
            driver.execute(f"PRAGMA busy_timeout={LOCK_WAIT_SECONDS * 1000:.0f}")
        else:
            driver.answer_seconds = ANSWER_SECONDS

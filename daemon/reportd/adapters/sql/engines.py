"""Connections to SQLite and PostgreSQL, configured so that no call waits for ever."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

LOCK_WAIT_SECONDS = 2.0
"""How long a write waits for a lock. If it comes while another write waits, it may wait twice as long."""

MIGRATION_WAIT_SECONDS = 60.0
"""Lock timeout on SQLite for a daemon that starts while another one migrates the schema."""

ANSWER_SECONDS = 6.0
"""How long a statement may take on PostgreSQL. When the server stands still, its own limits do not work, and neither do
TCP's, because its kernel goes on acknowledging. So the client closes the connection."""

MAX_READERS = 4

# A dead peer is detected in ten seconds (postgresql.org/docs/current/libpq-connect.html).
_POSTGRESQL_OPTIONS: dict[str, Any] = {
    "connect_timeout": 4,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Set per transaction, not per session: a pooler in transaction mode changes the session with each transaction, and it
# refuses `options` at the start (pgbouncer.org/features.html). Locks of a vanished node are released after 30 seconds.
_SETTINGS = {"lock_timeout": f"{LOCK_WAIT_SECONDS:g}s", "idle_in_transaction_session_timeout": "30s"}


DURABLY = "durably"
"""Key in the ``info`` of a writing connection: whether the next transaction must be on disk when its commit returns.
On PostgreSQL it always is."""

_SYNCHRONOUS = "synchronous"


def open_engines(url: URL) -> tuple[Engine, Engine]:
    """Return a writing engine with one connection, and a reading one; on PostgreSQL they are the same."""
    return _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=MAX_READERS + 1,
        max_overflow=0,
        pool_pre_ping=True,
        # Without it, the driver sends a BEGIN of its own before ours.
        isolation_level="AUTOCOMMIT",
        connect_args={name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in url.query},
    )
    from reportd.adapters.sql.postgresql import BoundedConnection  # SQLite does not need its library

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> BoundedConnection:
        # Prepared statements belong to a session, too. To use them all the same, set prepare_threshold in the URL.
        threshold = options.pop("prepare_threshold", None)
        return BoundedConnection.connect(**options, prepare_threshold=None if threshold is None else int(threshold))

    # The statements rely on this level: each sees what others have committed before it starts.
    statements = "BEGIN ISOLATION LEVEL READ COMMITTED"
    if "options" not in url.query:  # options in the URL override these settings
        statements = "; ".join([statements, *(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())])

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # One message to the server. A message of several statements can't be prepared.
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
    # The driver would begin transactions by itself, as readers. Ours begin as writers, because SQLite may refuse at
    # once to turn a reader into a writer (sqlite.org/lang_transaction.html).
    connection.isolation_level = None
    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode, with retries. When two connections do so for a new file at the same moment, each may wait for
    the other. SQLite then refuses one at once, in spite of ``timeout`` (sqlite.org/c3ref/busy_handler.html).
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311 - nothing secret
        else:
            return


def _begin_writing(connection: Connection) -> None:
    # FULL: when a commit returns, it is on disk with all earlier ones, so a 202 survives a power cut. NORMAL: it is in
    # the file, but perhaps not on disk yet (sqlite.org/pragma.html).
    synchronous = "FULL" if connection.info.get(DURABLY, True) else "NORMAL"
    if connection.info.get(_SYNCHRONOUS) != synchronous:
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
        connection.info[_SYNCHRONOUS] = synchronous
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def without_timeouts(connection: Connection) -> Iterator[None]:
    """Lift the timeouts inside the block, so that a migration can take long or wait for another node's."""
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

"""Empty, migrated databases for tests: a copy of a file, or the tables of a server swept clean."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.migrate import migrate
from tests.servers.postgresql import Postgres


def make_schema(url: str) -> None:
    async def make() -> None:
        async with open_database(url) as database:
            await migrate(database)

    trio.run(make)


def sqlite_copy(original: Path, folder: Path) -> str:
    """The URL of a copy of a migrated file that is not in use."""
    if not original.exists():
        make_schema(f"sqlite:///{original}")
        with closing(sqlite3.connect(original)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return f"sqlite:///{shutil.copy(original, folder / 'reportd.db')}"


@contextmanager
def shared_schema(postgres: Postgres) -> Iterator[str]:
    """The URL of a database of one's own in a server that others use, too."""
    with postgres.new_database("contract") as url:
        make_schema(url)
        yield url


def sweep(postgres: Postgres) -> None:
    tables = "jobs, attempts, messages, leases, audit, secrets, outbox, alerts, dead_letters, causes, nodes"
    tables += ", ended_sessions, cluster, evidence"
    postgres.run(f"TRUNCATE {tables}", database="contract")

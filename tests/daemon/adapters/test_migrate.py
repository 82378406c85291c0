"""The schema: made on an empty database, left alone when current, refused when newer."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import trio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from reportd.adapters.sql import engines
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.migrate import _LOCK, NewerSchemaError, _config, migrate
from reportd.adapters.sql.schema import metadata
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.jobs.transitions import JobState
from reportd.ports import JobFilter, UnavailableError
from tests.servers.postgresql import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'reportd.db'}"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.new_database("migrations") as url:
            yield url


async def tables(database: Database) -> set[str]:
    return await database.read(lambda connection: set(inspect(connection).get_table_names()))


async def test_an_empty_database_gets_every_table(url: str) -> None:
    async with open_database(url) as database:
        assert await tables(database) == set()
        await migrate(database)
        assert await tables(database) == set(metadata.tables) | {"alembic_version"}


async def test_a_current_database_is_left_as_it_is(url: str) -> None:
    async with open_database(url) as database:
        await migrate(database)
        await database.write(lambda connection: connection.execute(_A_MESSAGE).rowcount)
    async with open_database(url) as database:
        await migrate(database)
        count = text("SELECT count(*) FROM messages")
        assert await database.read(lambda connection: connection.execute(count).scalar()) == 1


async def test_a_newer_schema_is_refused_and_left_as_it_is(url: str) -> None:
    async with open_database(url) as database:
        await migrate(database)
        newer = text("UPDATE alembic_version SET version_num = '9999'")
        await database.write(lambda connection: connection.execute(newer).rowcount)
        before = await tables(database)
        with pytest.raises(NewerSchemaError, match=r"9999.*newer reportd"):
            await migrate(database)
        assert await tables(database) == before


async def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    async with open_database(url) as database:
        # What it makes last is in the way.
        await database.write(lambda connection: connection.execute(text("CREATE TABLE messages (id INTEGER)")).rowcount)
        with pytest.raises(Exception, match="already exists"):
            await migrate(database)
        assert await tables(database) == {"messages"}


_MIGRATES = """
import sys, trio
from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.migrate import migrate
async def main():
    async with open_database(sys.argv[1]) as database:
        sys.stdin.read()
        await migrate(database)
trio.run(main)
"""


async def test_daemons_that_start_together_take_turns(url: str) -> None:
    """They start together, and all succeed."""
    command = [sys.executable, "-c", _MIGRATES, url]
    results = []

    async def start(gate: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        process = await trio.lowlevel.open_process(command, stdin=-1, stderr=-1)
        assert process.stdin is not None
        assert process.stderr is not None
        task_status.started()
        await gate.wait()
        await process.stdin.aclose()
        errors = b"".join([piece async for piece in process.stderr])
        results.append((await process.wait(), errors.decode()[-300:]))

    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            await nursery.start(start, gate)
        await trio.sleep(0.5)
        gate.set()
    assert results == [(0, "")] * 2
    async with open_database(url) as database:
        versions = text("SELECT version_num FROM alembic_version")
        found = await database.read(lambda connection: connection.execute(versions).scalars().all())
    assert len(found) == 1


async def test_a_node_waits_for_anothers_migration_however_long(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines._POSTGRESQL_OPTIONS, "options", "-c lock_timeout=50ms")
    with postgres.new_database("migrations") as url:
        async with open_database(url) as database, trio.open_nursery() as nursery:
            with psycopg.connect(url) as other:
                other.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                nursery.start_soon(migrate, database)
                await trio.sleep(0.5)
                assert await tables(database) == set()
        async with open_database(url) as database:
            assert "jobs" in await tables(database)


async def test_a_daemon_waits_for_anothers_migration_of_a_file_longer_than_for_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 0.05)
    path = tmp_path / "reportd.db"
    async with open_database(f"sqlite:///{path}") as database, trio.open_nursery() as nursery:
        assert await tables(database) == set()
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            nursery.start_soon(migrate, database)
            await trio.sleep(0.5)
            other.rollback()
    async with open_database(f"sqlite:///{path}") as database:
        assert "jobs" in await tables(database)


class Refused:
    """When two connections wait for each other, SQLite refuses one at once."""

    def __init__(self, code: int, times: int) -> None:
        self.times = times
        self.error = sqlite3.OperationalError("refused")
        self.error.sqlite_errorcode = code

    def execute(self, _: str) -> None:
        self.times -= 1
        if self.times >= 0:
            raise self.error


def test_who_is_refused_the_journal_because_another_one_makes_it_tries_again() -> None:
    connection = Refused(sqlite3.SQLITE_BUSY, 3)
    engines._use_wal(connection)  # type: ignore[arg-type]
    assert connection.times == -1


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY])
def test_what_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 0.05)
    connection = Refused(code, 10**9)
    with pytest.raises(sqlite3.OperationalError):
        engines._use_wal(connection)  # type: ignore[arg-type]
    assert (connection.times == 10**9 - 1) is (code == sqlite3.SQLITE_READONLY)


async def test_a_job_of_an_earlier_version_is_read_without_warnings(url: str) -> None:
    async with open_database(url) as database:
        await trio.to_thread.run_sync(database.with_writer, lambda connection: _upgrade_to(connection, "0004"))
        await database.write(lambda connection: connection.execute(_A_JOB).rowcount)
        await migrate(database)
        (record,) = await SqlJobs(database).search(JobFilter(), 10)
    assert (record.job.report_type, record.state, record.warnings) == ("sales", JobState.SUCCEEDED, ())


async def test_migrations_and_models_agree(url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        # SQLite tells the defaults in words of its own.
        options = {"compare_type": True, "compare_server_default": connection.dialect.name != "sqlite"}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    async with open_database(url) as database:
        await migrate(database)
        assert await database.read(differences) == []


async def test_migrations_and_models_agree_on_partial_indexes_too(url: str) -> None:
    """compare_metadata does not check this."""

    def conditions(connection: Connection) -> set[str]:
        dialect = connection.dialect.name
        return {
            f"{index['name']}: {options[f'{dialect}_where']}"
            for table in inspect(connection).get_table_names()
            for index in inspect(connection).get_indexes(table)
            if (options := index.get("dialect_options", {})).get(f"{dialect}_where") is not None
        }

    async with open_database(url) as database:
        await migrate(database)
        migrated = await database.read(conditions)
        await database.write(metadata.drop_all)
        await database.write(metadata.create_all)
        assert await database.read(conditions) == migrated
    assert len(migrated) == 3


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/missing/reportd.db", f"postgresql://reportd@/reportd?host={tmp_path}"):
        async with open_database(url) as database:
            with pytest.raises(UnavailableError):
                await migrate(database)


def _upgrade_to(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


_A_JOB = text(
    "INSERT INTO jobs (task_id, report_type, user_id, state, submitted_at, confirmed, parameters) "
    "VALUES ('t', 'sales', 'u', 'succeeded', 1, true, '{}')"
)

_A_MESSAGE = text(
    "INSERT INTO messages (queue, report_type, grouping, turn, visible_at, sent_at, attributes, body) "
    "VALUES ('main', 'sales', 'user', 1, 0, 0, '{}', '{}')"
)

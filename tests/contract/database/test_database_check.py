"""A database in trouble: judged by what it says, found before the daemon needs it, and told with what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, exc, text

from reportd.adapters.sql.check import check, probe
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.schema import metadata
from reportd.ports import UnavailableError
from tests.contract.database.databases import make_schema
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import Postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A migrated database in which a weak role may do all that a daemon does."""
    with suppress(psycopg.errors.DuplicateObject):
        postgres.run("CREATE ROLE weak LOGIN")
    with postgres.new_database("checked") as url:
        make_schema(url)
        postgres.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO weak", database="checked")
        yield url.replace("reportd@", "weak@")


async def problems(url: str) -> list[str]:
    async with open_database(url) as database:
        return await check(database)


def raising(sqlstate: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as the server says' USING ERRCODE = '{sqlstate}'; END $$"


@pytest.mark.parametrize(
    ("sqlstate", "remedy"),
    [
        ("08006", "bring it back"),
        ("0A000", "take prepare_threshold"),
        ("25006", "point database.url at the primary"),
        ("25P03", "tried again"),
        ("26000", "take prepare_threshold"),
        ("3F000", "restore a backup"),
        ("40001", "tried again"),
        ("42501", "grant its role"),
        ("42P01", "restore a backup"),
        ("42P05", "take prepare_threshold"),
        ("53100", "make room"),
        ("53200", "memory"),
        ("53300", "raise max_connections"),
        ("53400", "run out"),
        ("55000", "pg_stat_activity"),
        ("57014", "statement_timeout"),
        ("57P01", "bring it back"),
        ("57P03", "bring it back"),
        ("58030", "look at its log"),
        ("XX001", "restore a backup"),
    ],
)
async def test_what_speaks_of_the_server_is_unavailability_with_a_remedy(url: str, sqlstate: str, remedy: str) -> None:
    async with open_database(url) as database:
        for use in (database.read, database.write, database.attempt):
            with pytest.raises(UnavailableError, match=f"^database: as the server says: .*{remedy}"):
                await use(lambda connection: connection.execute(text(raising(sqlstate))).rowcount)


@pytest.mark.parametrize("sqlstate", ["22003", "23505", "42601", "P0001"])
async def test_what_speaks_of_the_statement_is_its_own_fault(url: str, sqlstate: str) -> None:
    async with open_database(url) as database:
        with pytest.raises(exc.DBAPIError):
            await database.write(lambda connection: connection.execute(text(raising(sqlstate))).rowcount)


@pytest.mark.parametrize("end", ["&no_such_option=1", "&sslmode=perhaps", "&options=-c%20nonsense%3D"])
async def test_a_url_that_the_driver_refuses_is_unavailability(url: str, end: str) -> None:
    with pytest.raises(UnavailableError):
        await problems(url + end)


async def test_all_is_well_and_nothing_stays(url: str, postgres: Postgres) -> None:
    assert await problems(url) == []
    async with open_database(url) as database:
        await probe(database)
    with psycopg.connect(postgres.url("checked")) as console:
        assert console.execute("SELECT count(*) FROM cluster").fetchone() == (0,)


@pytest.mark.parametrize("table", sorted(metadata.tables))
async def test_each_right_that_is_missing_is_named(url: str, postgres: Postgres, table: str) -> None:
    postgres.run(f"REVOKE INSERT, DELETE ON {table} FROM weak", database="checked")
    assert await problems(url) == [f"GRANT DELETE, INSERT ON {table} TO weak: it lacks them"]
    async with open_database(url) as database:
        with pytest.raises(UnavailableError, match=f"GRANT DELETE, INSERT ON {table} TO weak"):
            await probe(database)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("DROP TABLE nodes", "tables are missing (nodes): restore a backup"),
        ("ALTER DATABASE checked SET default_transaction_read_only = on", "it is read-only"),
        ("UPDATE alembic_version SET version_num = '9999'", "schema 9999, which this version does not know"),
    ],
)
async def test_what_else_is_wrong_is_told(url: str, postgres: Postgres, spoil: str, told: str) -> None:
    postgres.run(spoil, database="checked")
    (problem,) = await problems(url)
    assert told in problem


async def test_newer_nodes_beside_it_are_no_trouble_for_one_that_runs(url: str, postgres: Postgres) -> None:
    """Else one that had a moment's trouble during an upgrade would stay in trouble for as long as it runs."""
    postgres.run("UPDATE alembic_version SET version_num = '9999'", database="checked")
    async with open_database(url) as database:
        await probe(database)
        postgres.run("DROP TABLE nodes", database="checked")
        with pytest.raises(UnavailableError, match=r"tables are missing \(nodes\)"):
            await probe(database)


async def test_an_empty_database_is_well_if_tables_may_be_made(postgres: Postgres) -> None:
    with suppress(psycopg.errors.DuplicateObject):
        postgres.run("CREATE ROLE weak LOGIN")
    with postgres.new_database("empty") as url:
        assert await problems(url) == []
        (problem,) = await problems(url.replace("reportd@", "weak@"))
        assert "GRANT CREATE" in problem


async def test_a_pooler_and_prepared_statements_do_not_go_together(url: str, pgbouncer: PgBouncer) -> None:
    through = pgbouncer.url("checked")
    assert await problems(through) == []
    assert await problems(f"{url}&prepare_threshold=5") == []
    (problem,) = await problems(f"{through}?prepare_threshold=5")
    assert "take prepare_threshold out" in problem
    with pytest.raises(UnavailableError, match="take prepare_threshold and options out"):
        await problems(f"{through}?options=-c%20lock_timeout%3D7s")


async def test_each_kind_of_database_is_tried(database_url: str) -> None:
    assert await problems(database_url) == []
    async with open_database(database_url) as database:
        await probe(database)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("SQLITE_BUSY", "another process keeps it locked"),
        ("SQLITE_CANTOPEN", "its folder must exist"),
        ("SQLITE_CORRUPT", "restore a backup"),
        ("SQLITE_FULL", "make room"),
        ("SQLITE_IOERR_WRITE", "the disk is full"),
        ("SQLITE_NOTADB", "no SQLite database"),
        ("SQLITE_READONLY_DBMOVED", "must be able to write"),
    ],
)
async def test_what_sqlite_says_of_its_file_is_unavailability_with_a_remedy(
    tmp_path: Path, code: str, remedy: str
) -> None:
    def fail(_: Connection) -> None:
        said = sqlite3.OperationalError("as SQLite says")
        said.sqlite_errorname = code
        raise exc.OperationalError("statement", {}, said)

    async with open_database(f"sqlite:///{tmp_path / 'reportd.db'}") as database:
        for use in (database.read, database.write, database.attempt):
            with pytest.raises(UnavailableError, match=f"as SQLite says: .*{remedy}"):
                await use(fail)


async def test_a_file_that_is_full_of_something_else_or_locked_is_told(tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.db"
    spoilt.write_text("no database " * 1000)
    async with open_database(f"sqlite:///{spoilt}") as database:
        await _refused(database, "no SQLite database")
    path = tmp_path / "reportd.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE words (word TEXT)")
        other.execute("PRAGMA journal_mode=WAL")
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        async with open_database(f"sqlite:///{path}") as database:
            await _refused(database, "another process keeps it locked")


async def _refused(database: Database, words: str) -> None:
    with pytest.raises(UnavailableError, match=words):
        await check(database)

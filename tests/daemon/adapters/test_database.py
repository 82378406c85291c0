"""SQLite: shared commits, durability, and a database that is unavailable."""

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from sqlalchemy import Connection, event, exc, text

from reportd.adapters.sql import engines
from reportd.adapters.sql.database import Database, open_database
from reportd.ports import UnavailableError

NORMAL, FULL = 1, 2
"""SQLite's numbers for them (sqlite.org/pragma.html#pragma_synchronous)."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reportd.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite:///{path}") as database:
        await database.write(executing("CREATE TABLE words (word TEXT PRIMARY KEY)"))
        yield database


class executing:  # noqa: N801 - reads as a verb
    """A change or a query of one statement."""

    def __init__(self, statement: str) -> None:
        self._statement = text(statement)

    def __call__(self, connection: Connection) -> int:
        return connection.execute(self._statement).rowcount


def add(word: str) -> executing:
    return executing(f"INSERT INTO words VALUES ('{word}')")  # noqa: S608 - the test's own words


async def words(database: Database) -> set[str]:
    return await database.read(lambda connection: set(connection.execute(text("SELECT word FROM words")).scalars()))


_WRITING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is writing."""
    command = [sys.executable, "-c", _WRITING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.kill()


async def test_a_burst_shares_its_commits(database: Database) -> None:
    commits: list[Connection] = []
    event.listen(database._writer, "commit", commits.append)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(database.write, add(str(number)))
    assert len(await words(database)) == 100
    assert len(commits) <= 3


async def test_a_bad_change_fails_alone(database: Database) -> None:
    failed: list[str] = []

    async def write(word: str) -> None:
        try:
            await database.write(add(word))
        except exc.IntegrityError:
            failed.append(word)

    await database.write(add("taken"))
    async with trio.open_nursery() as nursery:
        for word in ("before", "taken", "after"):
            nursery.start_soon(write, word)
    assert failed == ["taken"]
    assert await words(database) == {"taken", "before", "after"}


async def test_a_change_that_raises_leaves_nothing_behind(database: Database) -> None:
    def half(connection: Connection) -> None:
        add("half")(connection)
        raise ValueError("then it failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, add("other"))
        with pytest.raises(ValueError, match="then it failed"):
            await database.write(half)
    assert await words(database) == {"other"}


async def test_results_come_back_to_their_callers(database: Database) -> None:
    results = {}

    async def write(number: int) -> None:
        results[number] = await database.write(lambda _: number * 2)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, number)
    assert results == {number: number * 2 for number in range(20)}


async def test_a_locked_database_is_unavailable_in_time_and_works_again(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write, and another that waits behind it; neither is executed later after it has failed."""
    assert engines.LOCK_WAIT_SECONDS * 2 <= 4.0
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 0.4)
    async with open_database(f"sqlite:///{path}") as impatient:
        await impatient.write(add("first"))
        refused: list[float] = []

        async def write(word: str) -> None:
            with pytest.raises(UnavailableError, match="locked"):
                await impatient.write(add(word))
            refused.append(trio.current_time() - begun)

        with locked(path):
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, "during")
                await trio.sleep(0.1)
                nursery.start_soon(write, "behind")
                nursery.start_soon(write, "behind too")
            assert await words(database) == {"first"}
        assert len(refused) == 3
        assert refused[0] >= 0.4
        assert max(refused) < 3.0
        await impatient.write(add("after"))
        assert await words(impatient) == {"first", "after"}


async def test_a_full_disk_is_unavailable_and_half_does_nothing(database: Database) -> None:
    async def write_large() -> None:
        def change(connection: Connection) -> None:
            add("small")(connection)
            connection.execute(text("INSERT INTO words VALUES (:large)"), {"large": "x" * 4_000_000})

        await database.write(change)

    await database.write(add("before"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UnavailableError):
            await write_large()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await words(database) == {"before"}
    await write_large()
    assert len(await words(database)) == 3


async def test_a_closed_database_says_so(path: Path) -> None:
    async with open_database(f"sqlite:///{path}") as database:
        await database.write(executing("CREATE TABLE words (word TEXT)"))
    with pytest.raises(UnavailableError, match="closed"):
        await database.write(add("late"))
    with pytest.raises(UnavailableError, match="closed"):
        await words(database)


async def test_a_write_under_way_is_finished_at_the_end_and_who_waits_is_told(path: Path) -> None:
    begun, release = threading.Event(), threading.Event()
    answers: list[object] = []

    def slow(_: Connection) -> str:
        begun.set()
        return "done" if release.wait(10) else "never released"

    async def write(database: Database, change: Callable[[Connection], object]) -> None:
        try:
            answers.append(await database.write(change))
        except UnavailableError as error:
            answers.append(str(error))

    async with trio.open_nursery() as nursery:
        async with open_database(f"sqlite:///{path}") as database:
            nursery.start_soon(write, database, slow)
            await trio.to_thread.run_sync(begun.wait)
            nursery.start_soon(write, database, add("late"))
            await trio.testing.wait_all_tasks_blocked()
            threading.Timer(0.1, release.set).start()
        await trio.testing.wait_all_tasks_blocked()
    assert answers == ["done", "database: it is closed"]


@pytest.mark.parametrize("spoil", ["no database", "no folder", "a folder"])
async def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "spoilt"
    if spoil == "no database":
        path.write_text("this is a text, and a long one, so that it is no empty database" * 100)
    elif spoil == "no folder":
        path /= "missing"
    else:
        path.mkdir()
    async with open_database(f"sqlite:///{path}") as database:
        for use in (database.write, database.read):
            with pytest.raises(UnavailableError):
                await use(executing("SELECT 1"))
        with pytest.raises(UnavailableError):
            database.with_writer(executing("SELECT 1"))


async def test_a_fault_of_the_statement_is_no_unavailability(database: Database) -> None:
    await database.write(add("taken"))
    with pytest.raises(exc.IntegrityError):
        await database.write(add("taken"))
    with pytest.raises(exc.IntegrityError):
        database.with_writer(add("taken"))


async def test_commits_wait_for_the_disk(database: Database) -> None:
    """FULL is 2 (sqlite.org/pragma.html#pragma_synchronous). Anything less may lose an answered 202 in a power cut."""

    def settings(connection: Connection) -> list[object]:
        names = ("synchronous", "journal_mode", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await database.write(settings) == [2, "wal", 1]


_KILLED_AFTER_ITS_WRITE = """
import os, signal, sys, trio
from sqlalchemy import text
from reportd.adapters.sql.database import open_database
async def main():
    async with open_database(sys.argv[1]) as database:
        await database.write(lambda connection: connection.execute(text("CREATE TABLE words (word TEXT)")).rowcount)
        await database.write(lambda connection: connection.execute(text("INSERT INTO words VALUES ('kept')")).rowcount)
        os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""


async def test_an_answered_write_outlives_the_process(path: Path) -> None:
    """I1: killed in the first moment after the answer."""
    killed = await trio.run_process([sys.executable, "-c", _KILLED_AFTER_ITS_WRITE, f"sqlite:///{path}"], check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT word FROM words").fetchall() == [("kept",)]


async def test_what_must_be_durable_takes_all_that_shares_its_transaction_with_it(database: Database) -> None:
    seen: list[int] = []

    def look(connection: Connection) -> None:
        seen.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    await database.write(look)
    await database.write(look, durably=False)
    await database.write(look)
    assert seen == [FULL, NORMAL, FULL]
    seen.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, look)  # what comes meanwhile shares the next one
        await trio.testing.wait_all_tasks_blocked()
        for durably in (False, True, False):
            nursery.start_soon(partial(database.write, look, durably=durably))
    assert seen == [FULL] * 4

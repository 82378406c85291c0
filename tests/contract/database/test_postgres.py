"""PostgreSQL underneath: other nodes on the same rows, restarts, and servers that can't be written to."""

import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
import trio
import trio.testing
from sqlalchemy import Connection, exc, text

from reportd.adapters.sql import engines
from reportd.adapters.sql.database import TRIES, Database, open_database
from reportd.adapters.sql.postgresql import BoundedConnection
from reportd.ports import UnavailableError
from tests.servers.postgresql import Postgres

ADD = text("UPDATE counters SET value = value + 1 WHERE id = :id")
RACE = text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database with some counters at 0."""
    with postgres.new_database("counting") as url:
        postgres.run(
            "CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
            "INSERT INTO counters SELECT number, 0 FROM generate_series(1, 9) number",
            database="counting",
        )
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as database:
        yield database


def adding(*ids: int) -> Callable[[Connection], None]:
    """A change that adds 1 to these counters, in this order."""

    def change(connection: Connection) -> None:
        for number in ids:
            connection.execute(ADD, {"id": number})

    return change


async def values(database: Database, *ids: int) -> list[int]:
    def query(connection: Connection) -> list[int]:
        found = {row.id: row.value for row in connection.execute(text("SELECT id, value FROM counters"))}
        return [found[number] for number in ids]

    return await database.read(query)


async def together(database: Database, *changes: Callable[[Connection], object]) -> list[object]:
    """What becomes of changes that share a transaction: they come while another one is under way."""
    outcomes: list[object] = [None] * len(changes)
    begun, release = threading.Event(), threading.Event()

    def slow(_: Connection) -> None:
        begun.set()
        release.wait(10)

    async def write(place: int) -> None:
        try:
            outcomes[place] = await database.write(changes[place])
        except Exception as error:  # noqa: BLE001 - the outcome is what is wanted
            outcomes[place] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, slow)
        await trio.to_thread.run_sync(begun.wait)
        for place in range(len(changes)):
            nursery.start_soon(write, place)
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    return outcomes


async def test_nodes_that_block_each_other_both_get_through(url: str, database: Database) -> None:
    both_hold_one = threading.Barrier(2)

    def crossing(first: int, second: int) -> Callable[[Connection], None]:
        met = False

        def change(connection: Connection) -> None:
            nonlocal met
            connection.execute(ADD, {"id": first})
            if not met:
                met = True
                both_hold_one.wait(10)
            connection.execute(ADD, {"id": second})

        return change

    async with open_database(url) as other, trio.open_nursery() as nursery:
        nursery.start_soon(database.write, crossing(1, 2))
        nursery.start_soon(other.write, crossing(2, 1))
    assert await values(database, 1, 2) == [2, 2]


async def test_a_lost_race_is_run_again(database: Database) -> None:
    tries: list[int] = []

    def change(connection: Connection) -> str:
        tries.append(1)
        connection.execute(ADD, {"id": 1})
        if len(tries) < TRIES:
            connection.execute(RACE)
        return "at last"

    assert await database.write(change) == "at last"
    assert await values(database, 1) == [1]


async def test_a_race_that_is_always_lost_is_unavailability(database: Database) -> None:
    tries: list[int] = []

    def change(connection: Connection) -> None:
        tries.append(1)
        connection.execute(RACE)

    with pytest.raises(UnavailableError):
        await database.write(change)
    assert len(tries) == TRIES


async def test_a_bad_change_fails_alone(database: Database) -> None:
    def bad(connection: Connection) -> None:
        connection.execute(ADD, {"id": 2})
        connection.execute(text("INSERT INTO counters VALUES (1, 1)"))

    outcomes = await together(database, adding(1), bad, adding(3))
    assert outcomes[::2] == [None, None]
    assert isinstance(outcomes[1], exc.IntegrityError)
    assert await values(database, 1, 2, 3) == [1, 0, 1]


@pytest.fixture
async def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """The database, for whom a lock is not worth a long wait."""
    monkeypatch.setitem(engines._SETTINGS, "lock_timeout", "300ms")
    async with open_database(url) as database:
        yield database


async def test_a_row_that_somebody_keeps_locked_holds_up_only_who_needs_it(url: str, impatient: Database) -> None:
    """An open transaction in a console, a node that is frozen."""
    with psycopg.connect(url) as console:
        console.execute("UPDATE counters SET value = 100 WHERE id = 5")
        outcomes = await together(impatient, *[adding(number) for number in range(1, 10)])
        console.rollback()
    assert isinstance(outcomes.pop(4), UnavailableError)
    assert outcomes == [None] * 8
    await impatient.write(adding(5))
    assert await values(impatient, *range(1, 10)) == [1] * 9


async def test_a_locked_table_is_unavailable_in_time(url: str, impatient: Database) -> None:
    """Not each write after the other has to wait for it."""
    with psycopg.connect(url) as console:
        console.execute("LOCK TABLE counters")
        begun = trio.current_time()
        outcomes = await together(impatient, *[adding(number) for number in range(1, 10)])
        assert 0.3 <= trio.current_time() - begun < 2.0
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert await values(impatient, *range(1, 10)) == [0] * 9


async def test_a_statement_without_an_answer_is_given_up_and_the_next_one_gets_another_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stands still says nothing of its own limits, nor does its kernel."""
    monkeypatch.setattr(BoundedConnection, "answer_seconds", 0.3)
    async with open_database(url) as database:
        begun = trio.current_time()
        for call in (database.read, database.write):
            with pytest.raises(UnavailableError, match=r"no answer within 0\.3 s"):
                await call(lambda connection: connection.execute(text("SELECT pg_sleep(20)")).rowcount)
        assert trio.current_time() - begun < 5.0
        await database.write(adding(1))
        assert await values(database, 1) == [1]
        # A migration may take as long as it takes.
        slow = text("SELECT pg_sleep(0.6)")
        await trio.to_thread.run_sync(database.with_writer, lambda connection: connection.execute(slow).rowcount)


@pytest.mark.parametrize("spoil", ["REVOKE ALL ON counters FROM weak", "ALTER TABLE counters RENAME TO others"])
async def test_a_right_or_a_table_that_is_taken_away_is_a_database_in_trouble(
    url: str, postgres: Postgres, spoil: str
) -> None:
    with suppress(psycopg.errors.DuplicateObject):
        postgres.run("CREATE ROLE weak LOGIN")
    postgres.run("GRANT ALL ON counters TO weak", database="counting")
    async with open_database(url.replace("reportd@", "weak@")) as database:
        await database.write(adding(1))
        postgres.run(spoil, database="counting")
        with pytest.raises(UnavailableError, match=r"permission denied|does not exist"):
            await database.write(adding(1))
        with pytest.raises(UnavailableError, match=r"permission denied|does not exist"):
            await values(database, 1)


async def test_connections_that_were_cut_while_idle_are_not_noticed(database: Database, postgres: Postgres) -> None:
    await database.write(adding(1))
    assert await values(database, 1) == [1]
    postgres.run(_CUT_ALL)
    assert await values(database, 1) == [1]
    postgres.run(_CUT_ALL)
    await database.write(adding(1))
    assert await values(database, 1) == [2]


async def test_a_connection_that_is_cut_in_the_middle_is_unavailability(database: Database, postgres: Postgres) -> None:
    def change(connection: Connection) -> None:
        connection.execute(ADD, {"id": 1})
        postgres.run(_CUT_ALL)
        connection.execute(ADD, {"id": 2})

    outcomes = await together(database, adding(3), change)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError, UnavailableError]
    assert await values(database, 1, 2, 3) == [0, 0, 0]
    await database.write(adding(1))
    assert await values(database, 1) == [1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
async def test_work_goes_on_after_the_server_was_away(
    database: Database, postgres: Postgres, how: signal.Signals
) -> None:
    """Whatever was answered is there; what was not answered is unavailable, and nothing else."""
    answered = dict.fromkeys(range(1, 10), 0)
    refused = dict.fromkeys(range(1, 10), 0)
    ends = trio.Event()

    async def work(number: int) -> None:
        while not ends.is_set():
            try:
                await database.write(adding(number))
                answered[number] += 1
                await values(database, number)
            except UnavailableError:
                refused[number] += 1
                await trio.sleep(0.05)

    async def wait_for_all(counts: dict[int, int], more: int) -> None:
        goal = {number: count + more for number, count in counts.items()}
        while any(counts[number] < goal[number] for number in goal):
            await trio.sleep(0.01)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in answered:
                nursery.start_soon(work, number)
            await wait_for_all(answered, 2)
            await trio.to_thread.run_sync(postgres.stop, how)
            await wait_for_all(refused, 1)
            postgres.start()
            await wait_for_all(answered, 2)
            ends.set()
    counted = dict(zip(answered, await values(database, *answered), strict=True))
    # An answer may have been lost with the connection: that one is counted, and was refused.
    for number, count in counted.items():
        assert answered[number] <= count <= answered[number] + refused[number]


async def test_a_server_that_is_read_only_is_unavailability(url: str, postgres: Postgres) -> None:
    """A standby, after a fail-over."""
    postgres.run("ALTER DATABASE counting SET default_transaction_read_only = on")
    async with open_database(url) as standby:
        with pytest.raises(UnavailableError, match="read-only"):
            await standby.write(adding(1))
        assert await values(standby, 1) == [0]


async def test_nothing_waits_for_ever(database: Database) -> None:
    def settings(connection: Connection) -> dict[str, str]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")
        return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}

    expected = {
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "30s",
        "transaction_isolation": "read committed",
    }
    assert await database.write(settings) == expected


async def test_the_url_has_the_last_word(url: str) -> None:
    async with open_database(f"{url}&options=-c%20lock_timeout%3D7s") as database:
        timeout = await database.read(lambda connection: connection.exec_driver_sql("SHOW lock_timeout").scalar())
    assert timeout == "7s"


_CUT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'counting'"

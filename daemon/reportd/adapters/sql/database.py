"""One database, SQLite or PostgreSQL, used from trio: reads run in threads, writes share transactions.

Writes that arrive during a commit share the next one (group commit), so thirty durable 202 answers cost no more than
one. Only the SQL adapters may use it.
"""

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection, Engine, exc
from sqlalchemy.engine import URL, make_url

from reportd.adapters.sql.engines import DURABLY, MAX_READERS, open_engines, without_timeouts
from reportd.adapters.sql.faults import LostRaceError, translate
from reportd.concurrency.batching import Batcher, open_batcher
from reportd.concurrency.grace import in_thread
from reportd.ports import UnavailableError

T = TypeVar("T")
Change = Callable[[Connection], Any]
Entry = tuple[Change, bool]
"""A change, and whether it must be durable."""

MAX_WRITES_PER_COMMIT = 200
READ_SECONDS = 8.0
"""Longest time of a read, including the wait for other reads."""

WRITE_SECONDS = 20.0
"""Longest time of a write. It may wait for one commit to end, and for a connection for its own."""

GRACE_SECONDS = 1.0
"""How long a cancelled call still waits for the database's answer."""

CLOSE_SECONDS = 3.0

TRIES = 5
"""How often a change is tried that conflicts with other nodes on the same rows."""


class Database:
    """Runs functions that take a connection. Made by ``open_database``."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(MAX_READERS)
        self._commits: Batcher[Entry, Any] | None = None
        self.on_failure: Callable[[str, str], None] = lambda _use, _reason: None
        """Called with the failed use and the reason, when the database is unavailable."""

    @property
    def is_sqlite(self) -> bool:
        return self._writer.dialect.name == "sqlite"

    async def write(self, change: Callable[[Connection], T], *, durably: bool = True) -> T:
        """Commit ``change`` and return its result. Raises UnavailableError if the database can't do it now.

        Without ``durably`` the change survives this process, but a power cut may undo it. ``change`` runs again, after
        a rollback, when another change of its transaction failed or another node was in its way. If cancelled or
        without an answer in time, it may or may not have taken effect.
        """
        if self._commits is None:
            raise _closed()
        with self._reporting_failure("writes"):
            try:
                with trio.move_on_after(WRITE_SECONDS):
                    result: T = await self._commits.submit((change, durably))
                    return result
            except trio.ClosedResourceError:
                raise _closed() from None
            raise UnavailableError("database", f"no answer within {WRITE_SECONDS:g} s")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return the result of ``query``. Raises UnavailableError if the database can't be read now."""
        if self._commits is None:
            raise _closed()
        with self._reporting_failure("reads"):
            with trio.move_on_after(READ_SECONDS):
                work = partial(self._query, query)
                return await in_thread(work, grace_seconds=GRACE_SECONDS, limiter=self._read_limiter)
            raise UnavailableError("database", f"no answer within {READ_SECONDS:g} s")

    async def attempt(self, inspect: Callable[[Connection], T]) -> T:
        """Run ``inspect`` in a write transaction and roll it back. Return the result. Raises UnavailableError."""
        with trio.move_on_after(READ_SECONDS):
            work = partial(self._attempt, inspect)
            return await in_thread(work, grace_seconds=GRACE_SECONDS, limiter=self._write_limiter)
        raise UnavailableError("database", f"no answer within {READ_SECONDS:g} s")

    def with_writer(self, change: Callable[[Connection], T]) -> T:
        """Run ``change`` in a transaction on the calling thread: for migrations, before anything else.

        It may take long, and it waits for another node's migration without a limit.
        """
        try:
            with self._writer.connect() as connection, without_timeouts(connection), connection.begin():
                return change(connection)
        except (exc.DBAPIError, OSError) as error:
            raise translate(error) from error

    @contextmanager
    def _reporting_failure(self, use: str) -> Iterator[None]:
        try:
            yield
        except LostRaceError:  # a conflict over the same rows says nothing about the database's health
            raise
        except UnavailableError as error:
            self.on_failure(use, str(error))
            raise

    def _query(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reader.connect() as connection:
                return query(connection)
        except (exc.DBAPIError, OSError) as error:
            raise translate(error) from error

    def _attempt(self, inspect: Callable[[Connection], T]) -> T:
        try:
            with self._writer.connect() as connection, connection.begin() as transaction:
                result = inspect(connection)
                transaction.rollback()
                return result
        except (exc.DBAPIError, OSError) as error:
            raise translate(error) from error

    @contextmanager
    def _transaction(self, durably: bool) -> Iterator[Connection]:
        with self._writer.connect() as connection:
            connection.info[DURABLY] = durably
            with connection.begin():
                yield connection

    async def _flush(self, entries: Sequence[Entry]) -> list[Any]:
        durably = any(entry[1] for entry in entries)
        changes = [change for change, _ in entries]
        commit = partial(self._commit, changes, durably)
        return await in_thread(commit, grace_seconds=GRACE_SECONDS, limiter=self._write_limiter)

    def _commit(self, changes: Sequence[Change], durably: bool) -> list[Any]:
        if len(changes) == 1:
            return [self._commit_alone(changes[0], durably)]
        try:
            with self._transaction(durably) as connection:
                return [change(connection) for change in changes]
        except Exception as error:  # noqa: BLE001 - returned to the callers
            problem = translate(error)
        if isinstance(problem, UnavailableError) and not isinstance(problem, LostRaceError):
            return [problem] * len(changes)
        # One change is at fault, or conflicts with another node. Commit each alone, so that only it fails. After a
        # second conflict the rest fail with it, instead of waiting for the same result.
        results: list[Any] = []
        refused = 0
        for change in changes:
            results.append(self._commit_alone(change, durably))
            if isinstance(results[-1], UnavailableError):
                refused += 1
                if refused > 1 or not isinstance(results[-1], LostRaceError):
                    break
        return results + [results[-1]] * (len(changes) - len(results))

    def _commit_alone(self, change: Change, durably: bool) -> Any:
        problem: Exception | None = None
        for number in range(TRIES):
            try:
                with self._transaction(durably) as connection:
                    return change(connection)
            except Exception as error:  # noqa: BLE001 - returned to the caller
                problem = translate(error)
            if not isinstance(problem, LostRaceError) or problem.waited:
                break
            time.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - nothing secret
        return problem


def _closed() -> UnavailableError:
    return UnavailableError("database", "it is closed")


@asynccontextmanager
async def open_database(url: str | URL) -> AsyncIterator[Database]:
    """Yield a database; it connects on first use. ``migrate`` brings its schema up to date."""
    writer, reader = open_engines(make_url(url))
    database = Database(writer, reader)
    try:
        async with open_batcher(database._flush, MAX_WRITES_PER_COMMIT) as commits:  # noqa: SLF001 - its maker
            database._commits = commits  # noqa: SLF001
            try:
                yield database
            finally:
                database._commits = None  # noqa: SLF001
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            for engine in (writer, reader):
                await trio.to_thread.run_sync(engine.dispose, abandon_on_cancel=True)

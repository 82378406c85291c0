"""One database, SQLite or PostgreSQL, reached from trio: reads in threads, writes in shared transactions.

Every write that arrives while a commit is under way shares the next one (group commit), so that the durable
202 of one client costs no more than that of thirty. Only the SQL adapters may use it.
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

from reportd.adapters.sql.engines import DURABLY, MAX_READERS, open_engines, unhurried
from reportd.batch import Batcher, open_batcher
from reportd.grace import in_thread
from reportd.ports import UnavailableError

T = TypeVar("T")
Change = Callable[[Connection], Any]
Entry = tuple[Change, bool]
"""A change, and whether it must be durable."""

MAX_WRITES_PER_COMMIT = 200
READ_SECONDS = 8.0
"""How long a reader waits at most, also for others to be answered first."""

WRITE_SECONDS = 20.0
"""The same for a writer. It may wait for the end of one commit, and for a connection for its own."""

GRACE_SECONDS = 1.0
"""How long who is cancelled still waits for what the database does."""

CLOSE_SECONDS = 3.0

TRIES = 5
"""How often a change is tried that meets other nodes on the same rows."""

_LOST_RACE = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available: postgresql.org/docs/current/errcodes-appendix.html."""

_NOT_AS_IT_WAS_MADE = frozenset({"42501", "42P01", "42703", "42883", "3F000"})
"""No right to it, or no such table, column, function or schema (the same source). ``migrate`` made them all, and every
statement is tested, so somebody has changed the database."""


class Database:
    """Runs functions of a connection. Made by ``open_database``."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(MAX_READERS)
        self._commits: Batcher[Entry, Any] | None = None

    @property
    def is_sqlite(self) -> bool:
        return self._writer.dialect.name == "sqlite"

    async def write(self, change: Callable[[Connection], T], *, durably: bool = True) -> T:
        """Commit what ``change`` does. Raises UnavailableError if the database can't do it now.

        What need not be ``durably`` done outlives this process, but it may be undone by a power cut.
        ``change`` runs again, after a rollback, when another one of its transaction failed or another node was
        in its way. Cancelled or without an answer in time, it may or may not have taken effect.
        """
        if self._commits is None:
            raise _closed()
        try:
            with trio.move_on_after(WRITE_SECONDS):
                result: T = await self._commits.submit((change, durably))
                return result
        except trio.ClosedResourceError:
            raise _closed() from None
        raise UnavailableError("database", f"no answer within {WRITE_SECONDS:g} s")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What ``query`` answers. Raises UnavailableError if the database can't be read now."""
        if self._commits is None:
            raise _closed()
        with trio.move_on_after(READ_SECONDS):
            return await in_thread(partial(self._query, query), grace_seconds=GRACE_SECONDS, limiter=self._read_limiter)
        raise UnavailableError("database", f"no answer within {READ_SECONDS:g} s")

    def with_writer(self, change: Callable[[Connection], T]) -> T:
        """``change`` in a transaction of its own, on the calling thread: for migrations, before all else.

        It may take long, and waits for as long as another node's takes.
        """
        try:
            with self._writer.connect() as connection, unhurried(connection), connection.begin():
                return change(connection)
        except (exc.DBAPIError, OSError) as error:
            raise _judged(error) from error

    def _query(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reader.connect() as connection:
                return query(connection)
        except (exc.DBAPIError, OSError) as error:
            raise _judged(error) from error

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
        except Exception as error:  # noqa: BLE001 - handed to the callers, who can judge it
            problem = _judged(error)
        if isinstance(problem, UnavailableError) and not isinstance(problem, _LostRaceError):
            return [problem] * len(changes)
        # One of them is at fault, or in another node's way: each for itself, so that it fails alone. When a second
        # one can't get through either, the rest need not wait to hear the same.
        results: list[Any] = []
        refused = 0
        for change in changes:
            results.append(self._commit_alone(change, durably))
            if isinstance(results[-1], UnavailableError):
                refused += 1
                if refused > 1 or not isinstance(results[-1], _LostRaceError):
                    break
        return results + [results[-1]] * (len(changes) - len(results))

    def _commit_alone(self, change: Change, durably: bool) -> Any:
        problem: Exception | None = None
        for number in range(TRIES):
            try:
                with self._transaction(durably) as connection:
                    return change(connection)
            except Exception as error:  # noqa: BLE001 - handed to the caller, who can judge it
                problem = _judged(error)
            if not isinstance(problem, _LostRaceError) or problem.waited:
                break
            time.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - nothing secret
        return problem


class _LostRaceError(UnavailableError):
    """Another node was in the way. ``waited``: for as long as a lock is waited for."""

    def __init__(self, detail: str, *, waited: bool) -> None:
        super().__init__("database", detail)
        self.waited = waited


def _judged(error: Exception) -> Exception:
    """A fault of the statement stays what it is; anything about the database's condition is unavailability."""
    if isinstance(error, OSError):  # the driver waits by means of the system: there is no descriptor left, say
        return UnavailableError("database", str(error))
    if not isinstance(error, exc.DBAPIError):
        return error
    detail = (str(error.orig).strip().splitlines() or ["no answer"])[0]
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate in _LOST_RACE:
        return _LostRaceError(detail, waited=sqlstate == "55P03")
    if sqlstate in _NOT_AS_IT_WAS_MADE:
        return UnavailableError("database", detail)
    # A server that is read-only after a fail-over answers with an InternalError, and a file that is no database
    # with the bare DatabaseError.
    condition = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
    if condition or error.connection_invalidated or type(error) is exc.DatabaseError:
        return UnavailableError("database", detail)
    return error


def _closed() -> UnavailableError:
    return UnavailableError("database", "it is closed")


@asynccontextmanager
async def open_database(url: str | URL) -> AsyncIterator[Database]:
    """Connect lazily; the schema is ``migrate``'s business."""
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

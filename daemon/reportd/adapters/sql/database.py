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
from reportd.adapters.sql.faults import LostRaceError, judged
from reportd.concurrency.batching import Batcher, open_batcher
from reportd.concurrency.grace import in_thread
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


class Database:
    """Runs functions of a connection. Made by ``open_database``."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(MAX_READERS)
        self._commits: Batcher[Entry, Any] | None = None
        self.on_failure: Callable[[str, str], None] = lambda _use, _why: None
        """Is told which use failed, and why, when the database is away or can't do it."""

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
        with self._told("writes"):
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
        with self._told("reads"):
            with trio.move_on_after(READ_SECONDS):
                work = partial(self._query, query)
                return await in_thread(work, grace_seconds=GRACE_SECONDS, limiter=self._read_limiter)
            raise UnavailableError("database", f"no answer within {READ_SECONDS:g} s")

    async def attempt(self, look: Callable[[Connection], T]) -> T:
        """What ``look`` finds in a transaction of a writer, which is taken back. Raises UnavailableError."""
        with trio.move_on_after(READ_SECONDS):
            work = partial(self._attempt, look)
            return await in_thread(work, grace_seconds=GRACE_SECONDS, limiter=self._write_limiter)
        raise UnavailableError("database", f"no answer within {READ_SECONDS:g} s")

    def with_writer(self, change: Callable[[Connection], T]) -> T:
        """``change`` in a transaction of its own, on the calling thread: for migrations, before all else.

        It may take long, and waits for as long as another node's takes.
        """
        try:
            with self._writer.connect() as connection, unhurried(connection), connection.begin():
                return change(connection)
        except (exc.DBAPIError, OSError) as error:
            raise judged(error) from error

    @contextmanager
    def _told(self, use: str) -> Iterator[None]:
        try:
            yield
        except LostRaceError:  # others were at the same rows, which says nothing of the rest
            raise
        except UnavailableError as error:
            self.on_failure(use, str(error))
            raise

    def _query(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reader.connect() as connection:
                return query(connection)
        except (exc.DBAPIError, OSError) as error:
            raise judged(error) from error

    def _attempt(self, look: Callable[[Connection], T]) -> T:
        try:
            with self._writer.connect() as connection, connection.begin() as transaction:
                result = look(connection)
                transaction.rollback()
                return result
        except (exc.DBAPIError, OSError) as error:
            raise judged(error) from error

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
            problem = judged(error)
        if isinstance(problem, UnavailableError) and not isinstance(problem, LostRaceError):
            return [problem] * len(changes)
        # One of them is at fault, or in another node's way: each for itself, so that it fails alone. When a second
        # one can't get through either, the rest need not wait to hear the same.
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
            except Exception as error:  # noqa: BLE001 - handed to the caller, who can judge it
                problem = judged(error)
            if not isinstance(problem, LostRaceError) or problem.waited:
                break
            time.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - nothing secret
        return problem


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

"""What the outbox suite needs of an implementation."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.ports import Jobs, Outbox
from tests.contract.jobs.jobs_lab import NOON
from tests.fakes import MemoryJobs, MemoryOutbox
from tests.fakes.outbox import state_of

URL = "https://app.example/done?token=s3cret"
DEFAULTS = {"quarterly": "https://default.example:8443/"}


class Clock:
    """It stands still unless it is moved."""

    def __init__(self) -> None:
        self.at = NOON + 100

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


@dataclass(frozen=True)
class OutboxLab:
    """An outbox with the job store that fills it, as two nodes see them, and the time they go by."""

    jobs: Jobs
    outbox: Outbox
    other: Outbox
    clock: Clock


@asynccontextmanager
async def open_sql_lab(url: str) -> AsyncIterator[OutboxLab]:
    """On a migrated database."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(url)) for _ in range(2)]
        here, other = (SqlOutbox(database, state_of, DEFAULTS, clock) for database in databases)
        yield OutboxLab(SqlJobs(databases[0], here), here, other, clock)


@asynccontextmanager
async def open_memory_lab() -> AsyncIterator[OutboxLab]:
    clock = Clock()
    outbox = MemoryOutbox(defaults=DEFAULTS, clock=clock)
    yield OutboxLab(MemoryJobs(outbox=outbox), outbox, outbox, clock)


def listening(outbox: Outbox) -> Callable[[], int]:
    """How often something has come in since the last time it was asked."""
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1

    def count() -> int:
        nonlocal heard
        times, heard = heard, 0
        return times

    outbox.subscribe(hear)
    return count

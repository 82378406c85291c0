"""Wires what accepts submissions: the folder ``intake``."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from reportd.app.backends import Backends
from reportd.app.policies import DAY_SECONDS
from reportd.app.processing import Processing
from reportd.concurrency.batching import open_batcher
from reportd.config import Config
from reportd.intake.accept import Intake
from reportd.intake.backlog import Backlog
from reportd.intake.service import Service, Validator
from reportd.ports import NULL_METER, Meter

SUBMISSIONS_PER_FLUSH = 100


@asynccontextmanager
async def open_service(
    config: Config,
    backends: Backends,
    processing: Processing,
    backlog: Backlog,
    *,
    validator: Validator,
    background: trio.Nursery,
    meter: Meter = NULL_METER,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Service]:
    """Open the use cases of the HTTP interface. Submissions that come at once share a commit and a batch call."""
    intake = Intake(backends.jobs, backends.queue, background)
    intake.on_failure = backends.conditions["queue"].failed
    async with open_batcher(intake.accept, SUBMISSIONS_PER_FLUSH) as batcher:
        yield Service(
            jobs=backends.jobs,
            queue=backends.queue,
            artifacts=backends.artifacts,
            intake=batcher,
            validator=validator,
            waiters=processing.waiters,
            in_flight=processing.in_flight,
            backlog=backlog,
            retention_seconds=config.artifacts.retention_days * DAY_SECONDS,
            meter=meter,
            outbox=backends.outbox,
            clock=clock,
        )

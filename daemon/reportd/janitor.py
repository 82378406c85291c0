"""Settles what nobody else settles: dead letters, jobs whose message was never confirmed, PDFs past retention.

Every step may be cut off and done again, and may be done by several nodes at once.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from reportd.changes import Changes
from reportd.core.job import BadMessageError, Job, from_message
from reportd.core.transitions import Event, State
from reportd.ports import SILENT, Artifacts, Jobs, Meter, Queue, Received, Record, Settlement, UnavailableError
from reportd.service import resend_job, send_jobs

log = structlog.get_logger()

WAIT_SECONDS = 20.0
BATCH = 10
UNCONFIRMED_SECONDS = 15.0
"""A submission takes milliseconds; one unconfirmed for so long was cut off."""

SWEEP_SECONDS = 60.0
LEASE_ROUNDS = 3
"""After so many rounds without a sign of the node that does a work for all, another one takes it over."""

SHELVE_SECONDS = 3600.0
"""A dead letter that is no job stays in its queue for people to see, and is looked at again this much later."""


class Janitor:
    """``run`` keeps all three loops going."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        artifacts: Artifacts,
        changes: Changes,
        retention_seconds: float,
        triage_seconds: float,
        node: str,
        meter: Meter = SILENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._dead = dead
        self._artifacts = artifacts
        self._changes = changes
        self._retention_seconds = retention_seconds
        self._triage_seconds = triage_seconds
        self._node = node
        self._meter = meter
        self._clock = clock

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, self._triage_seconds, partial(self.triage, WAIT_SECONDS))
            for seconds, work in ((UNCONFIRMED_SECONDS, self.send_unconfirmed), (SWEEP_SECONDS, self.remove_expired)):
                nursery.start_soon(self._every, seconds, partial(self._lead, seconds, work))

    async def _every(self, seconds: float, work: Callable[[], object]) -> None:
        while True:
            try:
                await work()  # type: ignore[misc]  # an async method of this class
            except UnavailableError as error:
                log.warning("janitor.waits", part=error.part, error=str(error))
            except Exception:
                # One letter or one row that nobody foresaw must not end the daemon, nor the work on the others.
                log.exception("janitor.failed")
            await trio.sleep(seconds)

    async def _lead(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """What one node does for all of them."""
        if await self._jobs.lead(work.__name__, self._node, LEASE_ROUNDS * seconds):
            await work()

    async def triage(self, wait_seconds: float = 0.0) -> None:
        """Go through the dead letters that are visible now, or are the first to come within ``wait_seconds``."""
        while letters := await self._dead.receive(BATCH, wait_seconds):
            wait_seconds = 0.0
            for letter in letters:
                await self._triage(letter)

    async def _triage(self, letter: Received) -> None:
        record = await self._record(letter)
        if record is None:
            await self._dead.set_visibility([(letter.receipt, SHELVE_SECONDS)])
            self._meter.triage_verdict("shelved")
            return
        job = record.job
        bound = log.bind(taskId=job.task_id, reportType=job.report_type)
        if record.state in (State.QUEUED, State.RUNNING):
            # Nobody has given it up, so the queue's own redrive took it away (I3). If a message of it is still
            # in the queue, a second one does no harm (I6).
            bound.warning("dead_letter.requeued", state=record.state)
            await resend_job(self._queue, record.job)
            await self._jobs.confirm([job.task_id])
            self._meter.triage_verdict("requeued")
        elif record.state is State.DEAD_LETTERED:
            settlement = Settlement(job.task_id, Event.QUARANTINED, self._clock(), fault=record.error)
            await self._jobs.settle(settlement)
            bound.error("job.quarantined", kind=record.error.kind if record.error else None)
            self._meter.triage_verdict("quarantined")
            self._changes.notify(job.task_id)
        else:
            bound.info("dead_letter.dropped", state=record.state)
        await self._dead.delete([letter.receipt])

    async def _record(self, letter: Received) -> Record | None:
        """The job it is about; None when it is about none."""
        try:
            carried = from_message(letter.body)
        except BadMessageError as error:
            log.warning("dead_letter.no_job", detail=error.fault.detail)
            return None
        if isinstance(carried, Job):
            return (await self._jobs.add([carried]))[0]
        return await self._jobs.get(carried.task_id)

    async def send_unconfirmed(self) -> None:
        """Jobs that were written, but whose message may never have been sent."""
        records = await self._jobs.unconfirmed(self._clock() - UNCONFIRMED_SECONDS, limit=100)
        outcomes = await send_jobs(self._queue, [record.job for record in records])
        sent = [job.task_id for job, problem in outcomes if problem is None]
        if sent:
            log.warning("jobs.sent_late", count=len(sent))
            await self._jobs.confirm(sent)

    async def remove_expired(self) -> None:
        """PDFs of jobs that finished longer ago than retention."""
        while task_ids := await self._jobs.expired(self._clock() - self._retention_seconds, limit=100):
            for task_id in task_ids:
                await self._artifacts.remove(task_id)
            await self._jobs.purge(task_ids)
            log.info("artifacts.expired", count=len(task_ids))

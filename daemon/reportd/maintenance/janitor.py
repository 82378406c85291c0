"""Sweeps for jobs whose message was never confirmed or is lost, and for PDFs and evidence past their retention.

If a step is cut off, it may be repeated. Several nodes may do it at once.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from reportd.concurrency.periodic import LEASE_ROUNDS, periodically
from reportd.concurrency.supervisor import Supervisor
from reportd.maintenance.rescuer import Rescuer
from reportd.ports import UNCONFIRMED_SECONDS, Artifacts, EvidenceStore, Jobs, Queue
from reportd.work.messages import LATE_ATTRIBUTES, send_jobs

log = structlog.get_logger()

SWEEP_SECONDS = 60.0

EVIDENCE_SECONDS = 3 * 86400.0
"""How long the evidence of a failed attempt is kept. It may show personal data, so this is no key that can be raised.
"""

MAX_EVIDENCE = 2000
"""The pieces of evidence that are kept in all, each of 512 KiB at most: an outage fails thousands of jobs alike."""


class Janitor:
    """``run`` keeps the sweeps going."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        artifacts: Artifacts,
        evidence: EvidenceStore,
        rescuer: Rescuer,
        retention_seconds: float,
        node: str,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._artifacts = artifacts
        self._evidence = evidence
        self._rescuer = rescuer
        self._retention_seconds = retention_seconds
        self._node = node
        self._supervisor = supervisor or Supervisor()
        self._clock = clock

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for seconds, work in (
                (UNCONFIRMED_SECONDS, self.send_unconfirmed),
                (UNCONFIRMED_SECONDS, self._rescuer.resend_lost),
                (SWEEP_SECONDS, self.remove_expired),
                (SWEEP_SECONDS, self.remove_evidence),
            ):
                rounds = partial(periodically, seconds, partial(self._on_one_node, seconds, work))
                nursery.start_soon(self._supervisor.keep, f"janitor.{work.__name__}", rounds)

    async def _on_one_node(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work if this node has the lease, so that one node does it for all."""
        if await self._jobs.acquire_lease(work.__name__, self._node, LEASE_ROUNDS * seconds):
            await work()

    async def send_unconfirmed(self) -> None:
        """Send the messages of jobs that were recorded, but may never have been sent."""
        records = await self._jobs.overdue(100, confirmed=False)
        outcomes = await send_jobs(self._queue, [record.job for record in records], LATE_ATTRIBUTES)
        sent = [job.task_id for job, error in outcomes if error is None]
        if sent:
            log.warning("jobs.sent_late", count=len(sent))
            await self._jobs.confirm(sent)

    async def remove_expired(self) -> None:
        """Remove the PDFs of jobs that finished before the retention period."""
        while task_ids := await self._jobs.expired(self._clock() - self._retention_seconds, limit=100):
            for task_id in task_ids:
                await self._artifacts.remove(task_id)
            await self._jobs.purge(task_ids)
            log.info("artifacts.expired", count=len(task_ids))

    async def remove_evidence(self) -> None:
        """Remove the evidence that is too old, or too much."""
        if removed := await self._evidence.purge(self._clock() - EVIDENCE_SECONDS, MAX_EVIDENCE):
            log.info("evidence.expired", count=removed)

"""Accepts jobs: the row first, the message next, then the answer (I2)."""

from collections.abc import Callable, Sequence

import structlog
import trio

from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobState
from reportd.ports import (
    Jobs,
    Queue,
    Record,
    UnavailableError,
)
from reportd.work.messages import send_jobs

log = structlog.get_logger()

CONFIRM_SECONDS = 0.25
"""How long confirmations are collected before they are written to the job store."""


class Intake:
    """Accepts jobs in batches. ``on_failure``: called with ``"writes"`` and the reason when the queue is down."""

    def __init__(self, jobs: Jobs, queue: Queue, nursery: trio.Nursery) -> None:
        self._jobs = jobs
        self._queue = queue
        self._nursery = nursery
        self.on_failure: Callable[[str, str], None] = lambda _use, _reason: None
        self._confirmed: set[str] = set()

    async def accept(self, jobs: Sequence[Job]) -> list[Record | Exception]:
        """Return, per job, its record once the queue has confirmed the message, or the error that prevented that."""
        records = await self._jobs.add(jobs)
        # An older record has its message already, unless that was never confirmed. A second message does no harm (I6).
        unconfirmed = [r.job for r in records if r.state is JobState.QUEUED and not r.confirmed]
        unsent = {job.task_id: job for job in unconfirmed if job.task_id not in self._confirmed}
        outcomes = await send_jobs(self._queue, list(unsent.values()))
        failed = {job.task_id: error for job, error in outcomes if error is not None}
        for reason in {str(error) for error in failed.values() if isinstance(error, UnavailableError)}:
            self.on_failure("writes", reason)
        confirmed = {job.task_id for job, error in outcomes if error is None}
        if confirmed and not self._confirmed:
            self._nursery.start_soon(self._confirm)
        self._confirmed |= confirmed
        if failed:
            await self._jobs.discard(list(failed))
        return [failed.get(record.job.task_id, record) for record in records]

    async def _confirm(self) -> None:
        """Write many confirmations at once. No client waits for them, and most jobs have started by then, which also
        confirms them.

        The janitor sends the message of an unconfirmed job again, which does no harm (I6).
        """
        await trio.sleep(CONFIRM_SECONDS)
        task_ids, self._confirmed = self._confirmed, set()
        try:
            await self._jobs.confirm(sorted(task_ids))
        except UnavailableError as error:
            log.warning("jobs.not_confirmed", count=len(task_ids), error=str(error))
        except Exception:
            log.exception("jobs.not_confirmed", count=len(task_ids))

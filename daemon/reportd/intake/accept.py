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
"""How long the rows of accepted jobs may go without a note that the queue has their messages."""


class Intake:
    """Writes a batch of jobs and sends their messages: the row first, the message next, then the answer."""

    def __init__(self, jobs: Jobs, queue: Queue, nursery: trio.Nursery) -> None:
        self._jobs = jobs
        self._queue = queue
        self._nursery = nursery
        self.on_failure: Callable[[str, str], None] = lambda _use, _why: None
        """Is told when the queue takes no messages, and why."""
        self._confirmed: set[str] = set()

    async def accept(self, jobs: Sequence[Job]) -> list[Record | Exception]:
        """Per job its record once the queue has confirmed the message, or why it was not accepted."""
        records = await self._jobs.add(jobs)
        # A record that was there before has its message, unless that was never confirmed; a second one does no
        # harm (I6).
        unconfirmed = [r.job for r in records if r.state is JobState.QUEUED and not r.confirmed]
        unsent = {job.task_id: job for job in unconfirmed if job.task_id not in self._confirmed}
        outcomes = await send_jobs(self._queue, list(unsent.values()))
        failed = {job.task_id: error for job, error in outcomes if error is not None}
        for why in {str(error) for error in failed.values() if isinstance(error, UnavailableError)}:
            self.on_failure("writes", why)
        confirmed = {job.task_id for job, error in outcomes if error is None}
        if confirmed and not self._confirmed:
            self._nursery.start_soon(self._confirm)
        self._confirmed |= confirmed
        if failed:
            await self._jobs.discard(list(failed))
        return [failed.get(record.job.task_id, record) for record in records]

    async def _confirm(self) -> None:
        """Nobody waits for it, so it is done for many at once: most have been started by then, which confirms, too.

        What stays unconfirmed is sent once more by the janitor, which does no harm (I6).
        """
        await trio.sleep(CONFIRM_SECONDS)
        task_ids, self._confirmed = self._confirmed, set()
        try:
            await self._jobs.confirm(sorted(task_ids))
        except UnavailableError as error:
            log.warning("jobs.not_confirmed", count=len(task_ids), error=str(error))
        except Exception:
            log.exception("jobs.not_confirmed", count=len(task_ids))

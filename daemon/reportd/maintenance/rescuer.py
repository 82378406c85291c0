"""Resends lost messages, e.g. after a purge of the queue, the end of a message's retention, or a restored database.

The job store knows when a job is overdue. An overdue job may still wait behind a backlog, so messages are lost only if
there are more jobs than messages. A message that is sent in vain does no harm (I6).
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog

from reportd.ports import NULL_METER, DeadLetters, Jobs, Meter, Queue, Record, UnavailableError
from reportd.work.messages import LATE_ATTRIBUTES, send_jobs
from reportd.work.settlement import dead_letter

BATCH = 100
MAX_BATCHES = 10
"""The most batches of a sweep. The rest waits for the next one; by then the queue's depth includes what was sent."""

HIDDEN_SECONDS = 6 * 3600.0
"""Messages of other producers can hide a loss while there is a backlog. After so much time, the rescuer resends the
message of an overdue job without comparing the counts.
"""


log = structlog.get_logger()


class Rescuer:
    """``resend_lost`` is one sweep. ``resent``: how many messages were resent, the last one at ``resent_at``.

    ``holding``: the report types whose breaker is open. Their jobs wait in the queue, so being overdue shows no loss.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        letters: DeadLetters,
        queue: Queue,
        dead: Queue,
        holding: Callable[[], frozenset[str]] = frozenset,
        meter: Meter = NULL_METER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.resent = 0
        self.resent_at: float | None = None
        self._jobs = jobs
        self._letters = letters
        self._queue = queue
        self._dead = dead
        self._holding = holding
        self._held_at: dict[str, float] = {}
        self._meter = meter
        self._clock = clock

    async def resend_lost(self) -> None:
        """Resend the lost messages, as many as fit into a sweep."""
        now = self._clock()
        self._held_at |= dict.fromkeys(self._holding(), now)
        held = [name for name, at in self._held_at.items() if at > now - HIDDEN_SECONDS]
        await self._resend_jobs(MAX_BATCHES * BATCH, overdue_seconds=HIDDEN_SECONDS, but=held)
        if await self._jobs.overdue(1, confirmed=True):
            # Count the messages before and after the jobs: a job that comes or ends in between is no loss.
            before = await _message_count(self._queue)
            jobs = await self._jobs.sent()
            after = await _message_count(self._queue)
            await self._resend_jobs(min(MAX_BATCHES * BATCH, jobs - max(before, after)))
        await self._resend_letters()

    async def _resend_jobs(self, count: int, overdue_seconds: float = 0.0, but: Collection[str] = ()) -> None:
        while count > 0:
            records = await self._jobs.overdue(
                min(count, BATCH), confirmed=True, overdue_seconds=overdue_seconds, but=but
            )
            outcomes = await send_jobs(self._queue, [record.job for record in records], LATE_ATTRIBUTES)
            if not await self._record(records, [error for _, error in outcomes], "job"):
                return
            count -= len(records)

    async def _resend_letters(self) -> None:
        """Resend the letters of dead-lettered jobs that are neither kept nor, by their number, still in the DLQ."""
        records = await self._letters.missing(BATCH)
        chosen = records[: max(0, len(records) - await _message_count(self._dead))] if records else []
        if chosen:
            limit = self._dead.max_message_bytes
            errors = await self._dead.send([dead_letter(record.job, record.error, limit) for record in chosen])
            await self._record(chosen, errors, "dead_letter")

    async def _record(self, records: Sequence[Record], errors: Sequence[Exception | None], kind: str) -> int:
        """Confirm, count and log the messages that were sent. Return for how many jobs the sweep is done.

        A job's message that the queue refuses for good is tried again later, so that it does not block those behind it.
        """
        sent = [record.job for record, error in zip(records, errors, strict=True) if error is None]
        problems = [str(error) for error in errors if error is not None]
        if problems:
            log.warning("messages.not_resent", what=kind, count=len(problems), error=problems[0])
        if sent:
            await self._jobs.confirm([job.task_id for job in sent])
            self.resent += len(sent)
            self.resent_at = self._clock()
            for job in sent:
                self._meter.resent(job.report_type)
            types = dict(Counter(job.report_type for job in sent))
            log.warning("messages.resent", what=kind, count=len(sent), reportTypes=types)
        refused = [
            record.job.task_id
            for record, error in zip(records, errors, strict=True)
            if error is not None and not isinstance(error, UnavailableError)
        ]
        if refused:
            await self._jobs.renew(refused)
        return len(sent) + len(refused)


async def _message_count(queue: Queue) -> int:
    depth = await queue.depth()
    return depth.visible + depth.in_flight + depth.delayed

"""Sends again what was lost: a queue was purged, a message outlived its retention, a backup of the database came back.

The job store knows until when something must be heard of a job. What is overdue may still wait behind a backlog, so it
is lost only as far as there are more jobs than messages. A message sent in vain does no harm (I6).
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog

from reportd.ports import SILENT, DeadLetters, Jobs, Meter, Queue, Record
from reportd.work.messages import LATE, send_jobs
from reportd.work.settlement import dead_letter

BATCH = 100
MAX_BATCHES = 10
"""Of a sweep: the rest waits for the next one, and the queue's own figures for some of it to be counted."""

HIDDEN_SECONDS = 6 * 3600.0
"""Other producers' messages can hide a loss for as long as there is a backlog. So much later it is not asked for."""


log = structlog.get_logger()


class Rescuer:
    """``resend_lost`` is one sweep. ``resent``: how many messages it has sent, ``resent_at`` when the last one.

    ``holding``: the report types whose breaker is open. Nothing need be heard of what waits in the queue for that.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        letters: DeadLetters,
        queue: Queue,
        dead: Queue,
        holding: Callable[[], frozenset[str]] = frozenset,
        meter: Meter = SILENT,
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
        """Every message that is lost, as far as it fits into a sweep."""
        now = self._clock()
        self._held_at |= dict.fromkeys(self._holding(), now)
        held = [name for name, at in self._held_at.items() if at > now - HIDDEN_SECONDS]
        await self._resend_jobs(MAX_BATCHES * BATCH, by_seconds=HIDDEN_SECONDS, but=held)
        if await self._jobs.overdue(1, confirmed=True):
            # On both sides, as jobs end and come meanwhile: neither is a loss.
            before = await _messages(self._queue)
            jobs = await self._jobs.sent()
            after = await _messages(self._queue)
            await self._resend_jobs(min(MAX_BATCHES * BATCH, jobs - max(before, after)))
        await self._resend_letters()

    async def _resend_jobs(self, count: int, by_seconds: float = 0.0, but: Collection[str] = ()) -> None:
        while count > 0:
            records = await self._jobs.overdue(min(count, BATCH), confirmed=True, by_seconds=by_seconds, but=but)
            outcomes = await send_jobs(self._queue, [record.job for record in records], LATE)
            if not await self._note(records, [problem for _, problem in outcomes], "job"):
                return
            count -= len(records)

    async def _resend_letters(self) -> None:
        """Triage empties the DLQ, so what is there is not lost."""
        records = await self._letters.missing(BATCH)
        chosen = records[: max(0, len(records) - await _messages(self._dead))] if records else []
        if chosen:
            limit = self._dead.max_message_bytes
            outcomes = await self._dead.send([dead_letter(record.job, record.error, limit) for record in chosen])
            await self._note(chosen, outcomes, "dead_letter")

    async def _note(self, records: Sequence[Record], outcomes: Sequence[Exception | None], what: str) -> int:
        """How many were sent."""
        sent = [record.job for record, problem in zip(records, outcomes, strict=True) if problem is None]
        problems = [str(problem) for problem in outcomes if problem is not None]
        if problems:
            log.warning("messages.not_resent", what=what, count=len(problems), error=problems[0])
        if sent:
            await self._jobs.confirm([job.task_id for job in sent])
            self.resent += len(sent)
            self.resent_at = self._clock()
            for job in sent:
                self._meter.resent(job.report_type)
            types = dict(Counter(job.report_type for job in sent))
            log.warning("messages.resent", what=what, count=len(sent), reportTypes=types)
        return len(sent)


async def _messages(queue: Queue) -> int:
    depth = await queue.depth()
    return depth.visible + depth.in_flight + depth.delayed

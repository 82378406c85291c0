"""What can be asked of the daemon: submit, get, wait, list, cancel, retry. The HTTP face calls nothing else."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import orjson
import structlog
import trio

from reportd.concurrency.batching import Batcher
from reportd.concurrency.named_locks import NamedLocks
from reportd.core.capacity.backlog import UNAVAILABLE
from reportd.core.jobs.job import Job
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import FieldProblem, InvalidSubmissionError, Submission
from reportd.core.jobs.transitions import TERMINAL, IllegalTransitionError, JobEvent, JobState
from reportd.intake.backlog import Backlog
from reportd.intake.errors import (
    GoneError,
    KeyReusedError,
    MissingPdfError,
    NotFinishedError,
    NotFoundError,
    StillQueuedError,
)
from reportd.ports import (
    SILENT,
    Artifacts,
    Attempt,
    CallbackStatus,
    JobFilter,
    Jobs,
    LocalPdf,
    Meter,
    Outbox,
    Queue,
    Record,
    Settlement,
    UnavailableError,
)
from reportd.system.log_throttle import ThrottledLog
from reportd.work.in_flight import InFlightTasks
from reportd.work.job_waiters import JobWaiters
from reportd.work.messages import NOTHING, resend_job

MAX_WAIT_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 1.0
"""How often it is looked whether another node has finished the job that somebody waits for."""

LOOK_SECONDS_EACH = 0.02
"""All who wait look 50 times a second together: beyond 50 of them each looks less often. What this node does itself
they hear at once.
"""


ACCEPT_SECONDS = 9.0
"""How long a client whose body is there waits for its answer at most. Then `503` says that it may work later.
"""

UNKNOWN_TYPE = ""


IDEMPOTENCY_NAMESPACE = uuid.UUID("6d0c3f4e-4f0e-5c5b-9a44-1f6f5c0d2b7a")

log = structlog.get_logger()


class Validator(Protocol):
    """Knows the report types: implemented by the catalogue."""

    async def submission(self, body: bytes) -> Submission: ...

    async def check_submission(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]: ...

    def check_callback(self, url: str) -> list[FieldProblem]: ...

    def canonical(self, report_type: str) -> str | None: ...


class Service:
    """The use cases. Every answer is a frozen value, every refusal one of this module's exceptions."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        artifacts: Artifacts,
        intake: Batcher[Job, Record],
        validator: Validator,
        changes: JobWaiters,
        in_flight: InFlightTasks,
        backlog: Backlog,
        retention_seconds: float,
        meter: Meter = SILENT,
        outbox: Outbox | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._artifacts = artifacts
        self._intake = intake
        self._validator = validator
        self._changes = changes
        self._in_flight = in_flight
        self._backlog = backlog
        self._retention_seconds = retention_seconds
        self._meter = meter
        self._outbox = outbox
        self._clock = clock
        self._retries = NamedLocks()
        self._log = ThrottledLog(log)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Around ``parsed`` and ``submit`` together. Raises UnavailableError when they take too long."""
        with trio.move_on_after(ACCEPT_SECONDS):
            yield
            return
        # The row may be there, with a message sent late: whoever repeats the call with its key gets the same job.
        error = UnavailableError("intake", f"it was not checked, recorded and queued within {ACCEPT_SECONDS:g} s")
        self._unavailable(UNKNOWN_TYPE, error)
        raise error

    def _unavailable(self, report_type: str, error: UnavailableError) -> None:
        self._meter.refused(report_type, UNAVAILABLE)
        self._log.warning(
            "submission.refused", reason=UNAVAILABLE, reportType=report_type, part=error.part, error=str(error)
        )

    async def parsed(self, body: bytes) -> Submission:
        """What a request's body submits.

        Raises NotJsonError, InvalidSubmissionError, TooCostlyError, or UnavailableError when it can't be looked at now.
        """
        return await self._validator.submission(body)

    async def submit(self, submission: Submission) -> Record:
        """Accept a job durably. One that was accepted before is answered as it stands, and sent again if it is lost.

        Raises InvalidSubmissionError, BusyError, KeyReusedError, or UnavailableError when it can't be queued.
        """
        problems = await self._validator.check_submission(submission.report_type, submission.parameters)
        if submission.callback_url is not None:
            problems += self._validator.check_callback(submission.callback_url)
        if problems:
            raise InvalidSubmissionError(problems)
        job = Job(
            task_id=_task_id(submission),
            report_type=self._canonical(submission.report_type),
            parameters=submission.parameters,
            user_id=submission.user_id,
            submitted_at=self._clock(),
            callback_url=submission.callback_url,
        )
        with self._backlog.place(job.report_type, job.user_id) as give_back:
            try:
                record = await self._intake.submit(job)
            except UnavailableError as error:
                self._unavailable(job.report_type, error)
                raise
            if record.job.submitted_at != job.submitted_at:
                give_back()  # it is there already
        if not await _same_request(record.job, job):
            raise KeyReusedError
        if record.state in TERMINAL:
            return record
        if record.confirmed:
            await self._send_if_lost(record)
        self._meter.accepted(job.report_type)
        log.info("job.accepted", taskId=job.task_id, reportType=job.report_type, userId=job.user_id)
        return record

    async def get(self, task_id: str, wait_seconds: float = 0.0) -> Record:
        """The job as it is now, or as it is when it reaches a terminal state within ``wait_seconds``."""
        deadline = trio.current_time() + min(wait_seconds, MAX_WAIT_SECONDS)
        while True:
            record = await self._jobs.get(task_id)
            if record is None:
                raise NotFoundError
            remaining = deadline - trio.current_time()
            if record.state in TERMINAL or remaining <= 0:
                return record
            again_seconds = max(LOOK_AGAIN_SECONDS, LOOK_SECONDS_EACH * len(self._changes))
            await self._changes.wait(task_id, min(remaining, again_seconds))

    async def attempts(self, task_id: str) -> list[Attempt]:
        return await self._jobs.attempts(task_id)

    async def callback(self, record: Record) -> CallbackStatus | None:
        """How far word of the job's end has come; None when nobody is told, or there is nothing to tell yet."""
        return await self._outbox.status(record.job) if self._outbox else None

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        if wanted.report_type is not None:
            wanted = replace(wanted, report_type=self._canonical(wanted.report_type))
        return await self._jobs.search(wanted, limit, before)

    async def pdf(self, task_id: str) -> tuple[Record, LocalPdf | str]:
        """The record and where its PDF is. Raises NotFoundError, NotFinishedError, GoneError or MissingPdfError."""
        record = await self.get(task_id)
        if record.state is not JobState.SUCCEEDED or record.pdf is None:
            raise NotFinishedError(record.state)
        where = None if record.pdf.purged else await self._artifacts.locate(record.job)
        if where is None:
            raise self.pdf_not_there(record)
        return record, where

    def pdf_not_there(self, record: Record) -> GoneError | MissingPdfError:
        """A rule of the store's own may have been quicker than the janitor."""
        purged = record.pdf is not None and record.pdf.purged
        if purged or self._clock() >= (record.finished_at or math.inf) + self._retention_seconds:
            return GoneError()
        return MissingPdfError()

    async def cancel(self, task_id: str) -> Record:
        """Cancel a job that is not finished. Raises NotFoundError, or IllegalTransitionError when it is."""
        settlement = Settlement(task_id, JobEvent.CANCELLED, self._clock())
        state = await self._jobs.settle(settlement)
        record = await self.get(task_id)
        if state is None and record.state is not JobState.CANCELLED:
            raise IllegalTransitionError(record.state, JobEvent.CANCELLED)
        self._in_flight.cancel(task_id)
        self._changes.notify(task_id)
        log.info("job.cancelled", taskId=task_id, reportType=record.job.report_type)
        return record

    async def retry(self, task_id: str) -> Record:
        """Put a quarantined job back with a fresh set of attempts, or send the lost message of one that waits.

        Raises NotFoundError, StillQueuedError, IllegalTransitionError, or UnavailableError; in the last case the sweep
        of unconfirmed jobs sends the message when the queue is back.
        """
        async with self._retries.lock(task_id):
            return await self._retry(task_id)

    async def _retry(self, task_id: str) -> Record:
        current = await self.get(task_id)
        if current.state is JobState.QUEUED:
            if not await self._send_if_lost(current):
                raise StillQueuedError
            return current
        if current.state is not JobState.QUARANTINED:
            raise IllegalTransitionError(current.state, JobEvent.REVIVED)
        # What an attempt that was cut off may have stored: nobody wants that one again. From when it is revived, what
        # is stored is the new one, as anybody may send its message.
        await self._artifacts.remove(task_id)
        record = await self._jobs.revive(task_id)
        if record is None:
            current = await self.get(task_id)
            raise IllegalTransitionError(current.state, JobEvent.REVIVED)
        await resend_job(self._queue, record.job)
        await self._jobs.confirm([task_id])
        self._changes.notify(task_id)
        log.info("job.revived", taskId=task_id, reportType=record.job.report_type)
        return record

    async def _send_if_lost(self, record: Record) -> bool:
        """Send the message of a job under way if it is overdue, or if there is none in the queue; whether it was.

        By this node's clock: at worst it is sent in vain (I6), or by the sweep of lost messages. What waits for triage
        has no message here, and is not waited for.
        """
        if record.state is JobState.DEAD_LETTERED:
            return False
        if record.due_at >= self._clock():
            if record.state is not JobState.QUEUED or self._in_flight.get(record.job.task_id):
                return False
            depth = await self._queue.depth()
            if depth.visible or depth.in_flight or depth.delayed:
                return False
        await resend_job(self._queue, record.job)
        await self._jobs.confirm([record.job.task_id])
        self._meter.resent(record.job.report_type)
        log.warning("messages.resent", what="job", count=1, reportTypes={record.job.report_type: 1})
        return True

    def _canonical(self, report_type: str) -> str:
        """So that a type has one breaker, one queue and one place in every list, whatever it is called by."""
        return self._validator.canonical(report_type) or report_type


def _task_id(submission: Submission) -> str:
    """Random, or derived from user and key: then the primary key itself makes a repetition harmless."""
    if submission.idempotency_key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(IDEMPOTENCY_NAMESPACE, f"{submission.user_id}\n{submission.idempotency_key}"))


async def _same_request(one: Job, other: Job) -> bool:
    if replace(one, parameters=NOTHING, submitted_at=other.submitted_at) != replace(other, parameters=NOTHING):
        return False
    if one.parameters is other.parameters or text_of(one.parameters) == text_of(other.parameters):
        return True
    return await trio.to_thread.run_sync(_same_json, one.parameters, other.parameters)


def _same_json(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """By what JSON tells apart: to Python, 1 and true are equal."""
    sorted_one, sorted_other = (orjson.dumps(value_of(each), option=orjson.OPT_SORT_KEYS) for each in (one, other))
    return sorted_one == sorted_other

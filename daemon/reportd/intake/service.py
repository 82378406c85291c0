"""The use cases of the HTTP interface: submit, get, wait, list, cancel, retry."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import structlog
import trio

from reportd.concurrency.batching import Batcher
from reportd.concurrency.named_locks import NamedLocks
from reportd.core.capacity.backlog import UNAVAILABLE
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.parameters import text_of
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
from reportd.intake.idempotency import is_same_request, task_id_of
from reportd.ports import (
    NULL_METER,
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
from reportd.work.messages import resend_job

MAX_WAIT_SECONDS = 30.0
"""The longest wait of ``get``."""

POLL_SECONDS = 1.0
"""How often a waiting client polls the job store, to see what other nodes did. Changes by this node wake it at once."""

POLL_SECONDS_PER_WAITER = 0.02
"""All waiting clients together poll at most 50 times a second: with more than 50, each polls less often."""

ACCEPT_SECONDS = 9.0
"""The longest time from a complete request body to the answer. After that the answer is ``503``: try again later."""

UNKNOWN_TYPE = ""

log = structlog.get_logger()


class Validator(Protocol):
    """The part of the catalogue that this module needs."""

    async def submission(self, body: bytes) -> Submission: ...

    async def check_submission(
        self, report_type: str, parameters: Mapping[str, Any], options: JobOptions
    ) -> list[FieldProblem]: ...

    def check_callback(self, url: str) -> list[FieldProblem]: ...

    def canonical(self, report_type: str) -> str | None: ...

    def with_defaults(self, job: Job) -> Job: ...


class Service:
    """The use cases. Every answer is a frozen value, every refusal an exception that the method names."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        artifacts: Artifacts,
        intake: Batcher[Job, Record],
        validator: Validator,
        waiters: JobWaiters,
        in_flight: InFlightTasks,
        backlog: Backlog,
        retention_seconds: float,
        meter: Meter = NULL_METER,
        outbox: Outbox | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._artifacts = artifacts
        self._intake = intake
        self._validator = validator
        self._waiters = waiters
        self._in_flight = in_flight
        self._backlog = backlog
        self._retention_seconds = retention_seconds
        self._meter = meter
        self._outbox = outbox
        self._clock = clock
        self._retries = NamedLocks()
        self._log = ThrottledLog(log)

    @contextmanager
    def within_time_limit(self) -> Iterator[None]:
        """Enclose ``parse`` and ``submit`` together. Raises UnavailableError when they take too long."""
        with trio.move_on_after(ACCEPT_SECONDS):
            yield
            return
        # The job may be recorded, and its message sent later. A client that repeats its key gets the same job.
        error = UnavailableError("intake", f"it was not checked, recorded and queued within {ACCEPT_SECONDS:g} s")
        self._unavailable(UNKNOWN_TYPE, error)
        raise error

    def _unavailable(self, report_type: str, error: UnavailableError) -> None:
        self._meter.refused(report_type, UNAVAILABLE)
        self._log.warning(
            "submission.refused", reason=UNAVAILABLE, reportType=report_type, part=error.part, error=str(error)
        )

    async def parse(self, body: bytes) -> Submission:
        """Parse the body of a request.

        Raises NotJsonError, InvalidSubmissionError, TooCostlyError, or UnavailableError when it can't be parsed now.
        """
        return await self._validator.submission(body)

    async def submit(self, submission: Submission) -> Record:
        """Accept a job durably and return its record.

        If it was accepted before, return the present record, and send its message again if that is lost. Raises
        InvalidSubmissionError, BusyError, KeyReusedError, or UnavailableError when it can't be queued.
        """
        await self._check(submission)
        job = Job(
            task_id=task_id_of(submission),
            report_type=self._canonical(submission.report_type),
            parameters=submission.parameters,
            user_id=submission.user_id,
            submitted_at=self._clock(),
            callback_url=submission.callback_url,
            options=submission.options,
        )
        record = await self._record(job)
        if not await is_same_request(record.job, job):
            raise KeyReusedError
        if record.state in TERMINAL:
            return record
        if record.confirmed:
            await self._send_if_lost(record)
        self._meter.accepted(job.report_type)
        log.info("job.accepted", taskId=job.task_id, reportType=job.report_type, userId=job.user_id)
        return record

    async def _check(self, submission: Submission) -> None:
        problems = await self._validator.check_submission(
            submission.report_type, submission.parameters, submission.options
        )
        if submission.callback_url is not None:
            problems += self._validator.check_callback(submission.callback_url)
        if problems:
            raise InvalidSubmissionError(problems)

    async def _record(self, job: Job) -> Record:
        """Record and queue the job, within the limits of the backlog. Return its record, or that of a repetition."""
        with self._backlog.reserve(job.report_type, job.user_id) as give_back:
            try:
                record = await self._intake.submit(job)
            except UnavailableError as error:
                self._unavailable(job.report_type, error)
                raise
            if record.job.submitted_at != job.submitted_at:
                give_back()  # a repetition adds no job to the backlog
        return record

    async def get(self, task_id: str, wait_seconds: float = 0.0) -> Record:
        """Return the job: at once if it is terminal, else when it becomes terminal, or after ``wait_seconds``.

        Raises NotFoundError.
        """
        deadline = trio.current_time() + min(wait_seconds, MAX_WAIT_SECONDS)
        while True:
            record = await self._jobs.get(task_id)
            if record is None:
                raise NotFoundError
            remaining = deadline - trio.current_time()
            if record.state in TERMINAL or remaining <= 0:
                return record
            poll_seconds = max(POLL_SECONDS, POLL_SECONDS_PER_WAITER * len(self._waiters))
            await self._waiters.wait(task_id, min(remaining, poll_seconds))

    async def parameters(self, task_id: str) -> str:
        """Return the JSON text of the parameters, as the page gets them. Raises NotFoundError."""
        return text_of((await self.get(task_id)).job.parameters)

    async def attempts(self, task_id: str) -> list[Attempt]:
        return await self._jobs.attempts(task_id)

    async def callback(self, record: Record) -> CallbackStatus | None:
        """Return the state of the job's callback; None when it has none, or has not ended yet."""
        return await self._outbox.status(record.job) if self._outbox else None

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        if wanted.report_type is not None:
            wanted = replace(wanted, report_type=self._canonical(wanted.report_type))
        return await self._jobs.search(wanted, limit, before)

    async def pdf(self, task_id: str) -> tuple[Record, LocalPdf | str]:
        """Return the record and where its PDF is: a local file, or a URL. Its job has the defaults of its type.

        Raises NotFoundError, NotFinishedError, GoneError or MissingPdfError.
        """
        record = await self.get(task_id)
        if record.state is not JobState.SUCCEEDED or record.pdf is None:
            raise NotFinishedError(record.state)
        job = self._validator.with_defaults(record.job)
        location = None if record.pdf.purged else await self._artifacts.locate(job)
        if location is None:
            raise self.missing_pdf_error(record)
        return replace(record, job=job), location

    def missing_pdf_error(self, record: Record) -> GoneError | MissingPdfError:
        """Return why there is no PDF. A lifecycle rule of the store may have removed it before the janitor did."""
        purged = record.pdf is not None and record.pdf.purged
        if purged or self._clock() >= (record.finished_at or math.inf) + self._retention_seconds:
            return GoneError()
        return MissingPdfError()

    async def cancel(self, task_id: str) -> Record:
        """Cancel a job. Raises NotFoundError, or IllegalTransitionError when it is finished."""
        settlement = Settlement(task_id, JobEvent.CANCELLED, self._clock())
        state = await self._jobs.settle(settlement)
        record = await self.get(task_id)
        if state is None and record.state is not JobState.CANCELLED:
            raise IllegalTransitionError(record.state, JobEvent.CANCELLED)
        self._in_flight.cancel(task_id)
        self._waiters.notify(task_id)
        log.info("job.cancelled", taskId=task_id, reportType=record.job.report_type)
        return record

    async def retry(self, task_id: str) -> Record:
        """Put a quarantined job back with a fresh set of attempts, or send the lost message of a queued job again.

        Raises NotFoundError, StillQueuedError, IllegalTransitionError, or UnavailableError. After the last one, the
        janitor sends the message when the queue is back.
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
        # Remove the PDF of an attempt that was cut off, before the job is revived: after that, any node may send its
        # message, so a stored PDF may be the new one.
        await self._artifacts.remove(task_id)
        record = await self._jobs.revive(task_id)
        if record is None:
            current = await self.get(task_id)
            raise IllegalTransitionError(current.state, JobEvent.REVIVED)
        await resend_job(self._queue, record.job)
        await self._jobs.confirm([task_id])
        self._waiters.notify(task_id)
        log.info("job.revived", taskId=task_id, reportType=record.job.report_type)
        return record

    async def _send_if_lost(self, record: Record) -> bool:
        """Send the message of an unfinished job again if the job is overdue or the queue is empty. Return whether it
        was sent.

        This goes by this node's clock. If that is wrong, a message is sent in vain (I6), or the rescuer sends it later.
        A job that waits for triage has no message in the queue.
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
        """Resolve an alias, so that a type has one breaker, one queue and one entry in every list."""
        return self._validator.canonical(report_type) or report_type

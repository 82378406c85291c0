"""The job store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reportd.core.faults import Fault
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.jobs.warnings import JobWarning
from reportd.core.status.snapshot import JobView, Load

UNCONFIRMED_SECONDS = 15.0
"""A submission takes milliseconds; one that is unconfirmed for so long was interrupted."""


@dataclass(frozen=True, slots=True)
class PdfInfo:
    """The stored PDF of a job. ``purged``: retention is over and the file is deleted."""

    size_bytes: int
    sha256: str
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A job in the store. Times are seconds since the epoch."""

    job: Job
    state: JobState
    tally: Tally
    started_at: float | None = None
    finished_at: float | None = None
    error: Fault | None = None
    pdf: PdfInfo | None = None
    warnings: tuple[JobWarning, ...] = ()
    """What is missing from the PDF."""
    progress: float | None = None
    """How far the running attempt is, from 0 to 1, if its page has said so."""
    edition: str = ""
    """The edition of its template by which the last attempt was rendered; empty without a template."""
    confirmed: bool = False
    """The queue has confirmed the message."""
    due_at: float = field(default=0.0, compare=False)
    """When a sign of its message is due, by the store's clock. Set in records that were read."""

    def view(self) -> JobView:
        """Return the job as lists show it."""
        return JobView(
            task_id=self.job.task_id,
            report_type=self.job.report_type,
            user_id=self.job.user_id,
            state=self.state,
            attempts=self.tally.attempts,
            deferrals=self.tally.deferrals,
            submitted_at=self.job.submitted_at,
            finished_at=self.finished_at,
            error=self.error,
            pdf_bytes=None if self.pdf is None or self.pdf.purged else self.pdf.size_bytes,
            progress=self.progress,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job. ``outcome`` is None while it runs, or forever if its node died."""

    number: int
    node: str
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Proof that an attempt was recorded. ``record``: the job, with this attempt in its tally.

    ``number``: of the attempt among all of the job; the tally has only those that count.
    """

    attempt_id: int
    record: Record
    number: int


@dataclass(frozen=True, slots=True)
class AttemptRefused:
    """The job was not started: by its record it is terminal, dead-lettered, or lost too many browsers."""

    record: Record
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of an attempt, or of a waiting job.

    ``event`` moves the job; ``fault`` is recorded as its error, ``pdf`` and ``warnings`` as its result. A success
    replaces earlier warnings, also by none; each is kept as one line, without control characters. With ``attempt_id``
    the attempt gets its outcome. ``counted``: the attempt stays counted; ``loss``: a browser died.
    ``deferred_seconds``: how long the message is deferred. ``edition``: of the template that was rendered; if it is
    empty, the job keeps the one it has.
    """

    task_id: str
    event: JobEvent
    at: float
    attempt_id: int | None = None
    fault: Fault | None = None
    counted: bool = True
    loss: bool = False
    pdf: PdfInfo | None = None
    warnings: tuple[JobWarning, ...] = ()
    deferred_seconds: float = 0.0
    edition: str = ""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any."""

    state: JobState | None = None
    report_type: str | None = None
    user_id: str | None = None


class Jobs(Protocol):
    """The job store. Every change is a compare-and-set along ``core.jobs.transitions``.

    Each change also sets when the next sign of the job's message is due, by the store's clock.
    """

    async def add(self, jobs: Sequence[Job]) -> list[Record]:
        """Insert the jobs that are not stored yet; return the stored record of each job."""
        ...

    async def confirm(self, task_ids: Sequence[str]) -> None:
        """Record that the queue has these jobs' messages."""
        ...

    async def renew(self, task_ids: Sequence[str]) -> None:
        """Record that this node holds the messages of these jobs."""
        ...

    async def report_progress(self, progress: Mapping[str, float]) -> None:
        """Record how far these running jobs are, from 0 to 1. A job that does not run is left as it is.

        A start and a settlement remove it.
        """
        ...

    async def overdue(
        self, limit: int, *, confirmed: bool, overdue_seconds: float = 0.0, but: Collection[str] = ()
    ) -> list[Record]:
        """Return unfinished jobs whose message gave no sign until ``overdue_seconds`` after its due time, oldest first.

        ``confirmed``: queued and running jobs whose message the queue had; else queued jobs whose sender was
        interrupted before it knew. A job without a due time is due only for ``overdue_seconds`` 0.
        ``but``: report types to leave out.
        """
        ...

    async def discard(self, task_ids: Sequence[str]) -> None:
        """Delete queued jobs that the queue did not accept."""
        ...

    async def get(self, task_id: str) -> Record | None: ...

    async def attempts(self, task_id: str) -> list[Attempt]: ...

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        """Return records, newest first, without parameters and options.

        ``before``: ``(submitted_at, task_id)`` of the last one.
        """
        ...

    async def start(self, job: Job, node: str, at: float) -> AttemptStarted | AttemptRefused:
        """Record that an attempt begins, before a browser is used. A job without a row gets one."""
        ...

    async def settle(self, settlement: Settlement) -> JobState | None:
        """Apply a settlement; return the new state, or None without a change when the job's state forbids it.

        A job that ends and has a callback enters the outbox in the same transaction.
        """
        ...

    async def revive(self, task_id: str) -> Record | None:
        """Requeue a quarantined job with a new tally and no warnings; return None when it is not quarantined."""
        ...

    async def expired(self, before: float, limit: int) -> list[str]:
        """Return the ids of tasks that finished before that time and still have a stored PDF."""
        ...

    async def purge(self, task_ids: Sequence[str]) -> None:
        """Record that the PDFs of these tasks are deleted."""
        ...

    async def counts(self) -> dict[JobState, int]: ...

    async def loads(self) -> dict[str, Load]:
        """Return the queued and running jobs by report type; types without any are left out."""
        ...

    async def sent(self) -> int:
        """Return how many queued or running jobs have a confirmed message."""
        ...

    async def waiting(self) -> dict[tuple[str, str], int]:
        """Return the numbers of queued jobs by report type and user, without zeros."""
        ...

    async def acquire_lease(self, work: str, node: str, seconds: float) -> bool:
        """Acquire or extend the lease on ``work`` for ``seconds``; return whether this node holds it.

        The store's clock decides, so one node at a time holds it, and another one takes over when that node is gone.
        """
        ...

"""The job store."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reportd.core.faults import Fault
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.status.snapshot import JobView, Load

UNCONFIRMED_SECONDS = 15.0
"""A submission takes milliseconds; one unconfirmed for so long was cut off."""


@dataclass(frozen=True, slots=True)
class PdfInfo:
    """The stored PDF of a job. ``purged``: retention is over and the file is gone."""

    size_bytes: int
    sha256: str
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A job as the store knows it. Times are seconds since the epoch."""

    job: Job
    state: JobState
    tally: Tally
    started_at: float | None = None
    finished_at: float | None = None
    error: Fault | None = None
    pdf: PdfInfo | None = None
    confirmed: bool = False
    """The queue has confirmed the message."""
    due_at: float = field(default=0.0, compare=False)
    """When something of its message must have been heard, by the store's clock. Known to who reads the record."""

    def view(self) -> JobView:
        """As a list of jobs shows it."""
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
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job. ``outcome`` is None while it runs, or for ever if its node died."""

    number: int
    node: str
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Proof that an attempt was recorded. ``record`` is the job with this attempt in its tally."""

    attempt_id: int
    record: Record


@dataclass(frozen=True, slots=True)
class Refused:
    """The job was not started; the record says why: it is terminal, dead-lettered, or lost too many browsers."""

    record: Record
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt or of a waiting job.

    ``event`` moves the job; ``fault`` is recorded as its error; ``pdf`` as its result. With ``attempt_id`` the
    attempt gets its outcome. ``counted`` says whether the attempt stays counted; ``loss``, that a browser died.
    ``away_seconds``: for how long its message is put off.
    """

    task_id: str
    event: JobEvent
    at: float
    attempt_id: int | None = None
    fault: Fault | None = None
    counted: bool = True
    loss: bool = False
    pdf: PdfInfo | None = None
    away_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any."""

    state: JobState | None = None
    report_type: str | None = None
    user_id: str | None = None


class Jobs(Protocol):
    """The job store. Every change is a compare-and-set along ``core.jobs.transitions``.

    Each says by itself until when something must be heard of the job's message, by the store's clock.
    """

    async def add(self, jobs: Sequence[Job]) -> list[Record]:
        """Insert what is not there; the answer holds, per job, the record that is there now."""
        ...

    async def confirm(self, task_ids: Sequence[str]) -> None:
        """The queue has these jobs' messages."""
        ...

    async def renew(self, task_ids: Sequence[str]) -> None:
        """This node has the messages of these jobs."""
        ...

    async def overdue(
        self, limit: int, *, confirmed: bool, by_seconds: float = 0.0, but: Collection[str] = ()
    ) -> list[Record]:
        """Jobs under way of which something was due for so long, and nothing was heard; the longest due first.

        ``confirmed``: those whose message the queue had, be they queued or running; else those queued of which that is
        not known, since whoever sent it was cut off. A job whose due time is not known is due, but not for long.
        ``but``: report types that are left out.
        """
        ...

    async def discard(self, task_ids: Sequence[str]) -> None:
        """Forget queued jobs that the queue never took."""
        ...

    async def get(self, task_id: str) -> Record | None: ...

    async def attempts(self, task_id: str) -> list[Attempt]: ...

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        """Newest first, below the ``(submitted_at, task_id)`` of the last one seen; of none the parameters."""
        ...

    async def start(self, job: Job, node: str, at: float) -> Started | Refused:
        """Record that an attempt begins, before any browser is touched; the job's row is made if it has none."""
        ...

    async def settle(self, settlement: Settlement) -> JobState | None:
        """Apply one; the new state, or None when the job's state did not allow it (nothing changed then).

        A job that ends and has a callback is entered into the outbox in the same step.
        """
        ...

    async def revive(self, task_id: str) -> Record | None:
        """Put a quarantined job back with a fresh tally; None when it is not quarantined."""
        ...

    async def expired(self, before: float, limit: int) -> list[str]:
        """Tasks finished before that time that still have something stored."""
        ...

    async def purge(self, task_ids: Sequence[str]) -> None:
        """Their files are gone."""
        ...

    async def counts(self) -> dict[JobState, int]: ...

    async def loads(self) -> dict[str, Load]:
        """What is queued or running, by report type; those of which nothing is, are left out."""
        ...

    async def sent(self) -> int:
        """How many are queued or running whose message the queue had."""
        ...

    async def waiting(self) -> dict[tuple[str, str], int]:
        """How many are queued, by report type and user; only those of which there are."""
        ...

    async def acquire_lease(self, work: str, node: str, seconds: float) -> bool:
        """Whether this node is the one that does ``work``, and goes on to be for so many seconds.

        By the store's clock, so that one node at a time does it, and another one once that node is gone.
        """
        ...

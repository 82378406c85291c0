"""Evidence of failed attempts, kept for some days for operators."""

from dataclasses import dataclass
from typing import Protocol

from reportd.core.jobs.evidence import Evidence

KEPT_PER_JOB = 3
"""The last attempts of a job of which evidence is kept."""


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """The evidence of one attempt, without the bytes of its screenshot. ``taken_at``: seconds since the epoch."""

    attempt: int
    taken_at: float
    has_screenshot: bool
    console: tuple[str, ...]
    requests: tuple[str, ...]
    activity: str


class EvidenceStore(Protocol):
    """The evidence of a job goes with the job. Every call raises UnavailableError."""

    async def put(self, task_id: str, attempt: int, taken_at: float, evidence: Evidence) -> None:
        """Keep the evidence of an attempt of a job that is stored; what is kept of that attempt stays.

        Of the job's other attempts the last ones stay: KEPT_PER_JOB in all.
        """
        ...

    async def of_job(self, task_id: str) -> list[StoredEvidence]:
        """Return what is kept of a job, by attempt."""
        ...

    async def screenshot(self, task_id: str, attempt: int) -> bytes | None:
        """Return the JPEG of an attempt; None if there is none."""
        ...

    async def purge(self, before: float, keep: int) -> int:
        """Remove what was taken before that time, and all but about the newest ``keep``. Return how much went."""
        ...

"""The dead letters that are kept: what waits to be tried again, and what is left to people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reportd.core.dead_letters.redrive import Cause, RedriveOutcome
from reportd.core.jobs.job import Job
from reportd.core.status.snapshot import LetterGroup, LetterView
from reportd.ports.jobs import Record


class LetterStatus(StrEnum):
    """``underway``: its job is in the queue again; the letter is kept for what is counted in it, and is not shown."""

    WAITING = "waiting"
    UNDERWAY = "underway"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A whole copy of a letter. ``id`` is its job's task id, or a UUID of its own where it is about no job.

    ``cause`` is the detail as its signature sees it. Times are seconds since the epoch; ``first_seen_at`` of the job's
    first failure, ``due_at`` the end of its cool-down. ``redrives`` are its own, ``returns`` those of an untried job.
    """

    id: str
    task_id: str | None
    signature: str
    report_type: str
    kind: str
    detail: str
    cause: str
    standing: LetterStatus
    reason: str
    first_seen_at: float
    last_seen_at: float
    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    due_at: float = 0.0
    redrives: int = 0
    returns: int = 0

    def view(self) -> LetterView:
        """As the status page shows it."""
        waits = self.standing is LetterStatus.WAITING
        return LetterView(
            id=self.id,
            task_id=self.task_id,
            detail=self.detail,
            verdict=self.standing,
            last_seen_at=self.last_seen_at,
            due_at=self.due_at if waits else None,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """The letters of one signature, as far as they are shown. ``examples`` are the last ones."""

    signature: str
    kind: str
    cause: str
    report_types: tuple[str, ...]
    waiting: int
    quarantined: int
    first_seen_at: float
    last_seen_at: float
    examples: tuple[DeadLetter, ...]

    def view(self) -> LetterGroup:
        """As the status page shows it."""
        return LetterGroup(
            id=self.signature,
            kind=self.kind,
            cause=self.cause,
            report_types=self.report_types,
            waiting=self.waiting,
            quarantined=self.quarantined,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
            letters=tuple(letter.view() for letter in self.examples),
        )


@dataclass(frozen=True, slots=True)
class CauseView:
    """A cause, and how things stand with it. ``due`` of the ``waiting`` ones are past their cool-down."""

    cause: Cause
    outcome: RedriveOutcome
    waiting: int
    due: int


@dataclass(frozen=True, slots=True)
class Redrive:
    """A dead-lettered job that goes back. ``own``: its redrive counts; ``job``: its content is replaced by this."""

    task_id: str
    own: bool = True
    job: Job | None = None


OnQuarantined = Callable[[DeadLetter], None]
"""Hears of each letter that is quarantined, once it is, on the node that did it. Must not block, nor raise."""


class DeadLetters(Protocol):
    """Kept beside the jobs, which it moves where both must change together. All calls raise UnavailableError."""

    async def keep(self, letter: DeadLetter) -> bool:
        """Keep it, in the place of the one of that id, whose ``first_seen_at`` stays.

        False, and nothing has changed, when it is about no job and is kept already, or about a job that is neither
        dead-lettered nor quarantined, unless it is ``underway``.
        """
        ...

    async def get(self, letter_id: str) -> DeadLetter | None: ...

    async def remove(self, letter_ids: Sequence[str]) -> int:
        """Forget them; how many there were."""
        ...

    async def groups(self, limit: int, before: tuple[float, str] | None = None) -> list[Group]:
        """The last seen first, below the ``(last_seen_at, signature)`` of the last one read."""
        ...

    async def group(self, signature: str) -> Group | None: ...

    async def members(self, signature: str, limit: int, before: tuple[float, str] | None = None) -> list[DeadLetter]:
        """Those of a group that are shown, the last seen first, below that ``(last_seen_at, id)``."""
        ...

    async def causes(self, now: float, limit: int) -> list[CauseView]:
        """The causes of which something waits or is under way, those tried longest ago first."""
        ...

    async def due(self, cause: Cause, now: float, limit: int) -> list[DeadLetter]:
        """The waiting ones of a cause that are past their cool-down, those tried longest ago first."""
        ...

    async def overdue(self, before: float, limit: int) -> list[DeadLetter]:
        """The waiting ones whose first failure was before that time."""
        ...

    async def release(self, redrives: Sequence[Redrive], at: float, cause: Cause | None = None) -> list[Record] | None:
        """Put dead-lettered jobs back, all in one transaction: ``queued``, their messages unconfirmed.

        The answer holds the records of those that were dead-lettered still. With ``cause``, whose wave is set to them,
        it is replaced if its version is the one that is kept; else the answer is None and nothing has changed.
        """
        ...

    async def replace(self, cause: Cause) -> bool:
        """Keep it if its version is the one that is kept; 0 is the version of what is not kept."""
        ...

    async def forget(self, cause: Cause) -> None:
        """It is over, if its version is the one that is kept."""
        ...

    async def missing(self, limit: int) -> list[Record]:
        """Dead-lettered jobs of whose letters something was due, and nothing is kept; the longest due first."""
        ...

    async def tidy(self) -> int:
        """Forget the letters whose jobs somebody has settled or revived in the meantime; how many."""
        ...

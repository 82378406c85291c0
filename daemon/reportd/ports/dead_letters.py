"""The store of dead letters: those that wait for a redrive, and those that are quarantined."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reportd.core.dead_letters.redrive import Cause, RedriveOutcome
from reportd.core.jobs.job import Job
from reportd.core.status.snapshot import LetterGroup, LetterView
from reportd.ports.jobs import Record


class LetterStatus(StrEnum):
    """``underway``: the job is in the queue again; the letter is kept only for its counts and is not shown."""

    WAITING = "waiting"
    UNDERWAY = "underway"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A complete copy of a letter. ``id``: the task id of its job, or its own UUID if it has no job.

    ``cause``: the normalised detail of the signature. Times are seconds since the epoch; ``first_seen_at``: the job's
    first failure; ``due_at``: end of the cool-down. ``redrives``: those that count; ``returns``: while untried.
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
        """Return the letter as the status page shows it."""
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
    """The shown letters of one signature. ``examples``: the last ones."""

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
        """Return the group as the status page shows it."""
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
    """A cause and the state of its letters. ``due`` of the ``waiting`` ones are past their cool-down."""

    cause: Cause
    outcome: RedriveOutcome
    waiting: int
    due: int


@dataclass(frozen=True, slots=True)
class Redrive:
    """A dead-lettered job to requeue. ``own``: the redrive counts; ``job``: replaces the stored job."""

    task_id: str
    own: bool = True
    job: Job | None = None


OnQuarantined = Callable[[DeadLetter], None]
"""Called with each quarantined letter, on the node that quarantined it. Must neither block nor raise."""


class DeadLetters(Protocol):
    """The store of dead letters. It also moves jobs where both change together. All calls raise UnavailableError."""

    async def keep(self, letter: DeadLetter) -> bool:
        """Store a letter in place of the one with that id, whose ``first_seen_at`` stays.

        Return False without a change for a letter without a job that is stored already, and for one whose job is
        neither dead-lettered nor quarantined, unless it is ``underway``.
        """
        ...

    async def get(self, letter_id: str) -> DeadLetter | None: ...

    async def remove(self, letter_ids: Sequence[str]) -> int:
        """Delete letters; return how many existed."""
        ...

    async def groups(self, limit: int, before: tuple[float, str] | None = None) -> list[Group]:
        """Return groups, last seen first. ``before``: ``(last_seen_at, signature)`` of the previous page's last one."""
        ...

    async def group(self, signature: str) -> Group | None: ...

    async def members(self, signature: str, limit: int, before: tuple[float, str] | None = None) -> list[DeadLetter]:
        """Return the shown letters of a group, last seen first. ``before``: ``(last_seen_at, id)``."""
        ...

    async def causes(self, now: float, limit: int) -> list[CauseView]:
        """Return the causes with waiting or underway letters, those tried longest ago first."""
        ...

    async def due(self, cause: Cause, now: float, limit: int) -> list[DeadLetter]:
        """Return the waiting letters of a cause that are past their cool-down, those tried longest ago first."""
        ...

    async def overdue(self, before: float, limit: int) -> list[DeadLetter]:
        """Return the waiting letters whose first failure was before that time."""
        ...

    async def release(self, redrives: Sequence[Redrive], at: float, cause: Cause | None = None) -> list[Record] | None:
        """Requeue dead-lettered jobs in one transaction: ``queued``, their messages unconfirmed.

        Return the records of those that were still dead-lettered. With ``cause``, also store it with these as its wave;
        if its stored version differs, return None without a change.
        """
        ...

    async def replace(self, cause: Cause) -> bool:
        """Store the cause if the stored version is the same; 0 means that none is stored."""
        ...

    async def forget(self, cause: Cause) -> None:
        """Delete the cause if the stored version is the same."""
        ...

    async def missing(self, limit: int) -> list[Record]:
        """Return dead-lettered jobs whose letter is overdue and not stored; the longest due first."""
        ...

    async def tidy(self) -> int:
        """Delete the letters whose jobs were settled or revived meanwhile; return how many."""
        ...

"""The record of who did what to the daemon, and what it did by itself that an operator may ask about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed. ``at``: seconds since the epoch; ``actor``: a node, or who called.

    ``action`` is of a bounded set, e.g. ``breaker.tripped``; ``subject``: the report type or task it was done to.
    """

    at: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class Audit(Protocol):
    """Kept as long as the rows of jobs are, which nothing removes. Both calls raise UnavailableError."""

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Add them. The same action at the same instant, by one actor, to one subject, is one deed and kept once."""
        ...

    async def latest(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """Newest first; with ``subject`` only what was done to that."""
        ...

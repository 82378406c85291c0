"""The audit log: actions of callers, and the daemon's own actions that an operator may ask about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action. ``at``: seconds since the epoch; ``actor``: a node, or the caller.

    ``action`` is of a bounded set, e.g. ``breaker.tripped``; ``subject``: the report type or task concerned.
    """

    at: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class Audit(Protocol):
    """The audit log. Entries are kept as long as the rows of jobs. Both calls raise UnavailableError."""

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries. Entries with the same time, actor, action and subject are one, and are kept once."""
        ...

    async def latest(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """Return the newest entries first; with ``subject`` only those about it."""
        ...

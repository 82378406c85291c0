"""The store of the breakers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from reportd.core.breaker.breaker import Breaker


@dataclass(frozen=True, slots=True)
class StoredBreakers:
    """The stored breakers by report type, and the store's time ``at`` the read, in seconds since the epoch."""

    at: float
    breakers: Mapping[str, Breaker]


class BreakerStore(Protocol):
    """The store that all nodes share. Both calls raise UnavailableError."""

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        """Return the stored breakers of these report types."""
        ...

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:
        """Store the breaker if the stored version is still ``version``; 0 means that none is stored.

        ``durable``: wait until a standby has it, where there is one; UnavailableError if that is uncertain.
        """
        ...

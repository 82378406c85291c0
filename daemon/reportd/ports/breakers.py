"""The store of the breakers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from reportd.core.breaker.breaker import Breaker


@dataclass(frozen=True, slots=True)
class StoredBreakers:
    """What a store keeps, by report type, and its time when it was read: seconds since the epoch."""

    at: float
    breakers: Mapping[str, Breaker]


class BreakerStore(Protocol):
    """Where the breakers of all nodes are kept. Both calls raise UnavailableError."""

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        """Those of them that are kept."""
        ...

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:
        """Keep it if that version is still the one that is kept; 0 is the version of what is not kept.

        ``durable``: it outlives the server that took it, where others stand by; UnavailableError if that is not sure.
        """
        ...

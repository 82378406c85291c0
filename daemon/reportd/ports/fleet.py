"""The heartbeats of the nodes that share a database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a node. ``told``: its report. ``seen_at`` and ``age_seconds`` are by the store's clock."""

    node: str
    seen_at: float
    age_seconds: float
    told: Mapping[str, Any]


class Fleet(Protocol):
    """The store of heartbeats. All calls raise UnavailableError."""

    async def report(self, node: str, told: Mapping[str, Any]) -> None:
        """Store a heartbeat in place of the node's last one. ``told`` is JSON."""
        ...

    async def heartbeats(self) -> list[Heartbeat]:
        """Return the heartbeats of all nodes, by name."""
        ...

    async def leave(self, node: str) -> None:
        """Delete the heartbeat of a node that stops cleanly."""
        ...

    async def forget(self, older_than_seconds: float) -> None:
        """Delete heartbeats older than that."""
        ...

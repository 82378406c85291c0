"""The nodes that share a database, as each tells of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a node, and what it told. ``seen_at`` and ``age_seconds`` by the clock of the store."""

    node: str
    seen_at: float
    age_seconds: float
    told: Mapping[str, Any]


class Fleet(Protocol):
    """Where nodes leave signs of life. All calls raise UnavailableError."""

    async def report(self, node: str, told: Mapping[str, Any]) -> None:
        """In the place of the node's last sign. ``told`` is JSON."""
        ...

    async def signs(self) -> list[Heartbeat]:
        """Of all nodes, by name."""
        ...

    async def leave(self, node: str) -> None:
        """The node ends in good order."""
        ...

    async def forget(self, older_than_seconds: float) -> None:
        """Those that have given no sign for so long."""
        ...

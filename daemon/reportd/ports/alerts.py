"""Ports of the alerts: the store of incidents that all nodes share, and the channels."""

from collections.abc import Callable
from typing import Protocol

from reportd.core.alerts.incidents import Incident, Notice

Decide = Callable[[Incident | None, float], Incident | None]
"""Maps the stored incident (None: there is none) and the store's time to the one to store (None: delete it)."""


class AlertStore(Protocol):
    """The incidents by channel and signature, shared by all nodes. Both calls raise UnavailableError."""

    async def change(self, channel: str, signature: str, decide: Decide) -> Incident | None:
        """Apply ``decide`` to an incident atomically, and return the new one. It may be called several times."""
        ...

    async def due(self, channel: str, limit: int) -> tuple[list[str], float | None]:
        """Return the due signatures, and in how many seconds the next one is due; None when none is."""
        ...


class Channel(Protocol):
    """A way to send alerts."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """Send an alert. Raises DeliveryError or UnavailableError. The caller owns the timeout."""
        ...

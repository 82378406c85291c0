"""What alerts need: somewhere that all nodes keep what has been told, and channels to tell it."""

from collections.abc import Callable
from typing import Protocol

from reportd.core.alerts.incidents import Incident, Notice

Decide = Callable[[Incident | None, float], Incident | None]
"""The incident that is kept (None: there is none) and the store's time; the one to keep instead (None: forget it)."""


class AlertStore(Protocol):
    """What each channel knows of each cause, the same for all nodes. Both calls raise UnavailableError."""

    async def change(self, channel: str, signature: str, decide: Decide) -> Incident | None:
        """Apply it to what is kept, with nobody in between; what is kept now. ``decide`` may be called again."""
        ...

    async def due(self, channel: str, limit: int) -> tuple[list[str], float | None]:
        """The signatures of which something is due, and in how many seconds the next one is; None when none is."""
        ...


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """Raises DeliveryError or UnavailableError. The caller owns the timeout."""
        ...

"""Sessions that were ended before their expiry, shared by all nodes."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EndedSession:
    """An ended session of a token. An empty ``session`` means all of its sessions that began before ``at``.

    ``at`` is in seconds since the epoch.
    """

    token: str
    session: str
    at: float


class EndedSessions(Protocol):
    """The shared record of ended sessions. Both calls raise UnavailableError.

    It is bounded: an entry is kept until its ``until``, and a token has a limited number of entries; beyond it, all of
    the token's sessions are ended instead.
    """

    async def end(self, token: str, session: str, at: float, until: float) -> None:
        """End a session. ``until``: when every session begun before ``at`` has expired. Seconds since the epoch."""
        ...

    async def ended(self, at: float) -> list[EndedSession]:
        """Return the entries that are not over at ``at``."""
        ...

"""Logins that were ended before their time, on record for all nodes."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session of a token. Without ``session``: each one of the token's that was begun before ``at``, in seconds since
    the epoch.
    """

    token: str
    session: str
    at: float


class EndedSessions(Protocol):
    """Where all nodes look. Both calls raise UnavailableError.

    What is kept is bounded: an entry until its time, and of a token so many; when there are more, all its sessions are
    ended instead.
    """

    async def end(self, token: str, session: str, at: float, until: float) -> None:
        """``until``: no session that has begun before ``at`` counts longer anyway. Both in seconds since the epoch."""
        ...

    async def ended(self, at: float) -> list[EndedSession]:
        """Those whose time is not over yet."""
        ...

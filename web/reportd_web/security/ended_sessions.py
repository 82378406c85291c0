"""Knows the sessions that were ended early. Queries the database at most once a second, while cookies arrive."""

import time
from collections.abc import Callable

import trio

from reportd.concurrency.cached import Cached
from reportd.ports import EndedSession, EndedSessions, UnavailableError
from reportd_web.security.sessions import SESSION_SECONDS, SKEW_SECONDS, Session

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
"""Without an answer, the known ended sessions count: the page is needed most while something is unavailable."""


class EndedLogins:
    """``nursery``: where the database queries run."""

    def __init__(self, record: EndedSessions, nursery: trio.Nursery, clock: Callable[[], float] = time.time) -> None:
        self._record = record
        self._clock = clock
        self._query = Cached(
            "database", self._read, nursery, fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS
        )
        self._known: frozenset[EndedSession] = frozenset()
        self._sessions: frozenset[tuple[str, str]] = frozenset()
        self._tokens: dict[str, float] = {}

    async def refresh(self) -> None:
        """Read what other nodes have ended."""
        try:
            self._add(await self._query.get())
        except UnavailableError:
            return

    async def end(self, session: Session) -> None:
        """End the session on all nodes. Raises UnavailableError: then it has not ended."""
        now, name = self._clock(), session.token.name
        await self._record.end(name, session.id, now, now + SESSION_SECONDS + SKEW_SECONDS)
        self._query.forget()
        self._add(frozenset({EndedSession(name, session.id, now)}))

    def includes(self, session: Session) -> bool:
        """Return whether the session has ended, itself or with all sessions of its token."""
        name = session.token.name
        return (name, session.id) in self._sessions or session.begun_at <= self._tokens.get(name, 0.0)

    async def _read(self) -> frozenset[EndedSession]:
        return frozenset(await self._record.ended(self._clock()))

    def _add(self, more: frozenset[EndedSession]) -> None:
        """Add to the known ones: a query may have begun before the last ``end``. Drop those too old to matter."""
        if not more <= self._known:
            oldest = self._clock() - SESSION_SECONDS - SKEW_SECONDS
            known = self._known = frozenset(ended for ended in self._known | more if ended.at > oldest)
            self._sessions = frozenset((ended.token, ended.session) for ended in known if ended.session)
            self._tokens = {ended.token: ended.at for ended in known if not ended.session}

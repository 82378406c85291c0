"""Which logins were ended before their time. The database is asked once a second at most, while cookies come."""

import time
from collections.abc import Callable

import trio

from reportd.concurrency.cached import Cached
from reportd.ports import EndedSession, EndedSessions, UnavailableError
from reportd_web.security.sessions import SESSION_SECONDS, SKEW_SECONDS, Session

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
"""Where the database does not answer, what is known already counts: the page is needed most when something is away."""


class EndedLogins:
    """``nursery``: where it is looked."""

    def __init__(self, record: EndedSessions, nursery: trio.Nursery, clock: Callable[[], float] = time.time) -> None:
        self._record = record
        self._clock = clock
        self._looked = Cached(
            "database", self._look, nursery, fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS
        )
        self._known: frozenset[EndedSession] = frozenset()
        self._sessions: frozenset[tuple[str, str]] = frozenset()
        self._tokens: dict[str, float] = {}

    async def refresh(self) -> None:
        """Learn what other nodes have ended."""
        try:
            self._learn(await self._looked.get())
        except UnavailableError:
            return

    async def end(self, session: Session) -> None:
        """On all nodes. Raises UnavailableError: then it is not ended."""
        now, name = self._clock(), session.token.name
        await self._record.end(name, session.id, now, now + SESSION_SECONDS + SKEW_SECONDS)
        self._looked.forget()
        self._learn(frozenset({EndedSession(name, session.id, now)}))

    def includes(self, session: Session) -> bool:
        name = session.token.name
        return (name, session.id) in self._sessions or session.begun_at <= self._tokens.get(name, 0.0)

    async def _look(self) -> frozenset[EndedSession]:
        return frozenset(await self._record.ended(self._clock()))

    def _learn(self, more: frozenset[EndedSession]) -> None:
        """What was known stays known, in case that look began earlier; until no session can be so old."""
        if not more <= self._known:
            oldest = self._clock() - SESSION_SECONDS - SKEW_SECONDS
            known = self._known = frozenset(one for one in self._known | more if one.at > oldest)
            self._sessions = frozenset((one.token, one.session) for one in known if one.session)
            self._tokens = {one.token: one.at for one in known if not one.session}

"""Requests that wait for something to happen: long polls, event streams. Each holds a connection: they are counted."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from starlette.types import Scope

from reportd_web.http.problems import ProblemError
from reportd_web.security.actor import caller
from reportd_web.security.guard import LATER


class Waits:
    """At most ``most`` in all, and half of that of one caller: of a token, or of an address where none are used."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._most_of_one = max(1, most // 2)
        self._callers: Counter[str] = Counter()

    @contextmanager
    def one(self, scope: Scope) -> Iterator[None]:
        """Around the wait. Raises ProblemError (429 or 503) when there are too many already."""
        who = caller(scope)
        if self._callers[who] >= self._most_of_one:
            detail = f"{self._most_of_one} requests of yours are waiting already (half of what waits in all)"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=LATER)
        if self._callers.total() >= self._most:
            detail = f"{self._most} requests are waiting already (half of http.max_connections)"
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=LATER)
        self._callers[who] += 1
        try:
            yield
        finally:
            self._callers[who] -= 1
            if not self._callers[who]:
                del self._callers[who]

"""Limits the requests that wait, each of which holds a connection: long polls and event streams."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from starlette.types import Scope

from reportd_web.http.problems import ProblemError
from reportd_web.security.actor import caller
from reportd_web.security.guard import LATER


class WaitLimit:
    """Allows ``most`` in total, and half of that for each caller: a token, or an address when none are used."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._most_per_caller = max(1, most // 2)
        self._callers: Counter[str] = Counter()

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[None]:
        """Count a request for the block. Raises ProblemError (429 or 503) at a limit."""
        key = caller(scope)
        if self._callers[key] >= self._most_per_caller:
            detail = f"{self._most_per_caller} of your requests are waiting already (half of the total limit)"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=LATER)
        if self._callers.total() >= self._most:
            detail = f"{self._most} requests are waiting already (half of http.max_connections)"
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=LATER)
        self._callers[key] += 1
        try:
            yield
        finally:
            self._callers[key] -= 1
            if not self._callers[key]:
                del self._callers[key]

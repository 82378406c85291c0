"""Limits the bytes of request bodies in memory. A body stays in memory until its request is answered."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from starlette.types import Scope

from reportd.ports import INLINE_BYTES
from reportd_web.http.problems import ProblemError
from reportd_web.security.actor import caller
from reportd_web.security.guard import LATER

MOST_BYTES = 64 * 1024 * 1024

FREE_BYTES = INLINE_BYTES
"""Bodies up to this size are not counted, so they are accepted despite many large ones: an idle connection takes more
memory.
"""


class BodyLimit:
    """Limits all bodies to MOST_BYTES, and those of one caller to a quarter. The limits rise so that one caller can
    send a body of ``max_body_bytes``, and two fit in total.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._most = max(MOST_BYTES, 2 * max_body_bytes)
        self._most_per_caller = max(MOST_BYTES // 4, max_body_bytes)
        self._callers: Counter[str] = Counter()

    @property
    def held_bytes(self) -> int:
        return self._callers.total()

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Callable[[int], None]]:
        """Hold a body for the block. Call the yielded function with the body's size as it grows.

        That function raises ProblemError (429 or 503) when the size exceeds a limit.
        """
        key, counted = caller(scope), 0

        def count_bytes(size: int) -> None:
            nonlocal counted
            if size <= FREE_BYTES:
                return
            more = size - counted
            if self._callers[key] + more > self._most_per_caller:
                raise _problem(HTTPStatus.TOO_MANY_REQUESTS, f"{self._most_per_caller} bytes of your requests")
            if self.held_bytes + more > self._most:
                raise _problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._most} bytes of requests")
            self._callers[key] += more
            counted = size

        try:
            yield count_bytes
        finally:
            self._callers[key] -= counted
            if not self._callers[key]:
                del self._callers[key]


def _problem(status: HTTPStatus, amount: str) -> ProblemError:
    detail = f"{amount} are being handled already; a body of at most {FREE_BYTES} bytes is still accepted"
    return ProblemError(status, detail, headers={**LATER, "Connection": "close"})

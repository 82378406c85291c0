"""Bodies that are read or worked on. Each is in memory until its request is answered: their bytes are counted."""

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
"""A body of this size is not counted, so that it is accepted however many large ones there are: a connection that sends
nothing takes more.
"""


class Bodies:
    """MOST_BYTES in all, a quarter of it of one caller; but more where a single body may be as large as that."""

    def __init__(self, max_body_bytes: int) -> None:
        self._most = max(MOST_BYTES, 2 * max_body_bytes)
        self._most_of_one = max(MOST_BYTES // 4, max_body_bytes)
        self._callers: Counter[str] = Counter()

    @property
    def held_bytes(self) -> int:
        return self._callers.total()

    @contextmanager
    def one(self, scope: Scope) -> Iterator[Callable[[int], None]]:
        """Around the reading of a body and what is done with it.

        To be called with the size, whenever there is more of it: raises ProblemError (429 or 503) when it's too much.
        """
        who, counted = caller(scope), 0

        def grown(size: int) -> None:
            nonlocal counted
            if size <= FREE_BYTES:
                return
            more = size - counted
            if self._callers[who] + more > self._most_of_one:
                raise _refused(HTTPStatus.TOO_MANY_REQUESTS, f"{self._most_of_one} bytes of your requests")
            if self.held_bytes + more > self._most:
                raise _refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._most} bytes of requests")
            self._callers[who] += more
            counted = size

        try:
            yield grown
        finally:
            self._callers[who] -= counted
            if not self._callers[who]:
                del self._callers[who]


def _refused(status: HTTPStatus, what: str) -> ProblemError:
    detail = f"{what} are in hand already; one of at most {FREE_BYTES} bytes is accepted all the same"
    return ProblemError(status, detail, headers={**LATER, "Connection": "close"})

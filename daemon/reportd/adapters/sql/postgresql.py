"""A PostgreSQL connection that gives up on a server that accepted a statement but does not answer."""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from reportd.adapters.sql.engines import ANSWER_SECONDS

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """``answer_seconds``: limit of one round trip to the server; None for no limit."""

    answer_seconds: float | None = ANSWER_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does; every statement goes through here. After a timeout the connection is closed, because
        its state is unknown. Raises psycopg.OperationalError.
        """
        if timeout is not None or self.answer_seconds is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 - named in the documentation of `wait`
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.answer_seconds:g} s") from None

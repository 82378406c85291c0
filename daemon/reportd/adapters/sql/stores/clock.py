"""The clock that all nodes of a database share: this machine's on SQLite, the server's on PostgreSQL."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Double, cast, extract, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Clock(FunctionElement[float]):
    """The time of ``now``, inside a statement."""

    type = Double()
    inherit_cache = True


@compiles(_Clock)
def _on_server(_element: _Clock, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(_Clock, "sqlite")
def _on_sqlite(_element: _Clock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


CLOCK = _Clock()

_SERVER_TIME = select(cast(extract("epoch", func.clock_timestamp()), Double))


def now(connection: Connection) -> float:
    """Return the time in seconds since the epoch."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(_SERVER_TIME).scalar_one())


def clock_or_database(clock: Callable[[], float] | None) -> Callable[[Connection], float]:
    """Return ``now``, or ``clock`` in its place where a test gives one."""
    return now if clock is None else lambda _: clock()

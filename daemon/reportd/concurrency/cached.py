"""Caches the last result of an expensive call for any number of callers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
import trio

from reportd.concurrency.supervisor import error_text
from reportd.ports import UnavailableError

DUTY_FACTOR = 50.0
"""Wait 50 times the duration of a query before repeating it, so that counting uses at most 2 % of the time."""

T = TypeVar("T")

log = structlog.get_logger()


class Cached(Generic[T]):
    """Runs ``query`` only on demand, and at most once in ``fresh_seconds``, for any number of callers.

    A caller waits at most until ``patience_seconds`` after the query began. A query that hangs goes on in ``nursery``,
    and no other one begins meanwhile; the error then names ``part``. After a query, the next one waits for
    ``duty_factor`` times its duration, so that queries take a bounded share of the time.
    """

    def __init__(
        self,
        part: str,
        query: Callable[[], Awaitable[T]],
        nursery: trio.Nursery,
        *,
        fresh_seconds: float,
        patience_seconds: float,
        duty_factor: float = 0.0,
    ) -> None:
        self._part = part
        self._query = query
        self._nursery = nursery
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._duty_factor = duty_factor
        self._last: _Query[T] | None = None

    async def get(self) -> T:
        """Return the result. Raises UnavailableError when there is none in time, or when the query failed."""
        now = trio.current_time()
        last = self._last
        if last is None or (last.ended.is_set() and last.fresh_until <= now):
            last = self._last = _Query(now)
            self._nursery.start_soon(self._run, last)
        with trio.move_on_at(last.started_at + self._patience_seconds):
            await last.ended.wait()
        if not last.ended.is_set():
            raise UnavailableError(self._part, f"no answer for {trio.current_time() - last.started_at:.1f} s")
        if last.error is not None:
            raise last.error
        return last.results[0]

    def forget(self) -> None:
        """Make the next ``get`` run a new query."""
        self._last = None

    async def _run(self, query: "_Query[T]") -> None:
        try:
            query.results.append(await self._query())
        except UnavailableError as error:
            query.error = error
        except Exception as error:
            # Callers handle UnavailableError: they leave the value out and say why.
            log.exception("look.failed", part=self._part)
            query.error = UnavailableError(self._part, error_text(error))
        took_seconds = trio.current_time() - query.started_at
        query.fresh_until = query.started_at + max(self._fresh_seconds, took_seconds * (1 + self._duty_factor))
        query.ended.set()


@dataclass(eq=False, slots=True)
class _Query(Generic[T]):
    """One run of the query. ``results`` is empty until it has succeeded."""

    started_at: float
    fresh_until: float = 0.0
    results: list[T] = field(default_factory=list)
    error: UnavailableError | None = None
    ended: trio.Event = field(default_factory=trio.Event)

"""The last answer of a call that costs something, for any number of people who want to know."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
import trio

from reportd.concurrency.supervisor import in_words
from reportd.ports import UnavailableError

DUTY_FACTOR = 50.0
"""Wait 50 times the duration of a query before repeating it, so that counting uses at most 2 % of the time."""

T = TypeVar("T")

log = structlog.get_logger()


class Cached(Generic[T]):
    """``look`` is asked once in ``fresh_seconds`` at most, however many want to know, and only if somebody does.

    Nobody waits longer than until ``patience_seconds`` after the question. A look that hangs goes on in ``nursery``,
    and no other one is begun meanwhile. ``part`` is what is away then. After a look there is none for ``duty_factor``
    times as long as it took, so that it takes a bounded share of the time.
    """

    def __init__(
        self,
        part: str,
        look: Callable[[], Awaitable[T]],
        nursery: trio.Nursery,
        *,
        fresh_seconds: float,
        patience_seconds: float,
        duty_factor: float = 0.0,
    ) -> None:
        self._part = part
        self._look = look
        self._nursery = nursery
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._duty_factor = duty_factor
        self._last: _Look[T] | None = None

    async def get(self) -> T:
        """The answer. Raises UnavailableError when there is none in time, or the look failed, for whatever reason."""
        now = trio.current_time()
        last = self._last
        if last is None or (last.ended.is_set() and last.fresh_until <= now):
            last = self._last = _Look(now)
            self._nursery.start_soon(self._ask, last)
        with trio.move_on_at(last.asked_at + self._patience_seconds):
            await last.ended.wait()
        if not last.ended.is_set():
            raise UnavailableError(self._part, f"no answer for {trio.current_time() - last.asked_at:.1f} s")
        if last.error is not None:
            raise last.error
        return last.answer[0]

    def forget(self) -> None:
        """Whoever asks from now on gets what is seen from now on."""
        self._last = None

    async def _ask(self, look: "_Look[T]") -> None:
        try:
            look.answer.append(await self._look())
        except UnavailableError as error:
            look.error = error
        except Exception as error:
            # Whoever wants to know leaves out what can't be had, and says why.
            log.exception("look.failed", part=self._part)
            look.error = UnavailableError(self._part, in_words(error))
        took_seconds = trio.current_time() - look.asked_at
        look.fresh_until = look.asked_at + max(self._fresh_seconds, took_seconds * (1 + self._duty_factor))
        look.ended.set()


@dataclass(eq=False, slots=True)
class _Look(Generic[T]):
    asked_at: float
    fresh_until: float = 0.0
    answer: list[T] = field(default_factory=list)
    error: UnavailableError | None = None
    ended: trio.Event = field(default_factory=trio.Event)

"""The last answer of a call that costs something, for any number of people who want to know."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from reportd.ports import UnavailableError

T = TypeVar("T")


class Remembered(Generic[T]):
    """``look`` is asked once in ``fresh_seconds`` at most, however many want to know, and only if somebody does.

    Nobody waits longer than until ``patience_seconds`` after the question. A look that hangs goes on in ``nursery``,
    and no other one is begun meanwhile. ``part`` is what is away then.
    """

    def __init__(
        self,
        part: str,
        look: Callable[[], Awaitable[T]],
        nursery: trio.Nursery,
        *,
        fresh_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._part = part
        self._look = look
        self._nursery = nursery
        self._fresh_seconds = fresh_seconds
        self._patience_seconds = patience_seconds
        self._asked_at = 0.0
        self._answered: trio.Event | None = None
        self._answer: list[T] = []
        self._error: Exception | None = None

    async def get(self) -> T:
        """The answer. Raises UnavailableError when there is none in time, and what the look raised."""
        now = trio.current_time()
        looking = self._answered is not None and not self._answered.is_set()
        if self._answered is None or (not looking and self._asked_at + self._fresh_seconds <= now):
            self._asked_at, self._answered = now, trio.Event()
            self._nursery.start_soon(self._ask, self._answered)
        answered = self._answered
        with trio.move_on_at(self._asked_at + self._patience_seconds):
            await answered.wait()
        if not answered.is_set():
            raise UnavailableError(self._part, f"no answer for {trio.current_time() - self._asked_at:.1f} s")
        if self._error is not None:
            raise self._error
        return self._answer[0]

    async def _ask(self, answered: trio.Event) -> None:
        try:
            self._answer, self._error = [await self._look()], None
        except Exception as error:  # noqa: BLE001 - raised to whoever wants to know
            self._error = error
        answered.set()

"""What befalls the calls to a fake."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from reportd.ports import UnavailableError


class Weather:
    """What befalls the calls to the fakes that share it.

    ``hook`` is awaited before and after each call takes effect, with its name and "before" or "after".
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hook: Callable[[str, str], Awaitable[None]] | None = None
        self._away_until: dict[str, float] = {}
        self._errors: dict[str, list[Exception]] = defaultdict(list)

    def away(self, part: str, seconds: float) -> None:
        """Every call to this part fails for so long."""
        self._away_until[part] = trio.current_time() + seconds

    def fail(self, call: str, *errors: Exception) -> None:
        """The next calls of this name fail with these."""
        self._errors[call] += errors

    @asynccontextmanager
    async def call(self, part: str, name: str) -> AsyncIterator[None]:
        """Around what a call does."""
        full = f"{part}.{name}"
        self.calls.append(full)
        await trio.lowlevel.checkpoint()
        if self.hook is not None:
            await self.hook(full, "before")
        if trio.current_time() < self._away_until.get(part, 0.0):
            raise UnavailableError(part, "it is away")
        if self._errors[full]:
            raise self._errors[full].pop(0)
        yield
        if self.hook is not None:
            await self.hook(full, "after")

    def kill_at(self, number: int, phase: str) -> trio.Event:
        """From the so-manieth call on nobody gets any further: its process is dead. The event tells when."""
        killed, calls = trio.Event(), 0

        async def hook(_call: str, when: str) -> None:
            nonlocal calls
            calls += when == phase
            if calls == number:
                killed.set()
            if killed.is_set():
                await trio.sleep_forever()

        self.hook = hook
        return killed

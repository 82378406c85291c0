"""Circuit breakers in memory, for a single node."""

import time
from collections.abc import Callable, Collection

import trio

from reportd.core.breaker.breaker import Breaker
from reportd.ports import StoredBreakers


class MemoryBreakers:
    """Implements ``ports.BreakerStore``. ``clock``: seconds since the epoch; by default monotonic."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        start = time.time() - trio.current_time()
        self._clock = clock or (lambda: start + trio.current_time())
        self._breakers: dict[str, Breaker] = {}

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        await trio.lowlevel.checkpoint()
        breakers = {name: self._breakers[name] for name in report_types if name in self._breakers}
        return StoredBreakers(self._clock(), breakers)

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        stored = self._breakers.get(breaker.report_type)
        if version != (stored.version if stored else 0):
            return False
        self._breakers[breaker.report_type] = breaker
        return True

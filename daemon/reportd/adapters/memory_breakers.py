"""The breakers of a daemon that shares them with nobody."""

import time
from collections.abc import Callable, Collection

import trio

from reportd.core.breaker.breaker import Breaker
from reportd.ports import StoredBreakers


class MemoryBreakers:
    """Gone with the process. ``clock`` gives seconds since the epoch; by default one that nobody can set."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        start = time.time() - trio.current_time()
        self._clock = clock or (lambda: start + trio.current_time())
        self._breakers: dict[str, Breaker] = {}

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        await trio.lowlevel.checkpoint()
        found = {name: self._breakers[name] for name in report_types if name in self._breakers}
        return StoredBreakers(self._clock(), found)

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        kept = self._breakers.get(breaker.report_type)
        if version != (kept.version if kept else 0):
            return False
        self._breakers[breaker.report_type] = breaker
        return True

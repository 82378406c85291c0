"""The nodes' signs of life, in memory."""

from collections.abc import Mapping
from typing import Any

import trio

from reportd.ports import Heartbeat
from tests.fakes.clock import EPOCH
from tests.fakes.weather import Weather


class MemoryFleet:
    """Implements ``ports.Fleet``."""

    def __init__(self, weather: Weather | None = None) -> None:
        self._weather = weather or Weather()
        self._told: dict[str, tuple[float, Mapping[str, Any]]] = {}

    async def report(self, node: str, told: Mapping[str, Any]) -> None:
        async with self._weather.call("fleet", "report"):
            self._told[node] = (trio.current_time(), told)

    async def heartbeats(self) -> list[Heartbeat]:
        async with self._weather.call("fleet", "signs"):
            now = trio.current_time()
            return [Heartbeat(node, EPOCH + at, now - at, told) for node, (at, told) in sorted(self._told.items())]

    async def leave(self, node: str) -> None:
        async with self._weather.call("fleet", "leave"):
            self._told.pop(node, None)

    async def forget(self, older_than_seconds: float) -> None:
        async with self._weather.call("fleet", "forget"):
            before = trio.current_time() - older_than_seconds
            self._told = {node: (at, told) for node, (at, told) in self._told.items() if at >= before}

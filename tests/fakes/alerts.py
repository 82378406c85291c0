"""An alert store in memory, and a channel that does what its script says."""

from collections.abc import Callable

import trio

from reportd.core.alerts.incidents import Incident, Notice
from reportd.ports import Decide, DeliveryError
from tests.fakes.clock import now
from tests.fakes.weather import Weather


class MemoryAlerts:
    """Implements ``ports.AlertStore``."""

    def __init__(self, weather: Weather | None = None, clock: Callable[[], float] = now) -> None:
        self.incidents: dict[tuple[str, str], Incident] = {}
        self._weather = weather or Weather()
        self._clock = clock

    async def change(self, channel: str, signature: str, decide: Decide) -> Incident | None:
        async with self._weather.call("alerts", "change"):
            key = channel, signature.replace("\0", "\ufffd")
            after = decide(self.incidents.get(key), self._clock())
            if after is None:
                self.incidents.pop(key, None)
            else:
                self.incidents[key] = after
            return after

    async def due(self, channel: str, limit: int) -> tuple[list[str], float | None]:
        async with self._weather.call("alerts", "due"):
            waiting = [(incident.due_at, name) for (of, name), incident in self.incidents.items() if of == channel]
            known = sorted((due_at, name) for due_at, name in waiting if due_at < float("inf"))
            if not known:
                return [], None
            at = self._clock()
            return [name for due_at, name in known if due_at <= at][:limit], max(0.0, known[0][0] - at)


class FakeChannel:
    """Implements ``ports.Channel``. ``what``: ``ok``, ``fail``, ``hang`` or ``break``, which is a bug."""

    def __init__(self, name: str = "webhook", what: str = "ok") -> None:
        self.name = name
        self.what = what
        self.tried: list[tuple[float, Notice]] = []
        self.sent: list[tuple[float, Notice]] = []

    async def send(self, notice: Notice) -> None:
        self.tried.append((trio.current_time(), notice))
        await trio.lowlevel.checkpoint()
        match self.what:
            case "fail":
                raise DeliveryError("it answers 503")
            case "hang":
                await trio.sleep_forever()
            case "break":
                raise RuntimeError("s3cret")
        self.sent.append((trio.current_time(), notice))

    @property
    def alerts(self) -> list[Notice]:
        return [notice for _, notice in self.sent if not notice.recovered]

    @property
    def recoveries(self) -> list[Notice]:
        return [notice for _, notice in self.sent if notice.recovered]

"""A messenger that does what its script says, and remembers what it was given."""

import trio

from reportd.ports import Callback, DeliveryError


class FakeMessenger:
    """Implements ``ports.Messenger``. ``hosts``: what is done there, ``ok`` if nothing is said.

    ``fail``, ``refuse`` or ``hang``, or ``break``, which is a bug.
    """

    def __init__(self, **hosts: str) -> None:
        self.hosts = {name.replace("_", "."): what for name, what in hosts.items()}
        self.tried: list[tuple[float, Callback]] = []
        self.delivered: list[Callback] = []
        self.under_way = 0
        self.most_under_way = 0

    async def deliver(self, callback: Callback) -> None:
        self.tried.append((trio.current_time(), callback))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await trio.lowlevel.checkpoint()
            await self._do(self.hosts.get(callback.host.partition(":")[0], "ok"))
        finally:
            self.under_way -= 1
        self.delivered.append(callback)

    async def _do(self, what: str) -> None:
        match what:
            case "fail":
                raise DeliveryError("the receiver answers 503")
            case "refuse":
                raise DeliveryError("refused: not there", final=True)
            case "hang":
                await trio.sleep_forever()
            case "break":
                raise RuntimeError("s3cret")

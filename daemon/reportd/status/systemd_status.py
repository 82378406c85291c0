"""What the daemon does and what troubles it, in a line: for ``systemctl status``."""

from collections.abc import Callable

import trio

from reportd.breakers.manager import Breakers
from reportd.browsers.pool import Pool
from reportd.work.in_flight import InFlightTasks
from reportd.work.poller import Poller

LOOK_SECONDS = 1.0


class StatusLine:
    """``ailing``: what ails the parts from outside. ``reloaded``: what the last reload could not do, else empty."""

    def __init__(
        self,
        *,
        url: str,
        pool: Pool,
        poller: Poller,
        ailing: Callable[[], list[str]],
        breakers: Breakers,
        in_flight: InFlightTasks,
        stop: trio.Event,
        reloaded: Callable[[], str],
    ) -> None:
        self._url = url
        self._pool = pool
        self._poller = poller
        self._ailing = ailing
        self._breakers = breakers
        self._in_flight = in_flight
        self._stop = stop
        self._reloaded = reloaded

    def line(self) -> str:
        in_flight = len(self._in_flight)
        if self._stop.is_set():
            return f"draining: {_count(in_flight, 'job')} in hand"
        pool = self._pool.state()
        doing = [
            f"serving {self._url}",
            f"{pool.busy} of {pool.slots} slots busy",
            f"{_count(in_flight, 'job')} in hand",
            *([f"resting: {', '.join(sorted(resting))}"] if (resting := self._breakers.resting()) else []),
        ]
        troubles = (
            pool.trouble,
            self._poller.trouble,
            *self._ailing(),
            self._breakers.trouble,
            self._reloaded(),
        )
        return "; ".join([", ".join(doing), *(trouble for trouble in troubles if trouble)])


async def report_status(line: Callable[[], str], notify: Callable[[str], bool]) -> None:
    """Tell the line whenever it is another one, once a second at most; again while ``notify`` says that it failed."""
    told = ""
    while True:
        now = " ".join(line().split())  # in sd_notify(3) a line break ends the field
        if now != told and notify(f"STATUS={now}"):
            told = now
        await trio.sleep(LOOK_SECONDS)


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"

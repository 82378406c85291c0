"""The line that ``systemctl status`` shows: what the daemon does, and its troubles."""

from collections.abc import Callable

import trio

from reportd.breakers.manager import Breakers
from reportd.browsers.pool import Pool
from reportd.work.in_flight import InFlightTasks
from reportd.work.poller import Poller

LOOK_SECONDS = 1.0


class StatusLine:
    """``part_trouble``: of the outside parts. ``reloaded``: what the last reload could not do, or empty."""

    def __init__(
        self,
        *,
        url: str,
        pool: Pool,
        poller: Poller,
        part_trouble: Callable[[], list[str]],
        breakers: Breakers,
        in_flight: InFlightTasks,
        stop: trio.Event,
        reloaded: Callable[[], str],
    ) -> None:
        self._url = url
        self._pool = pool
        self._poller = poller
        self._part_trouble = part_trouble
        self._breakers = breakers
        self._in_flight = in_flight
        self._stop = stop
        self._reloaded = reloaded

    def line(self) -> str:
        in_flight = len(self._in_flight)
        if self._stop.is_set():
            return f"draining: {_count(in_flight, 'job')} in hand"
        pool = self._pool.state()
        activities = [
            f"serving {self._url}",
            f"{pool.busy} of {pool.slots} slots busy",
            f"{_count(in_flight, 'job')} in hand",
            *([f"held by breakers: {', '.join(sorted(types))}"] if (types := self._breakers.resting()) else []),
        ]
        troubles = (
            pool.trouble,
            self._poller.trouble,
            *self._part_trouble(),
            self._breakers.trouble,
            self._reloaded(),
        )
        return "; ".join([", ".join(activities), *(trouble for trouble in troubles if trouble)])


async def report_status(line: Callable[[], str], notify: Callable[[str], bool]) -> None:
    """Send the line when it changes, at most once a second. Repeat it while ``notify`` returns False."""
    sent = ""
    while True:
        current = " ".join(line().split())  # a line break would end the field (sd_notify(3))
        if current != sent and notify(f"STATUS={current}"):
            sent = current
        await trio.sleep(LOOK_SECONDS)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

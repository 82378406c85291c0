"""Checks that the event loop turns: a task records the time at every tick, and its delay is the loop's lag.

A blocked loop can't report itself. So the task also notifies systemd, which restarts a silent daemon (sd_notify(3),
WATCHDOG=1). An HTTP probe gets no answer meanwhile, and learns the reason from its next one.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.ports import Meter
from reportd.system import sd_notify

log = structlog.get_logger()

TICK_SECONDS = 0.5

LIMIT_SECONDS = 5.0
"""Longer than any pause of a loaded machine; shorter than a long poll and the visibility timeout, at least 30 s."""

MEMORY_SECONDS = 5.0
"""How long a standstill is reported after its end, so that a probe that waited through it sees the reason."""


class Watchdog:
    """Made by ``open_watchdog``. ``feed_seconds``: interval of the notifications to systemd; None for none."""

    def __init__(self, meter: Meter, notify: Callable[[str], object], feed_seconds: float | None) -> None:
        self._meter = meter
        self._notify = notify
        self._feed_seconds = feed_seconds
        self._tick_seconds = TICK_SECONDS if feed_seconds is None else min(TICK_SECONDS, feed_seconds / 4)
        self._stamp = trio.current_time()
        self._stood_seconds = 0.0
        self._stood_until = float("-inf")

    def trouble(self) -> str:
        """Return why the process is not healthy; empty while it is."""
        now = trio.current_time()
        age = now - self._stamp
        if age > LIMIT_SECONDS:
            return f"the event loop has not turned for {age:.1f} s"
        if now < self._stood_until + MEMORY_SECONDS:
            return (
                f"the event loop stood still for {self._stood_seconds:.1f} s, until {now - self._stood_until:.1f} s ago"
            )
        return ""

    async def run(self) -> None:
        feed_at = trio.current_time()
        while True:
            due = trio.current_time() + self._tick_seconds
            await trio.sleep_until(due)
            self._stamp = now = trio.current_time()
            self._meter.loop_lag(now - due)
            if now - due > LIMIT_SECONDS:
                self._stood_seconds, self._stood_until = now - due, now
                log.error("event_loop.stood_still", seconds=round(now - due, 3))
            elif self._feed_seconds is not None and now >= feed_at:
                feed_at = now + self._feed_seconds
                self._notify("WATCHDOG=1")


@asynccontextmanager
async def open_watchdog(meter: Meter, supervisor: Supervisor) -> AsyncIterator[Watchdog]:
    """Run a watchdog for the block. Open it first: systemd expects notifications until the very end."""
    limit_seconds = sd_notify.watchdog_seconds()
    # Half of systemd's limit, as sd_watchdog_enabled(3) recommends.
    watchdog = Watchdog(meter, sd_notify.notify, None if limit_seconds is None else limit_seconds / 2)
    async with open_background() as nursery:
        nursery.start_soon(supervisor.keep, "watchdog", watchdog.run)
        yield watchdog

"""Tracks whether an outside part works, by its last uses, and by probes after one has failed.

Without probes, a failed part that is not used would stay failed for ever, and an unused one would count as working. So
each part is probed at the start and while it is in trouble. Otherwise its uses are enough.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.concurrency.signal import Signal
from reportd.ports import UnavailableError

PROBE_SECONDS = 2.0
"""Interval of the probes of a part in trouble."""

PATIENCE_SECONDS = 5.0
"""A part that has not answered a probe by then is in trouble."""

log = structlog.get_logger()


class Condition:
    """The condition of one part.

    ``calm_seconds``: a successful probe counts only this long after the last failed use, where a probe does less than a
    use.
    """

    def __init__(self, part: str, probe: Callable[[], Awaitable[object]], calm_seconds: float = 0.0) -> None:
        self._part = part
        self._probe = probe
        self._calm_seconds = calm_seconds
        self._troubles: dict[str, str] = {}
        self._failures = 0
        self._failed_at = 0.0
        self._failed = Signal()

    @property
    def trouble(self) -> str:
        """Why it does not work; empty while it does."""
        return "; ".join(dict.fromkeys(self._troubles.values()))

    def failed(self, use: str, reason: str) -> None:
        """Record that a ``use`` of it failed, such as ``reads`` or ``writes``."""
        if not self._troubles:
            log.warning("part.in_trouble", part=self._part, use=use, error=reason)
        self._troubles[use] = reason
        self._failures += 1
        self._failed_at = trio.current_time()
        self._failed.notify()

    async def look(self) -> None:
        """Probe the part once."""
        failures = self._failures
        reason = f"{self._part}: no answer to a probe within {PATIENCE_SECONDS:g} s"
        with trio.move_on_after(PATIENCE_SECONDS):
            try:
                await self._probe()
            except UnavailableError as error:
                reason = str(error)
            else:
                reason = ""
        if reason:
            self.failed("probe", reason)
        elif self._troubles and failures == self._failures and self._is_calm():
            log.info("part.works_again", part=self._part)
            self._troubles.clear()

    def _is_calm(self) -> bool:
        return trio.current_time() >= self._failed_at + self._calm_seconds

    async def run(self) -> None:
        """Probe the part whenever it is in trouble, until cancelled."""
        while True:
            if not self._troubles:
                await self._failed.wait()
            await trio.sleep(PROBE_SECONDS)
            await self.look()

"""How a part from outside is: as its last uses say, and while they say that it is in trouble, as a probe says.

A part that nobody uses while it is in trouble would stay so for ever, and one that nobody has used yet would pass for
well. So each is probed at the start and in trouble; while all is well, its uses are probes enough.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.concurrency.signal import Signal
from reportd.ports import UnavailableError

PROBE_SECONDS = 2.0
"""The pause between two probes of a part in trouble."""

PATIENCE_SECONDS = 5.0
"""What has not answered a probe by then is in trouble."""

log = structlog.get_logger()


class Condition:
    """Of one part. ``calm_seconds``: how long no use may have failed before a probe that is less than a use counts."""

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
        """What ails it, in words; empty while nothing does."""
        return "; ".join(dict.fromkeys(self._troubles.values()))

    def failed(self, use: str, why: str) -> None:
        """Tell that a use of it failed because it is away or can't do it: ``reads``, ``writes``."""
        if not self._troubles:
            log.warning("part.in_trouble", part=self._part, use=use, error=why)
        self._troubles[use] = why
        self._failures += 1
        self._failed_at = trio.current_time()
        self._failed.notify()

    async def look(self) -> None:
        """Probe it once."""
        failures = self._failures
        why = f"{self._part}: no answer to a probe within {PATIENCE_SECONDS:g} s"
        with trio.move_on_after(PATIENCE_SECONDS):
            try:
                await self._probe()
            except UnavailableError as error:
                why = str(error)
            else:
                why = ""
        if why:
            self.failed("probe", why)
        elif self._troubles and failures == self._failures and self._is_calm():
            log.info("part.works_again", part=self._part)
            self._troubles.clear()

    def _is_calm(self) -> bool:
        return trio.current_time() >= self._failed_at + self._calm_seconds

    async def run(self) -> None:
        """Probe it for as long as it is in trouble, whenever it is."""
        while True:
            if not self._troubles:
                await self._failed.wait()
            await trio.sleep(PROBE_SECONDS)
            await self.look()

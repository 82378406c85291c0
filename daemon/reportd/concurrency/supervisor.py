"""The one policy for background work: what fails for a reason that nobody foresaw is logged, told and tried again.

A loop that ended the daemon would take the jobs in hand with it, and one that ended quietly would be missed by nobody.
So each runs under ``Supervisor.keep``. What a loop foresees, such as a part that is away, it deals with itself.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from reportd.concurrency.nurseries import sole_exception
from reportd.core.status.snapshot import Trouble
from reportd.ports import UnavailableError

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 15.0
"""The pause before work is tried again doubles from the first to this."""

AWAY_SECONDS = 1.0
"""The pause where something from outside was away."""

CALM_SECONDS = 10.0
"""Work that has gone on for so long since it was tried again is out of trouble."""

WORDS = 200

log = structlog.get_logger()


class Startable(Protocol):
    """Work that says when it has started, as ``trio.Nursery.start`` wants it."""

    async def __call__(self, *, task_status: trio.TaskStatus[Any]) -> None: ...


class Supervisor:
    """One a daemon. ``clock`` is that of the page."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    def troubles(self) -> tuple[Trouble, ...]:
        """What fails now, by the part's name."""
        return tuple(one.trouble for _, one in sorted(self._failing.items()) if not one.calm())

    def trouble(self, part: str) -> str:
        """Why that part fails, in words; empty while it does not."""
        one = self._failing.get(part)
        return "" if one is None or one.calm() else one.trouble.error

    def failed(self, part: str, error: str) -> float:
        """Tell that it did; for how long to leave it."""
        before = self._failing.get(part)
        since, tries = self._clock(), 1
        if before is not None and not before.calm():
            since, tries = before.trouble.since, before.trouble.tries + 1
        self._failing[part] = _Failing(Trouble(part, error, since, tries))
        return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(tries - 1, 10)))

    def recovered(self, part: str) -> None:
        """Tell that it works."""
        self._failing.pop(part, None)

    async def keep(
        self, part: str, work: Callable[[], Awaitable[None]], *, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        """Do ``work`` until it returns. Whatever it raises, it is begun again after a pause."""
        await self._keep(part, work, lambda: True, longest_seconds)

    async def keep_started(self, part: str, work: Startable, *, task_status: trio.TaskStatus[Any]) -> None:
        """The same for work that starts. What it raises before it has, is for whoever waits for that."""
        status = _Status(task_status)
        await self._keep(part, partial(work, task_status=status), lambda: status.over, LONGEST_SECONDS)

    async def _keep(
        self,
        part: str,
        work: Callable[[], Awaitable[None]],
        started: Callable[[], bool],
        longest_seconds: float,
    ) -> None:
        while True:
            problem: BaseException
            pause = 0.0
            try:
                await work()
            except* Exception as group:  # noqa: BLE001 - logged; what was cancelled beside it goes on to who did that
                problem = sole_exception(group)
                if started():
                    pause = self._told(part, problem, longest_seconds)
            else:
                return
            if not started():
                raise problem
            await trio.sleep(pause)
            if part in self._failing:
                self._failing[part].again_at = trio.current_time()

    def _told(self, part: str, problem: BaseException, longest_seconds: float) -> float:
        if isinstance(problem, UnavailableError):
            # Something from outside, which the parts on /readyz show.
            log.warning("background.waits", part=part, away=problem.part, error=str(problem))
            return min(longest_seconds, AWAY_SECONDS)
        pause = min(longest_seconds, self.failed(part, in_words(problem)))
        log.error("background.failed", part=part, retryInSeconds=pause, exc_info=problem)
        return pause


def in_words(error: BaseException) -> str:
    """For people: its kind and its first line, because what follows there may hold parameters of a statement."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:WORDS] if lines else type(error).__name__


@dataclass(eq=False, slots=True)
class _Failing:
    """``again_at``: when it was begun again, by trio's clock."""

    trouble: Trouble
    again_at: float | None = None

    def calm(self) -> bool:
        return self.again_at is not None and trio.current_time() >= self.again_at + CALM_SECONDS


class _Status(trio.TaskStatus[Any]):
    """Work that is begun again starts more than once; whoever waits for it hears of the first time."""

    def __init__(self, first: trio.TaskStatus[Any]) -> None:
        self.over = False
        self._first = first

    def started(self, value: Any = None) -> None:
        if not self.over:
            self.over = True
            self._first.started(value)

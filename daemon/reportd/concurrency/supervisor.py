"""The one policy for background work: an unexpected exception is logged, reported on /readyz, and retried.

A failing loop must not end the daemon, which would abort the running jobs, and must not end silently. So each loop
runs under ``Supervisor.keep``. A loop handles expected errors, such as an unavailable part, itself.
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
"""The pause before a retry doubles from the first to this."""

AWAY_SECONDS = 1.0
"""The pause when an outside part was unavailable."""

CALM_SECONDS = 10.0
"""Work that runs this long after a retry counts as recovered."""

MAX_ERROR_LENGTH = 200

log = structlog.get_logger()


class Startable(Protocol):
    """Work that reports when it has started, as ``trio.Nursery.start`` expects."""

    async def __call__(self, *, task_status: trio.TaskStatus[Any]) -> None: ...


class Supervisor:
    """Runs the background work of the daemon. ``clock`` gives the times on the status page."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    def troubles(self) -> tuple[Trouble, ...]:
        """Return what fails now, sorted by the part's name."""
        return tuple(failing.trouble for _, failing in sorted(self._failing.items()) if not failing.calm())

    def trouble(self, part: str) -> str:
        """Return why that part fails; empty while it does not."""
        failing = self._failing.get(part)
        return "" if failing is None or failing.calm() else failing.trouble.error

    def failed(self, part: str, error: str) -> float:
        """Record a failure. Return the pause before the retry, in seconds."""
        previous = self._failing.get(part)
        since, tries = self._clock(), 1
        if previous is not None and not previous.calm():
            since, tries = previous.trouble.since, previous.trouble.tries + 1
        self._failing[part] = _Failing(Trouble(part, error, since, tries))
        return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(tries - 1, 10)))

    def recovered(self, part: str) -> None:
        """Record that the part works."""
        self._failing.pop(part, None)

    async def keep(
        self, part: str, work: Callable[[], Awaitable[None]], *, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        """Run ``work`` until it returns. When it raises, run it again after a pause."""
        await self._keep(part, work, lambda: True, longest_seconds)

    async def keep_started(self, part: str, work: Startable, *, task_status: trio.TaskStatus[Any]) -> None:
        """The same for work that reports its start. An exception before the start is raised to the caller."""
        status = _FirstStart(task_status)
        await self._keep(part, partial(work, task_status=status), lambda: status.reported, LONGEST_SECONDS)

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
            except* Exception as group:  # noqa: BLE001 - logged; a cancellation beside it propagates
                problem = sole_exception(group)
                if started():
                    pause = self._record(part, problem, longest_seconds)
            else:
                return
            if not started():
                raise problem
            await trio.sleep(pause)
            if part in self._failing:
                self._failing[part].again_at = trio.current_time()

    def _record(self, part: str, problem: BaseException, longest_seconds: float) -> float:
        if isinstance(problem, UnavailableError):
            # The outside parts have their own entries on /readyz.
            log.warning("background.waits", part=part, away=problem.part, error=str(problem))
            return min(longest_seconds, AWAY_SECONDS)
        pause = min(longest_seconds, self.failed(part, error_text(problem)))
        log.error("background.failed", part=part, retryInSeconds=pause, exc_info=problem)
        return pause


def error_text(error: BaseException) -> str:
    """Return the exception's type and first line. Further lines may hold the parameters of a statement."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:MAX_ERROR_LENGTH] if lines else type(error).__name__


@dataclass(eq=False, slots=True)
class _Failing:
    """``again_at``: when it was run again, in trio's time."""

    trouble: Trouble
    again_at: float | None = None

    def calm(self) -> bool:
        return self.again_at is not None and trio.current_time() >= self.again_at + CALM_SECONDS


class _FirstStart(trio.TaskStatus[Any]):
    """Reports only the first start: work that is run again starts more than once."""

    def __init__(self, first: trio.TaskStatus[Any]) -> None:
        self.reported = False
        self._first = first

    def started(self, value: Any = None) -> None:
        if not self.reported:
            self.reported = True
            self._first.started(value)

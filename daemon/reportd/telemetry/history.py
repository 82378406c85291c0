"""Recent history of this node for the status page: rates, render times, and queue depths of the last hour.

It is kept in memory, so it begins with the daemon. ``metrics`` holds the totals.
"""

from collections import deque
from collections.abc import Callable, Mapping

import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.status.snapshot import Figures
from reportd.ports import Meter

SAMPLES = 200
"""Percentiles are taken over this many renders."""

STALE_SECONDS = 3600.0
"""Older renders do not count."""

STEP_SECONDS = 5.0
RATE_SECONDS = 60.0
FAILURE_SECONDS = 600.0

MINUTES = 60

OTHER = "other"


class History(Meter):
    """Counts the work of each report type. ``report_types`` maps each name that a job may carry, aliases too, to its
    report type.
    """

    def __init__(self, report_types: Mapping[str, str], clock: Callable[[], float] = trio.current_time) -> None:
        self._names = dict(report_types)
        self._clock = clock
        self._rendered: dict[str, _Counts] = {}
        self._failed: dict[str, _Counts] = {}
        self._refused: dict[str, _Counts] = {}
        self._seconds: dict[str, _Times] = {}
        self._stored = _Times()
        self._depths: dict[str, deque[tuple[int, int]]] = {}

    def reconfigure(self, report_types: Mapping[str, str]) -> None:
        """Add names of report types."""
        self._names |= report_types

    def rendered(self, report_type: str, seconds: float, size_bytes: int) -> None:  # noqa: ARG002 - of the port
        name, now = self._name(report_type), self._clock()
        self._rendered.setdefault(name, _Counts()).add(now)
        self._seconds.setdefault(name, _Times()).add(now, seconds)

    def failed(self, report_type: str, kind: FaultKind) -> None:  # noqa: ARG002 - of the port
        self._failed.setdefault(self._name(report_type), _Counts()).add(self._clock())

    def refused(self, report_type: str, reason: str) -> None:  # noqa: ARG002 - of the port
        self._refused.setdefault(self._name(report_type), _Counts()).add(self._clock())

    def ended(self, report_type: str, outcome: JobEvent, seconds: float) -> None:  # noqa: ARG002 - of the port
        if outcome is JobEvent.SUCCEEDED:
            # The producer's clock gives the submission time, and may be ahead of ours.
            self._stored.add(self._clock(), max(0.0, seconds))

    def figures(self) -> dict[str, Figures]:
        """Return the figures of each report type that had any renders, failures or refusals."""
        now = self._clock()
        names = self._rendered.keys() | self._failed.keys() | self._refused.keys()
        return {name: self._figures(name, now) for name in sorted(names)}

    def stored_p95_seconds(self) -> float | None:
        return self._stored.quantile(0.95, self._clock())

    def saw_depth(self, series: str, count: int) -> None:
        """Record the current queue depth."""
        minute = int(self._clock() // 60)
        minutes = self._depths.setdefault(series, deque(maxlen=MINUTES))
        if minutes and minutes[-1][0] == minute:
            count = max(count, minutes.pop()[1])
        minutes.append((minute, count))

    def depths(self, series: str) -> tuple[int, ...]:
        """Return the highest depth of each minute, oldest first: of the last hour, or since the first record."""
        minutes = self._depths.get(series)
        if not minutes:
            return ()
        last = minutes[-1][0]
        by_minute = dict(minutes)
        counts: list[int] = []
        for minute in range(max(minutes[0][0], last - MINUTES + 1), last + 1):
            # A minute without a record repeats the depth before it.
            counts.append(by_minute.get(minute, counts[-1] if counts else 0))
        return tuple(counts)

    def _figures(self, name: str, now: float) -> Figures:
        rendered, failed = self._rendered.get(name, _Counts()), self._failed.get(name, _Counts())
        times = self._seconds.get(name, _Times())
        failures = failed.within(FAILURE_SECONDS, now)
        return Figures(
            per_minute=rendered.within(RATE_SECONDS, now) * 60 / RATE_SECONDS,
            failed=failures,
            tried=failures + rendered.within(FAILURE_SECONDS, now),
            p50_seconds=times.quantile(0.5, now),
            p95_seconds=times.quantile(0.95, now),
            refused=self._refused.get(name, _Counts()).within(FAILURE_SECONDS, now),
        )

    def _name(self, report_type: str) -> str:
        # Anybody can send messages of any type, and memory must not grow with them.
        return self._names.get(report_type, OTHER)


class _Counts:
    """Counts events in steps of STEP_SECONDS."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque(maxlen=int(FAILURE_SECONDS / STEP_SECONDS) + 1)

    def add(self, now: float) -> None:
        step = int(now // STEP_SECONDS)
        count = self._steps.pop()[1] if self._steps and self._steps[-1][0] == step else 0
        self._steps.append((step, count + 1))

    def within(self, seconds: float, now: float) -> int:
        """Count whole steps, so that the result changes only from step to step."""
        first = int((now - seconds) // STEP_SECONDS) + 1
        return sum(count for step, count in self._steps if step >= first)


class _Times:
    """The last measured times."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=SAMPLES)

    def add(self, now: float, seconds: float) -> None:
        self._last.append((now, seconds))

    def quantile(self, share: float, now: float) -> float | None:
        """Return the quantile by nearest rank; None without a recent measurement."""
        times = sorted(seconds for at, seconds in self._last if at >= now - STALE_SECONDS)
        return times[min(len(times) - 1, int(share * len(times)))] if times else None

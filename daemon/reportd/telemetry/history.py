"""What happened of late on this node, for the status page: rates, times, and how deep the queues were in the last hour.

Kept in memory, so it begins with the daemon. What is counted for ever is in ``metrics``.
"""

from collections import deque
from collections.abc import Callable, Mapping

import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.status.snapshot import Figures
from reportd.ports import Meter

LAST = 200
"""How many renders percentiles are taken of."""

STALE_SECONDS = 3600.0
"""How old those may be."""

STEP_SECONDS = 5.0
RATE_SECONDS = 60.0
FAILURE_SECONDS = 600.0

MINUTES = 60

OTHER = "other"


class History(Meter):
    """``report_types``: each name that a job may carry, and the report type that it means."""

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
        """Further names, as when this was made."""
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
            # The producer's clock says when it was submitted, and may be ahead of ours.
            self._stored.add(self._clock(), max(0.0, seconds))

    def figures(self) -> dict[str, Figures]:
        """Of each report type that there was something of."""
        now = self._clock()
        names = self._rendered.keys() | self._failed.keys() | self._refused.keys()
        return {name: self._figures(name, now) for name in sorted(names)}

    def stored_p95_seconds(self) -> float | None:
        return self._stored.quantile(0.95, self._clock())

    def saw_depth(self, series: str, count: int) -> None:
        """So many messages there were at this moment."""
        minute = int(self._clock() // 60)
        minutes = self._depths.setdefault(series, deque(maxlen=MINUTES))
        if minutes and minutes[-1][0] == minute:
            count = max(count, minutes.pop()[1])
        minutes.append((minute, count))

    def depths(self, series: str) -> tuple[int, ...]:
        """The highest of each minute, from the first one that was looked at, or of the last hour."""
        minutes = self._depths.get(series)
        if not minutes:
            return ()
        last = minutes[-1][0]
        found = dict(minutes)
        counts: list[int] = []
        for minute in range(max(minutes[0][0], last - MINUTES + 1), last + 1):
            # Where nobody could look, it is taken to be as it was before.
            counts.append(found.get(minute, counts[-1] if counts else 0))
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
        # Anybody can send a message of any type, and memory must not grow by that.
        return self._names.get(report_type, OTHER)


class _Counts:
    """How much there was in each step of time."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque(maxlen=int(FAILURE_SECONDS / STEP_SECONDS) + 1)

    def add(self, now: float) -> None:
        step = int(now // STEP_SECONDS)
        before = self._steps.pop()[1] if self._steps and self._steps[-1][0] == step else 0
        self._steps.append((step, before + 1))

    def within(self, seconds: float, now: float) -> int:
        """In whole steps, so that it stays as it is between two of them."""
        first = int((now - seconds) // STEP_SECONDS) + 1
        return sum(count for step, count in self._steps if step >= first)


class _Times:
    """The last ones that were measured."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=LAST)

    def add(self, now: float, seconds: float) -> None:
        self._last.append((now, seconds))

    def quantile(self, share: float, now: float) -> float | None:
        """By nearest rank; None when nothing was measured of late."""
        times = sorted(seconds for at, seconds in self._last if at >= now - STALE_SECONDS)
        return times[min(len(times) - 1, int(share * len(times)))] if times else None

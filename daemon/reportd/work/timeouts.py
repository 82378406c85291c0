"""Learns a timeout for each report type from the jobs that succeeded.

A page that hangs is given up after a multiple of the time that nearly all jobs of its type take, not only at the
type's configured ceiling. A job that timed out before gets the whole ceiling, so that a job which really takes longer
succeeds in the end.
"""

from collections import deque
from collections.abc import Mapping

KEPT = 200
"""How many durations of each type are kept."""

LEAST = 50
"""Learn nothing from fewer jobs: they say nothing about the 99th percentile."""

FLOOR_SECONDS = 1.0
"""The shortest timeout. With a shorter one, a page on a machine that is busy for a moment would seem to hang."""


class LearnedTimeouts:
    """``factors``: for each report type, its timeout as a multiple of its 99th percentile; 0 to learn nothing."""

    def __init__(self, factors: Mapping[str, float]) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self.reconfigure(factors)

    def reconfigure(self, factors: Mapping[str, float]) -> None:
        """Use other factors. The durations of the types that still learn are kept."""
        self._factors = {name: factor for name, factor in factors.items() if factor}
        self._seconds = {name: self._seconds.get(name, deque(maxlen=KEPT)) for name in self._factors}

    def rendered(self, report_type: str, seconds: float) -> None:
        """Record the duration of a job that succeeded."""
        if (past := self._seconds.get(report_type)) is not None:
            past.append(seconds)

    def limit(self, report_type: str, ceiling_seconds: float) -> float:
        """Return the timeout of the next job in seconds; never more than ``ceiling_seconds``."""
        past = self._seconds.get(report_type)
        if past is None or len(past) < LEAST:
            return ceiling_seconds
        p99 = sorted(past)[len(past) * 99 // 100]
        return min(ceiling_seconds, max(FLOOR_SECONDS, self._factors[report_type] * p99))

"""How long a job of a report type usually takes at most, learned from those that succeeded.

A page that hangs is given up when it has taken a multiple of what nearly all others take, not only at the type's
ceiling. A job that timed out before gets the whole of that, so that one which is really longer than others is rendered
in the end.
"""

from collections import deque
from collections.abc import Mapping

KEPT = 200
LEAST = 50
"""Fewer jobs say nothing about the longest of a hundred."""

FLOOR_SECONDS = 1.0
"""Below it, a machine that is busy for a moment would be taken for a page that hangs."""


class LearnedTimeouts:
    """``factors``: of each report type, how many times the 99th percentile it may take; 0 where nothing is learned."""

    def __init__(self, factors: Mapping[str, float]) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self.reconfigure(factors)

    def reconfigure(self, factors: Mapping[str, float]) -> None:
        """Other factors, as when this was made. What a type has taught stays."""
        self._factors = {name: factor for name, factor in factors.items() if factor}
        self._seconds = {name: self._seconds.get(name, deque(maxlen=KEPT)) for name in self._factors}

    def rendered(self, report_type: str, seconds: float) -> None:
        """One succeeded, and took so long."""
        if (past := self._seconds.get(report_type)) is not None:
            past.append(seconds)

    def limit(self, report_type: str, ceiling_seconds: float) -> float:
        """How long the next one may take; never more than ``ceiling_seconds``."""
        past = self._seconds.get(report_type)
        if past is None or len(past) < LEAST:
            return ceiling_seconds
        longest = sorted(past)[len(past) * 99 // 100]
        return min(ceiling_seconds, max(FLOOR_SECONDS, self._factors[report_type] * longest))

"""The last renders of a report type, and whether too many of them were bad."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """What a render says about its report type."""

    FINE = "fine"
    SLOW = "slow"
    FAILED = "failed"


Window = tuple[tuple[float, Grade], ...]
"""When and how each ended, oldest first."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What is too bad: a share of ``size`` renders that are no older than ``seconds``. A share of 0 is off."""

    failed: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 30.0
    size: int = 50
    seconds: float = 60.0
    minimum: int = 10
    """Fewer renders say nothing; at least 1."""

    def judge(self, render_seconds: float) -> Grade:
        """Of a render that succeeded."""
        return Grade.SLOW if self.slow and render_seconds >= self.slow_seconds else Grade.FINE


def add(window: Window, verdict: Grade, now: float, rates: Rates) -> Window:
    """The window with one render more. It begins with a bad one, so that without trouble there is nothing to keep."""
    if not rates.failed and not rates.slow:
        return ()
    recent = [past for past in window if now - rates.seconds < past[0] <= now]
    recent = [*recent, (now, verdict)][-rates.size :]
    while recent and recent[0][1] is Grade.FINE:
        del recent[0]
    return tuple(recent)


def too_bad(window: Window, rates: Rates) -> str:
    """Why the last one was too much, in words; empty when it was not."""
    if len(window) < rates.minimum or window[-1][1] is Grade.FINE:
        return ""
    verdicts = [verdict for _, verdict in window]
    for verdict, share in ((Grade.FAILED, rates.failed), (Grade.SLOW, rates.slow)):
        count = verdicts.count(verdict)
        if share and count >= share * len(verdicts):
            return f"{count} of the last {len(verdicts)} renders: {verdict}"
    return ""

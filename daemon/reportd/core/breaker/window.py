"""The window of a report type's last renders, and whether too many of them failed or were slow."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """The grade of one render."""

    FINE = "fine"
    SLOW = "slow"
    FAILED = "failed"


Window = tuple[tuple[float, Grade], ...]
"""End time and grade of each render, oldest first."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Limits on the share of bad renders among the last ``size`` within ``seconds``. A share of 0 turns one off."""

    failed: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 30.0
    size: int = 50
    seconds: float = 60.0
    minimum: int = 10
    """The window is not judged with fewer renders; at least 1."""

    def judge(self, render_seconds: float) -> Grade:
        """Return the grade of a render that succeeded."""
        return Grade.SLOW if self.slow and render_seconds >= self.slow_seconds else Grade.FINE


def add(window: Window, grade: Grade, now: float, rates: Rates) -> Window:
    """Return the window with one more render. It begins with a bad render, so a healthy type needs no storage."""
    if not rates.failed and not rates.slow:
        return ()
    recent = [render for render in window if now - rates.seconds < render[0] <= now]
    recent = [*recent, (now, grade)][-rates.size :]
    while recent and recent[0][1] is Grade.FINE:
        del recent[0]
    return tuple(recent)


def too_bad(window: Window, rates: Rates) -> str:
    """Return why the last render exceeded a limit, in words; empty when it did not."""
    if len(window) < rates.minimum or window[-1][1] is Grade.FINE:
        return ""
    grades = [grade for _, grade in window]
    for grade, share in ((Grade.FAILED, rates.failed), (Grade.SLOW, rates.slow)):
        count = grades.count(grade)
        if share and count >= share * len(grades):
            return f"{count} of the last {len(grades)} renders: {grade}"
    return ""

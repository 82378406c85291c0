"""Decisions after a failed attempt: retry, when, in a dedicated browser or not, or the dead-letter queue."""

from dataclasses import dataclass, replace

from reportd.core.faults import Fault, FaultKind

MAX_LOSSES = 2
"""A job during which its browser died twice gets no third browser (I5)."""

MAX_NODE_LOSSES = 5
"""A job rarely causes a node's death, so it uses no attempt; but a job that is there every time is suspect."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of a job's attempts and losses. ``attempts`` includes the one under way, if any."""

    attempts: int = 0
    deferrals: int = 0
    losses: int = 0
    node_losses: int = 0
    uncounted: int = 0
    """Attempts that do not count, e.g. the store was full or no browser was available."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Durations in seconds."""

    max_attempts: int = 3
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try again after ``delay_seconds``."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Send the job to the dead-letter queue, with the reason."""

    reason: str


def count_fault(tally: Tally, fault: Fault) -> Tally:
    """Return the tally after a fault that ended an attempt. The attempt itself is counted already."""
    nature = fault.nature
    return replace(tally, losses=tally.losses + nature.kills_browser, uncounted=tally.uncounted + (not nature.counts))


def may_start(tally: Tally) -> Fault | None:
    """Return the fault that forbids another start, judged by the tally before it; None when it may start."""
    if tally.losses >= MAX_LOSSES:
        return Fault(FaultKind.BROWSER_LOST, f"its browser died under it {tally.losses} times")
    if tally.node_losses >= MAX_NODE_LOSSES:
        return Fault(FaultKind.NODE_LOST, f"its node died under it {tally.node_losses} times")
    return None


def needs_dedicated_browser(tally: Tally) -> bool:
    """Return whether the job needs a browser of its own: after one loss, a second one must blame only this job."""
    return tally.losses > 0


def after_fault(fault: Fault, tally: Tally, policy: RetryPolicy, jitter: float) -> TryAgain | GiveUp:
    """Decide what follows a fault. ``tally`` already includes it; ``jitter`` is uniform in [0, 1)."""
    nature = fault.nature
    if not nature.retry:
        return GiveUp("trying again can't help")
    if nature.kills_browser and tally.losses >= MAX_LOSSES:
        return GiveUp(f"its browser died {tally.losses} times")
    if nature.counts and tally.attempts >= policy.max_attempts:
        return GiveUp(f"{tally.attempts} attempts failed")
    if nature.kills_browser:
        return TryAgain(0.0)
    number = tally.attempts if nature.counts else tally.uncounted
    return TryAgain(backoff(number, policy, jitter))


def backoff(number: int, policy: RetryPolicy, jitter: float) -> float:
    """Return the seconds to wait after the ``number``-th failure: doubling, with "equal jitter", so never 0.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    exponent = min(max(number, 1) - 1, 32)
    longest = min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0**exponent)
    return longest / 2 + longest / 2 * jitter

"""What follows a failed attempt: another one, when and in what company, or the dead-letter queue."""

from dataclasses import dataclass, replace

from reportd.core.faults import Fault, FaultKind

MAX_LOSSES = 2
"""A job during which its browser died twice is given no third one (I5)."""

MAX_NODE_LOSSES = 5
"""A node's death is rarely the job's doing, so it uses no attempt; but a job that is there every time is suspect."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a job has been through. ``attempts`` includes the one under way where there is one."""

    attempts: int = 0
    deferrals: int = 0
    losses: int = 0
    node_losses: int = 0
    uncounted: int = 0
    """Attempts that did not count: the store was full, no browser could be had."""


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
    """To the dead-letter queue, with the reason."""

    reason: str


def counted(tally: Tally, fault: Fault) -> Tally:
    """With a fault that has just ended an attempt; the attempt itself is in it already."""
    nature = fault.nature
    return replace(tally, losses=tally.losses + nature.kills_browser, uncounted=tally.uncounted + (not nature.counts))


def may_start(tally: Tally) -> Fault | None:
    """Why a job may not be started at all, judged by the tally before the start."""
    if tally.losses >= MAX_LOSSES:
        return Fault(FaultKind.BROWSER_LOST, f"its browser died under it {tally.losses} times")
    if tally.node_losses >= MAX_NODE_LOSSES:
        return Fault(FaultKind.NODE_LOST, f"its node died under it {tally.node_losses} times")
    return None


def needs_solitude(tally: Tally) -> bool:
    """A job that has lost a browser is tried in one of its own, so that a second loss convicts nobody else."""
    return tally.losses > 0


def after_fault(fault: Fault, tally: Tally, policy: RetryPolicy, jitter: float) -> TryAgain | GiveUp:
    """Decide by the fault and the tally that already includes it. ``jitter`` is uniform in [0, 1)."""
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
    """Seconds to wait after the ``number``-th failure: doubling, with "equal jitter" so that nobody waits 0.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    exponent = min(max(number, 1) - 1, 32)
    whole = min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0**exponent)
    return whole / 2 + whole / 2 * jitter

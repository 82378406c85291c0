"""When the jobs of one cause are redriven, and how many at a time.

The first wave is one job, the canary. A wave that succeeds doubles the size of the next one; one with some failures
halves it; one in which at least half of the jobs fail resets it to one. A wave starts after the last one has ended.
While the report type is unhealthy, each failed canary doubles the wait before the next one, and all causes of the type
share one canary per cool-down.
"""

from dataclasses import dataclass, replace

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.dead_letters.triage import TriagePolicy

MAX_WAVE = 256
MAX_DOUBLINGS = 3
"""The longest wait is eight cool-downs, so a recovery can go unnoticed for that long."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause as the database keeps it: failures of one signature and one report type.

    ``wave``: the task ids under way, sent at ``sent_at``; empty once their outcome is recorded. ``size``: of the next
    wave. ``failures``: failed waves in a row, the last one at ``failed_at``. ``passed_at``: the last success.
    """

    signature: str
    report_type: str
    version: int = 0
    wave: tuple[str, ...] = ()
    sent_at: float = 0.0
    size: int = 1
    failures: int = 0
    failed_at: float = 0.0
    passed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RedriveOutcome:
    """How many jobs of a wave are unfinished, succeeded and failed. Cancelled jobs are in none of these."""

    pending: int = 0
    succeeded: int = 0
    failed: int = 0


def settle_wave(cause: Cause, outcome: RedriveOutcome, now: float) -> Cause:
    """Return the cause after its wave has ended, or the same object while the wave is under way."""
    if not cause.wave or outcome.pending:
        return cause
    ended = replace(cause, wave=())
    if outcome.failed and outcome.failed >= outcome.succeeded:
        return replace(ended, size=1, failures=cause.failures + 1, failed_at=now)
    if not outcome.succeeded:
        return ended
    ended = replace(ended, passed_at=now)
    size = max(1, len(cause.wave) // 2) if outcome.failed else min(MAX_WAVE, len(cause.wave) * 2)
    return replace(ended, size=size, failures=0)


def next_wave_size(cause: Cause, breaker: Breaker, last_sent_at: float, now: float, policy: TriagePolicy) -> int:
    """Return how many jobs of the cause may be redriven now.

    ``last_sent_at``: the last redrive of any cause of the report type.
    """
    if cause.wave or breaker.rests(now):
        return 0
    wait_seconds = policy.cooldown_seconds
    if not is_healthy(breaker):
        if now < last_sent_at + wait_seconds:
            return 0
        wait_seconds *= 2 ** min(MAX_DOUBLINGS, max(0, cause.failures - 1))
    if cause.failures and now < cause.failed_at + wait_seconds:
        return 0
    return cause.size if breaker.state in (BreakerState.CLOSED, BreakerState.FORCED_CLOSED) else 1


def is_healthy(breaker: Breaker) -> bool:
    """Return whether the report type is healthy: its breaker is closed and counts no failure."""
    return breaker.state in (BreakerState.CLOSED, BreakerState.FORCED_CLOSED) and not breaker.failures


def counts_as_redrive(cause: Cause, breaker: Breaker, count: int, waiting: int, first_failed_at: float) -> bool:
    """Return whether a redrive counts against the job's own ``max_redrives``. ``count`` of ``waiting`` jobs go now.

    It does not count for a lone canary that tests an unhealthy type on behalf of other waiting jobs, however often it
    fails. It counts again once the cause has passed for another job after this one's first failure.
    """
    return count > 1 or waiting == 1 or is_healthy(breaker) or cause.passed_at > first_failed_at


def is_expired(cause: Cause, now: float, policy: TriagePolicy) -> bool:
    """Return whether a cause without waiting jobs can be deleted."""
    if cause.wave:
        return False
    return not cause.failures or now > cause.failed_at + policy.cooldown_seconds * 2 ** (MAX_DOUBLINGS + 1)

"""When the jobs of one cause are tried again, and how many at a time.

One goes first, the canary. If it succeeds, twice as many follow, and twice as many again, for as long as they do;
where most of them fail, all is as before the canary. Each wave is waited for. While the report type itself is in
trouble, each canary in vain doubles the rest until the next one, and there is one a cool-down for the type, whatever
its causes are.
"""

from dataclasses import dataclass, replace

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.dead_letters.triage import TriagePolicy

MAX_WAVE = 256
MAX_DOUBLINGS = 3
"""The longest rest is eight cool-downs: that long it may take until somebody notices that all is well again."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause as the database keeps it: failures of one signature and one report type.

    ``wave``: the tasks that were tried last, until that is judged; ``sent_at``, when. ``size``: how many may go next.
    ``failures`` of canaries in a row, the last one at ``failed_at``; ``passed_at``, when one succeeded last.
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
    """What became of a wave. ``pending`` ones are not finished; a cancelled one is none of these."""

    pending: int = 0
    succeeded: int = 0
    failed: int = 0


def judged(cause: Cause, outcome: RedriveOutcome, now: float) -> Cause:
    """The cause once its wave has come to its end; before, the same object."""
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


def may_go(cause: Cause, breaker: Breaker, last_sent_at: float, now: float, policy: TriagePolicy) -> int:
    """How many of its jobs may be tried now. ``last_sent_at``: when one was, of any cause of the type."""
    if cause.wave or breaker.rests(now):
        return 0
    rest = policy.cooldown_seconds
    if not works(breaker):
        if now < last_sent_at + rest:
            return 0
        rest *= 2 ** min(MAX_DOUBLINGS, max(0, cause.failures - 1))
    if cause.failures and now < cause.failed_at + rest:
        return 0
    return cause.size if breaker.state in (BreakerState.CLOSED, BreakerState.FORCED_CLOSED) else 1


def works(breaker: Breaker) -> bool:
    """Whether the last thing heard of the type is a success, or nothing."""
    return breaker.state in (BreakerState.CLOSED, BreakerState.FORCED_CLOSED) and not breaker.failures


def is_own(cause: Cause, breaker: Breaker, count: int, waiting: int, first_failed_at: float) -> bool:
    """Whether a job is tried for itself that is one of ``count`` which are tried now, of ``waiting`` ones.

    A canary that goes for others, too, while its type is in trouble finds out for all whether that is over. It may
    fail however long that takes, unless it has seen its cause pass for others.
    """
    return count > 1 or waiting == 1 or works(breaker) or cause.passed_at > first_failed_at


def is_over(cause: Cause, now: float, policy: TriagePolicy) -> bool:
    """Whether a cause of which nothing waits any more can be forgotten."""
    if cause.wave:
        return False
    return not cause.failures or now > cause.failed_at + policy.cooldown_seconds * 2 ** (MAX_DOUBLINGS + 1)

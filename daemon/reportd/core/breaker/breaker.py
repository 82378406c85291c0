"""The circuit breaker of a report type: its state, its inputs, and the decisions that ``decide`` makes."""

from dataclasses import dataclass, field
from enum import StrEnum

from reportd.core.breaker.window import Rates, Window


class BreakerState(StrEnum):
    """The forced states are set by an operator and last until an operator ends them."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class BreakerEvent(StrEnum):
    """Causes of a transition. The last four are an operator's; ``hurried``: a probe may start now."""

    TRIPPED = "tripped"
    PROBE_STARTED = "probe_started"
    PROBE_FAILED = "probe_failed"
    RECOVERED = "recovered"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    RESET = "reset"
    HURRIED = "hurried"


TRANSITIONS: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (BreakerState.CLOSED, BreakerEvent.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.PROBE_STARTED): BreakerState.HALF_OPEN,
    # The last probe ended without a result, its node is gone, or one success is not enough.
    (BreakerState.HALF_OPEN, BreakerEvent.PROBE_STARTED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.PROBE_FAILED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.RECOVERED): BreakerState.CLOSED,
    (BreakerState.OPEN, BreakerEvent.HURRIED): BreakerState.OPEN,
    (BreakerState.FORCED_OPEN, BreakerEvent.HURRIED): BreakerState.OPEN,
    **{
        (state, BreakerEvent.FORCED_OPEN): BreakerState.FORCED_OPEN
        for state in BreakerState
        if state is not BreakerState.FORCED_OPEN
    },
    **{
        (state, BreakerEvent.FORCED_CLOSED): BreakerState.FORCED_CLOSED
        for state in BreakerState
        if state is not BreakerState.FORCED_CLOSED
    },
    **{(state, BreakerEvent.RESET): BreakerState.CLOSED for state in BreakerState},
}

COMMANDS = frozenset({BreakerEvent.FORCED_OPEN, BreakerEvent.FORCED_CLOSED, BreakerEvent.RESET, BreakerEvent.HURRIED})


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long. Durations in seconds."""

    failure_threshold: int = 3
    recovery_seconds: float = 10.0
    max_recovery_seconds: float = 300.0
    successes_to_close: int = 1
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker. Times are the store's, in seconds since the epoch.

    ``until``: end of the recovery wait. ``lease_until``: end of the probe's lease. No other probe starts before both.
    ``failures``: in a row. ``successes``: of probes so far. ``openings``: without a recovery in between.
    ``opened_at``: the first of these openings; 0 if an older daemon wrote the breaker, which lacks the field.
    ``by``: the node or operator that moved it last.
    """

    report_type: str
    state: BreakerState = BreakerState.CLOSED
    epoch: str = ""
    version: int = 0
    since: float = 0.0
    until: float = 0.0
    lease: str = ""
    lease_until: float = 0.0
    failures: int = 0
    successes: int = 0
    openings: int = 0
    opened_at: float = 0.0
    window: Window = ()
    faults: tuple[str, ...] = ()
    reason: str = ""
    by: str = ""

    def rests(self, now: float) -> bool:
        """Return whether a job that asks now must wait."""
        return self.state is BreakerState.FORCED_OPEN or (
            self.state in PROBING and now < max(self.until, self.lease_until)
        )

    @property
    def open_since(self) -> float:
        """Since when only probes were admitted, however many failed; 0 while all jobs are admitted."""
        if self.state in PROBING:
            return self.opened_at or self.since
        return self.since if self.state is BreakerState.FORCED_OPEN else 0.0

    @property
    def failed_probes(self) -> int:
        """How many probes have failed since ``open_since``."""
        return max(0, self.openings - 1) if self.state in PROBING else 0

    @property
    def holds(self) -> bool:
        """Whether waiting jobs, except a probe, can't start until the breaker closes."""
        return self.state is BreakerState.FORCED_OPEN or self.state in PROBING


PROBING = (BreakerState.OPEN, BreakerState.HALF_OPEN)
"""The states in which only probes start."""


# --- inputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """May a job start? ``lease_seconds``: how long it needs the lease if it is the probe."""

    by: str
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Success:
    """A job admitted in ``epoch`` was rendered in ``seconds``."""

    by: str
    epoch: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A job admitted in ``epoch`` failed by a fault of its report type."""

    by: str
    epoch: str
    fault: str


@dataclass(frozen=True, slots=True)
class Release:
    """A job admitted in ``epoch`` ended without a result for its report type, e.g. it was cancelled."""

    epoch: str


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's command: one of COMMANDS. One that is not legal in the breaker's state changes nothing."""

    by: str
    event: BreakerEvent
    reason: str = "by hand"


BreakerInput = Ask | Success | Failure | Release | Command


# --- decisions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit:
    """Start the job, and report its result with this ``epoch``; a probe must do so before its lease ends."""

    epoch: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """Ask again at ``until``."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A breaker has changed its state. ``faults``: the last ones before."""

    report_type: str
    source: BreakerState
    event: BreakerEvent
    target: BreakerState
    at: float
    reason: str
    faults: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``breaker`` is the same object when nothing must be stored. Only an Ask has an ``answer``."""

    breaker: Breaker
    answer: Admit | Reject | None = None
    transition: Transition | None = None

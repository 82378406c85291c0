"""The circuit breaker of a report type, as a pure state machine.

Whoever keeps a breaker hands it to ``decide`` together with what happened and the keeper's own time, and keeps what
comes back if nobody was quicker (``version``). An ``epoch`` names one stay in a state. A job is admitted in an epoch
and what becomes of it counts in that epoch alone, so late news can't move a breaker. Every probe has an epoch of its
own, which is the token of its ``lease`` too; the lease holds whatever becomes of the breaker in the meantime, until
the probe has ended or its time is over, so there is never a second probe beside it (I4).
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from reportd.core.breaker.window import Grade, Rates, Window, add, too_bad

MAX_FAULTS = 5
"""How many of the last faults are kept, to say why a breaker opened."""

_MAX_FAULT_CHARACTERS = 200


class BreakerState(StrEnum):
    """The forced ones are an operator's word and last until an operator takes it back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class BreakerEvent(StrEnum):
    """What moves a breaker. The last four are an operator's; ``hurried`` means that a probe may start now."""

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
    # The last one ended without a verdict, its holder is gone, or one success is not enough.
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
    """One breaker. Times are the keeper's, in seconds since the epoch.

    ``until`` is the end of the rest, ``lease_until`` that of the probe's time; both keep everybody else from probing.
    ``failures`` in a row; ``successes`` of probes so far; ``openings`` without a recovery in between.
    ``opened_at``: when the first of these was; 0 where an older daemon has written it, which does not know it.
    ``by``: the node or the operator that moved it last.
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
        """Whether a job that asks now has to wait."""
        return self.state is BreakerState.FORCED_OPEN or (
            self.state in _PROBED and now < max(self.until, self.lease_until)
        )

    @property
    def open_since(self) -> float:
        """Since when it has let nothing through but probes, however many failed; 0 where it does let jobs through."""
        if self.state in _PROBED:
            return self.opened_at or self.since
        return self.since if self.state is BreakerState.FORCED_OPEN else 0.0

    @property
    def failed_probes(self) -> int:
        """How many since then."""
        return max(0, self.openings - 1) if self.state in _PROBED else 0

    @property
    def holds(self) -> bool:
        """Whether what waits can't be worked off, all but a probe: it has to close first."""
        return self.state is BreakerState.FORCED_OPEN or self.state in _PROBED


_PROBED = (BreakerState.OPEN, BreakerState.HALF_OPEN)


# --- news: what a breaker can be told -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """May a job start? If it is to be the probe, it needs the lease for so long."""

    by: str
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Success:
    """A job that was admitted in ``epoch`` was rendered within ``seconds``."""

    by: str
    epoch: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that was admitted in ``epoch`` failed by a fault of its report type."""

    by: str
    epoch: str
    fault: str


@dataclass(frozen=True, slots=True)
class Release:
    """A job that was admitted in ``epoch`` ended without saying anything about its type, e.g. it was cancelled."""

    epoch: str


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's word: one of COMMANDS. What makes no sense in the breaker's state changes nothing."""

    by: str
    event: BreakerEvent
    reason: str = "by hand"


BreakerInput = Ask | Success | Failure | Release | Command


# --- decisions: what follows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit:
    """Start, and tell in this ``epoch`` what became of it. A probe must have told it before its lease ends."""

    epoch: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """Ask again then."""

    until: float
    why: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A breaker has moved. ``faults`` are the last ones before."""

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
    """``breaker`` is the same object when there is nothing to keep. An Ask, and nothing else, has an ``answer``."""

    breaker: Breaker
    answer: Admit | Reject | None = None
    transition: Transition | None = None


def decide(
    breaker: Breaker, news: BreakerInput, now: float, policy: BreakerPolicy, *, chance: float, token: str
) -> Decision:
    """What follows from the news. ``chance`` is uniform in [0, 1); ``token`` has never been used before."""
    case = _Case(now, policy, chance, token)
    if now < breaker.since:
        # The keeper's clock was set back; what is left to wait must not grow by that.
        back = breaker.since - now
        opened_at = breaker.opened_at and breaker.opened_at - back
        until, lease_until = breaker.until - back, breaker.lease_until - back
        breaker = _kept(breaker, since=now, opened_at=opened_at, until=until, lease_until=lease_until)
    if isinstance(news, Ask):
        return _asked(breaker, news, case)
    if isinstance(news, Command):
        return _commanded(breaker, news, case)
    if news.epoch == breaker.epoch and breaker.state is BreakerState.HALF_OPEN:
        return _probed(breaker, news, case)
    if news.epoch == breaker.epoch and breaker.state is BreakerState.CLOSED and not isinstance(news, Release):
        return _counted(breaker, news, case)
    if breaker.lease and news.epoch == breaker.lease:
        return Decision(_kept(breaker, **_NO_LEASE))
    return Decision(breaker)


class _Case(NamedTuple):
    now: float
    policy: BreakerPolicy
    chance: float
    token: str


def _asked(breaker: Breaker, ask: Ask, case: _Case) -> Decision:
    now, soon = case.now, case.now + case.policy.recovery_seconds
    if breaker.state is BreakerState.FORCED_OPEN:
        return Decision(breaker, Reject(soon, f"held open by {breaker.by}: {breaker.reason}"))
    if breaker.state not in _PROBED:
        return Decision(breaker, Admit(breaker.epoch))
    if now < breaker.until:
        return Decision(breaker, Reject(breaker.until, f"open: {breaker.reason}"))
    if breaker.rests(now):
        return Decision(breaker, Reject(min(breaker.lease_until, soon), "a probe is under way"))
    kept = {
        "lease": case.token,
        "lease_until": now + ask.lease_seconds,
        "successes": breaker.successes,
        "openings": breaker.openings,
    }
    why = "the rest is over" if breaker.state is BreakerState.OPEN else "no verdict yet"
    return _moved(breaker, BreakerEvent.PROBE_STARTED, why, ask.by, case, answer=Admit(case.token, probe=True), **kept)


def _probed(breaker: Breaker, news: Success | Failure | Release, case: _Case) -> Decision:
    breaker = replace(breaker, **_NO_LEASE)
    if isinstance(news, Failure):
        return _opened(_with_fault(breaker, news), BreakerEvent.PROBE_FAILED, "the probe failed", news.by, case)
    successes = breaker.successes + isinstance(news, Success)
    if isinstance(news, Success) and successes >= case.policy.successes_to_close:
        return _moved(breaker, BreakerEvent.RECOVERED, "the probe succeeded", news.by, case, faults=())
    # A probe gives one verdict: in a new epoch this one can say no more.
    return Decision(_kept(breaker, epoch=case.token, successes=successes))


def _counted(breaker: Breaker, news: Success | Failure, case: _Case) -> Decision:
    rates = case.policy.rates
    if isinstance(news, Failure):
        counted, verdict, failures = _with_fault(breaker, news), Grade.FAILED, breaker.failures + 1
    else:
        counted, verdict, failures = breaker, rates.judge(news.seconds), 0
    window = add(breaker.window, verdict, case.now, rates)
    in_a_row = f"{failures} failures in a row" if failures >= case.policy.failure_threshold else ""
    if reason := in_a_row or too_bad(window, rates):
        return _opened(counted, BreakerEvent.TRIPPED, reason, news.by, case)
    if failures == breaker.failures and window == breaker.window:
        return Decision(breaker)
    faults = counted.faults if failures or window else ()
    return Decision(_kept(breaker, failures=failures, window=window, faults=faults))


def _commanded(breaker: Breaker, command: Command, case: _Case) -> Decision:
    event = command.event
    if event not in COMMANDS or (breaker.state, event) not in TRANSITIONS:
        return Decision(breaker)
    kept: dict[str, Any] = {}
    if event is BreakerEvent.HURRIED:
        # One that was held open is opened by this.
        kept = {"until": case.now, "openings": max(1, breaker.openings)}
    elif event is BreakerEvent.RESET:
        kept = {"faults": ()}
    return _moved(breaker, event, command.reason, command.by, case, **kept)


def _opened(breaker: Breaker, event: BreakerEvent, reason: str, by: str, case: _Case) -> Decision:
    """The first rest is as long as is configured; each further one twice the last, less up to a quarter of it.

    So the back end that several types share is not probed by all of them at once.
    """
    policy, openings = case.policy, breaker.openings
    rest = min(policy.max_recovery_seconds, policy.recovery_seconds * 2.0 ** min(openings, 32))
    if openings:
        rest = max(policy.recovery_seconds, rest * (1 - case.chance / 4))
    return _moved(breaker, event, reason, by, case, until=case.now + rest, openings=openings + 1)


def _moved(
    breaker: Breaker, event: BreakerEvent, reason: str, by: str, case: _Case, answer: Admit | None = None, **kept: Any
) -> Decision:
    """Along TRANSITIONS, into a new epoch, with every count at its beginning but for what is ``kept``."""
    target = TRANSITIONS[breaker.state, event]
    fresh: dict[str, Any] = {"failures": 0, "successes": 0, "openings": 0, "window": (), "until": 0.0}
    fresh["opened_at"] = (breaker.open_since if breaker.state in _PROBED else case.now) if target in _PROBED else 0.0
    moved = _kept(breaker, state=target, epoch=case.token, since=case.now, reason=reason, by=by, **(fresh | kept))
    transition = Transition(breaker.report_type, breaker.state, event, target, case.now, reason, breaker.faults, by)
    return Decision(moved, answer, transition)


_NO_LEASE: dict[str, Any] = {"lease": "", "lease_until": 0.0}


def _kept(breaker: Breaker, **changes: Any) -> Breaker:
    return replace(breaker, version=breaker.version + 1, **changes)


def _with_fault(breaker: Breaker, failure: Failure) -> Breaker:
    # Pages write halves of surrogate pairs, too, which no store can keep.
    fault = failure.fault[:_MAX_FAULT_CHARACTERS].encode("utf-8", "replace").decode()
    faults = (*breaker.faults, fault)
    return replace(breaker, faults=faults[-MAX_FAULTS:])

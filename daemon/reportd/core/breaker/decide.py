"""What a circuit breaker does with an input, as a pure function over frozen values.

The caller passes the stored breaker, an input and the store's time to ``decide``, and stores the result if the
``version`` is still the same. An ``epoch`` names one stay in a state. A job is admitted in an epoch, and its result
counts only in that epoch, so a late result can't move a breaker. Each probe has its own epoch, which is also the token
of its ``lease``. The lease lasts until the probe has ended or its time is over, whatever happens to the breaker
meanwhile, so two probes never run at once (I4).
"""

from dataclasses import replace
from typing import Any, NamedTuple

from reportd.core.breaker.breaker import (
    COMMANDS,
    PROBING,
    TRANSITIONS,
    Admit,
    Ask,
    Breaker,
    BreakerEvent,
    BreakerInput,
    BreakerPolicy,
    BreakerState,
    Command,
    Decision,
    Failure,
    Reject,
    Release,
    Success,
    Transition,
)
from reportd.core.breaker.window import Grade, add, too_bad

MAX_FAULTS = 5
"""How many of the last faults are kept, to explain why a breaker opened."""

_MAX_FAULT_CHARACTERS = 200


def decide(
    breaker: Breaker, signal: BreakerInput, now: float, policy: BreakerPolicy, *, chance: float, token: str
) -> Decision:
    """Decide what follows from an input. ``chance`` is uniform in [0, 1); ``token`` is new and unique."""
    context = _Context(now, policy, chance, token)
    if now < breaker.since:
        # The store's clock was set back; the remaining wait must not grow by that.
        back = breaker.since - now
        opened_at = breaker.opened_at and breaker.opened_at - back
        until, lease_until = breaker.until - back, breaker.lease_until - back
        breaker = _changed(breaker, since=now, opened_at=opened_at, until=until, lease_until=lease_until)
    if isinstance(signal, Ask):
        return _on_ask(breaker, signal, context)
    if isinstance(signal, Command):
        return _on_command(breaker, signal, context)
    if signal.epoch == breaker.epoch and breaker.state is BreakerState.HALF_OPEN:
        return _on_probe_result(breaker, signal, context)
    if signal.epoch == breaker.epoch and breaker.state is BreakerState.CLOSED and not isinstance(signal, Release):
        return _on_result(breaker, signal, context)
    if breaker.lease and signal.epoch == breaker.lease:
        return Decision(_changed(breaker, **_NO_LEASE))
    return Decision(breaker)


class _Context(NamedTuple):
    now: float
    policy: BreakerPolicy
    chance: float
    token: str


def _on_ask(breaker: Breaker, ask: Ask, context: _Context) -> Decision:
    now, later = context.now, context.now + context.policy.recovery_seconds
    if breaker.state is BreakerState.FORCED_OPEN:
        return Decision(breaker, Reject(later, f"held open by {breaker.by}: {breaker.reason}"))
    if breaker.state not in PROBING:
        return Decision(breaker, Admit(breaker.epoch))
    if now < breaker.until:
        return Decision(breaker, Reject(breaker.until, f"open: {breaker.reason}"))
    if breaker.rests(now):
        return Decision(breaker, Reject(min(breaker.lease_until, later), "a probe is under way"))
    kept = {
        "lease": context.token,
        "lease_until": now + ask.lease_seconds,
        "successes": breaker.successes,
        "openings": breaker.openings,
    }
    reason = "the recovery wait is over" if breaker.state is BreakerState.OPEN else "no probe result yet"
    return _moved(
        breaker, BreakerEvent.PROBE_STARTED, reason, ask.by, context, answer=Admit(context.token, probe=True), **kept
    )


def _on_probe_result(breaker: Breaker, signal: Success | Failure | Release, context: _Context) -> Decision:
    breaker = replace(breaker, **_NO_LEASE)
    if isinstance(signal, Failure):
        return _opened(_with_fault(breaker, signal), BreakerEvent.PROBE_FAILED, "the probe failed", signal.by, context)
    successes = breaker.successes + isinstance(signal, Success)
    if isinstance(signal, Success) and successes >= context.policy.successes_to_close:
        return _moved(breaker, BreakerEvent.RECOVERED, "the probe succeeded", signal.by, context, faults=())
    # A probe gives one result: with a new epoch, a second one is ignored.
    return Decision(_changed(breaker, epoch=context.token, successes=successes))


def _on_result(breaker: Breaker, signal: Success | Failure, context: _Context) -> Decision:
    rates = context.policy.rates
    if isinstance(signal, Failure):
        counted, grade, failures = _with_fault(breaker, signal), Grade.FAILED, breaker.failures + 1
    else:
        counted, grade, failures = breaker, rates.judge(signal.seconds), 0
    window = add(breaker.window, grade, context.now, rates)
    in_a_row = f"{failures} failures in a row" if failures >= context.policy.failure_threshold else ""
    if reason := in_a_row or too_bad(window, rates):
        return _opened(counted, BreakerEvent.TRIPPED, reason, signal.by, context)
    if failures == breaker.failures and window == breaker.window:
        return Decision(breaker)
    faults = counted.faults if failures or window else ()
    return Decision(_changed(breaker, failures=failures, window=window, faults=faults))


def _on_command(breaker: Breaker, command: Command, context: _Context) -> Decision:
    event = command.event
    if event not in COMMANDS or (breaker.state, event) not in TRANSITIONS:
        return Decision(breaker)
    kept: dict[str, Any] = {}
    if event is BreakerEvent.HURRIED:
        # A forced-open breaker counts as opened once.
        kept = {"until": context.now, "openings": max(1, breaker.openings)}
    elif event is BreakerEvent.RESET:
        kept = {"faults": ()}
    return _moved(breaker, event, command.reason, command.by, context, **kept)


def _opened(breaker: Breaker, event: BreakerEvent, reason: str, by: str, context: _Context) -> Decision:
    """Open for ``recovery_seconds`` at first, then for twice as long each time, minus up to a quarter at random.

    The jitter keeps several types from probing a back end that they share at the same time.
    """
    policy, openings = context.policy, breaker.openings
    wait_seconds = min(policy.max_recovery_seconds, policy.recovery_seconds * 2.0 ** min(openings, 32))
    if openings:
        wait_seconds = max(policy.recovery_seconds, wait_seconds * (1 - context.chance / 4))
    return _moved(breaker, event, reason, by, context, until=context.now + wait_seconds, openings=openings + 1)


def _moved(
    breaker: Breaker,
    event: BreakerEvent,
    reason: str,
    by: str,
    context: _Context,
    answer: Admit | None = None,
    **kept: Any,
) -> Decision:
    """Move along TRANSITIONS into a new epoch. Every count starts anew, except the fields in ``kept``."""
    target = TRANSITIONS[breaker.state, event]
    fresh: dict[str, Any] = {"failures": 0, "successes": 0, "openings": 0, "window": (), "until": 0.0}
    fresh["opened_at"] = (breaker.open_since if breaker.state in PROBING else context.now) if target in PROBING else 0.0
    moved = _changed(
        breaker, state=target, epoch=context.token, since=context.now, reason=reason, by=by, **(fresh | kept)
    )
    transition = Transition(breaker.report_type, breaker.state, event, target, context.now, reason, breaker.faults, by)
    return Decision(moved, answer, transition)


_NO_LEASE: dict[str, Any] = {"lease": "", "lease_until": 0.0}


def _changed(breaker: Breaker, **changes: Any) -> Breaker:
    return replace(breaker, version=breaker.version + 1, **changes)


def _with_fault(breaker: Breaker, failure: Failure) -> Breaker:
    # Texts of pages can hold lone surrogates, which no store accepts.
    fault = failure.fault[:_MAX_FAULT_CHARACTERS].encode("utf-8", "replace").decode()
    faults = (*breaker.faults, fault)
    return replace(breaker, faults=faults[-MAX_FAULTS:])

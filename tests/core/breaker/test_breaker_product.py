"""Every state of a breaker with every input, compared with a readable table; and the table itself."""

import itertools

import pytest

from reportd.core.breaker.breaker import (
    COMMANDS,
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
from reportd.core.breaker.decide import decide

NOW = 1000.0
HERE = "here"
CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, FORCED_CLOSED = BreakerState

IN_STATE = {
    CLOSED: Breaker("sales", CLOSED, HERE, version=7, failures=2),
    OPEN: Breaker("sales", OPEN, HERE, version=7, since=NOW, until=NOW + 10, openings=1),
    HALF_OPEN: Breaker("sales", HALF_OPEN, HERE, version=7, since=NOW, lease=HERE, lease_until=NOW + 70, openings=1),
    FORCED_OPEN: Breaker("sales", FORCED_OPEN, HERE, version=7, since=NOW),
    FORCED_CLOSED: Breaker("sales", FORCED_CLOSED, HERE, version=7, since=NOW),
}

INPUTS: dict[str, tuple[BreakerInput, float]] = {
    "asked": (Ask("n1", 70), NOW + 1),
    "asked-later": (Ask("n1", 70), NOW + 71),
    "success": (Success("n1", HERE, 1), NOW + 1),
    "failure": (Failure("n1", HERE, "timeout: 60 s"), NOW + 1),
    "release": (Release(HERE), NOW + 1),
    "late-success": (Success("n1", "before", 1), NOW + 1),
    "late-failure": (Failure("n1", "before", "timeout: 60 s"), NOW + 1),
    "late-release": (Release("before"), NOW + 1),
    **{event: (Command("n1", event), NOW + 1) for event in BreakerEvent},
}

# The state after each input; "kept": the state stays but a field changes; a dot: nothing changes.
LIFE = """
               closed         open           half_open      forced_open    forced_closed
asked          go             wait           wait           wait           go
asked-later    go             half_open      half_open      wait           go
success        kept           .              closed         .              .
failure        open           .              open           .              .
release        .              .              kept           .              .
late-success   .              .              .              .              .
late-failure   .              .              .              .              .
late-release   .              .              .              .              .
forced_open    forced_open    forced_open    forced_open    .              forced_open
forced_closed  forced_closed  forced_closed  forced_closed  forced_closed  .
reset          closed         closed         closed         closed         closed
hurried        .              open           .              open           .
tripped        .              .              .              .              .
probe_started  .              .              .              .              .
probe_failed   .              .              .              .              .
recovered      .              .              .              .              .
"""


def _life() -> dict[tuple[BreakerState, str], str]:
    head, *rows = (line.split() for line in LIFE.strip().splitlines())
    return {
        (BreakerState(state), signal): cell for signal, *cells in rows for state, cell in zip(head, cells, strict=True)
    }


PRODUCT = _life()


def _decide(breaker: Breaker, signal: BreakerInput, now: float) -> Decision:
    return decide(breaker, signal, now, BreakerPolicy(), chance=0.0, token="next")


def test_the_table_has_every_pair() -> None:
    assert set(PRODUCT) == set(itertools.product(BreakerState, INPUTS))


@pytest.mark.parametrize(("state", "name"), list(PRODUCT))
def test_every_state_with_every_input(state: BreakerState, name: str) -> None:
    before, (signal, now), expected = IN_STATE[state], INPUTS[name], PRODUCT[state, name]
    decision = _decide(before, signal, now)
    breaker, transition = decision.breaker, decision.transition
    if expected in (".", "go", "wait"):
        assert breaker is before
    else:
        assert breaker.version > before.version
    if expected in set(BreakerState):
        assert transition is not None
        assert TRANSITIONS[state, transition.event] is breaker.state is BreakerState(expected)
        faults = ("timeout: 60 s",) if name == "failure" else ()
        assert transition == Transition(
            "sales", state, transition.event, breaker.state, now, breaker.reason, faults, "n1"
        )
        assert (breaker.since, breaker.by, breaker.epoch != HERE, breaker.reason != "") == (now, "n1", True, True)
    else:
        assert transition is None
        assert (breaker.state, breaker.since) == (before.state, before.since)
    if isinstance(signal, Ask):
        assert isinstance(decision.answer, Reject if expected == "wait" else Admit)
        assert before.rests(now) == (expected == "wait")
    else:
        assert decision.answer is None


def test_transitions_are_exactly_those_that_happen() -> None:
    done = {(state, signal, _decide(IN_STATE[state], *INPUTS[signal]).transition) for state, signal in PRODUCT}
    assert {(state, transition.event): transition.target for state, _, transition in done if transition} == TRANSITIONS
    assert {signal for _, signal, transition in done if transition and signal == transition.event} == COMMANDS

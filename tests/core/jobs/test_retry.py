"""After a failed attempt: no job gets a third browser (I5), and only counted faults use attempts (I3)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.faults import NATURE, Fault, FaultKind
from reportd.core.jobs.retry import (
    GiveUp,
    RetryPolicy,
    Tally,
    TryAgain,
    after_fault,
    backoff,
    count_fault,
    may_start,
    needs_dedicated_browser,
)

LASTING = [kind for kind in FaultKind if not NATURE[kind].retry]
PASSING = [kind for kind in FaultKind if NATURE[kind].retry]
UNCOUNTED = [kind for kind in PASSING if not NATURE[kind].counts and not NATURE[kind].kills_browser]
COUNTED = [kind for kind in PASSING if NATURE[kind].counts and not NATURE[kind].kills_browser]
LOSSES = [kind for kind in PASSING if NATURE[kind].kills_browser]

unhurried = settings(deadline=None)
jitters = st.floats(0, 1, exclude_max=True)
policies = st.builds(RetryPolicy, st.integers(1, 20), st.floats(0.01, 100), st.floats(0.01, 3600))
counts = st.integers(0, 50)
tallies = st.builds(Tally, counts, counts, counts, counts, counts)


def _tried(tally: Tally, kind: FaultKind) -> Tally:
    """Return the tally after another attempt that ended with this fault, as ``after_fault`` takes it."""
    nature = NATURE[kind]
    return replace(
        tally,
        attempts=tally.attempts + 1,
        losses=tally.losses + nature.kills_browser,
        uncounted=tally.uncounted + (not nature.counts),
    )


def _settled(tally: Tally, kind: FaultKind) -> Tally:
    """Return the tally as the store keeps it: an uncounted attempt is subtracted."""
    return tally if NATURE[kind].counts else replace(tally, attempts=tally.attempts - 1)


# --- giving up ----------------------------------------------------------------------------------------------


@unhurried
@given(st.sampled_from(LASTING), tallies, policies, jitters)
def test_permanent_faults_are_given_up_at_once(
    kind: FaultKind, tally: Tally, policy: RetryPolicy, jitter: float
) -> None:
    assert after_fault(Fault(kind, ""), tally, policy, jitter) == GiveUp("trying again can't help")


@pytest.mark.parametrize("kind", COUNTED)
@pytest.mark.parametrize("max_attempts", [1, 2, 3, 7])
def test_counted_faults_use_exactly_max_attempts(kind: FaultKind, max_attempts: int) -> None:
    policy, tally = RetryPolicy(max_attempts=max_attempts), Tally()
    for attempt in range(1, max_attempts + 1):
        assert may_start(tally) is None
        tally = _tried(tally, kind)
        verdict = after_fault(Fault(kind, ""), tally, policy, 0.5)
        assert isinstance(verdict, TryAgain if attempt < max_attempts else GiveUp)
    assert isinstance(verdict, GiveUp)
    assert str(max_attempts) in verdict.reason


@unhurried
@given(st.lists(st.sampled_from(UNCOUNTED), max_size=60), policies, jitters)
def test_uncounted_faults_never_exhaust_a_job(kinds: list[FaultKind], policy: RetryPolicy, jitter: float) -> None:
    """I3: the job keeps its attempts while the store is full or no browser is available, for any time."""
    tally = Tally()
    for kind in kinds:
        assert may_start(tally) is None
        tally = _tried(tally, kind)
        assert isinstance(after_fault(Fault(kind, ""), tally, policy, jitter), TryAgain)
        tally = _settled(tally, kind)
    assert tally.attempts == 0


@pytest.mark.parametrize("kind", UNCOUNTED)
def test_an_uncounted_fault_does_not_use_the_last_attempt(kind: FaultKind) -> None:
    policy = RetryPolicy(max_attempts=3)
    tally = _tried(Tally(attempts=2), kind)
    assert isinstance(after_fault(Fault(kind, ""), tally, policy, 0.5), TryAgain)


# --- browsers that die --------------------------------------------------------------------------------------


@unhurried
@given(st.lists(st.sampled_from(PASSING)), st.integers(1, 50))
def test_no_job_gets_a_third_browser(kinds: list[FaultKind], max_attempts: int) -> None:
    """I5, with any other faults in between. The job runs alone before its second loss."""
    policy, tally, lost = RetryPolicy(max_attempts=max_attempts), Tally(), 0
    for kind in kinds:
        assert may_start(tally) is None
        assert lost < 2
        assert needs_dedicated_browser(tally) is (lost > 0)
        tally = _tried(tally, kind)
        lost += NATURE[kind].kills_browser
        verdict = after_fault(Fault(kind, ""), tally, policy, 0.5)
        tally = _settled(tally, kind)
        if isinstance(verdict, GiveUp):
            break
    else:
        assert lost < 2
    if lost == 2:
        refused = may_start(tally)
        assert refused is not None
        assert refused.kind is FaultKind.BROWSER_LOST


@pytest.mark.parametrize("kind", LOSSES)
def test_a_second_loss_ends_a_job_with_attempts_left(kind: FaultKind) -> None:
    policy = RetryPolicy(max_attempts=10)
    first = after_fault(Fault(kind, ""), Tally(attempts=1, losses=1), policy, 0.5)
    second = after_fault(Fault(kind, ""), Tally(attempts=2, losses=2), policy, 0.5)
    assert first == TryAgain(0.0)
    assert second == GiveUp("its browser died 2 times")


def test_a_shared_browser_that_dies_uses_no_attempt() -> None:
    """I5: with max_attempts 1, a job that shared the browser still gets its attempt."""
    tally = Tally(attempts=1, losses=1, uncounted=1)
    assert after_fault(Fault(FaultKind.BROWSER_LOST, ""), tally, RetryPolicy(max_attempts=1), 0.5) == TryAgain(0.0)
    assert isinstance(after_fault(Fault(FaultKind.PAGE_CRASHED, ""), tally, RetryPolicy(max_attempts=1), 0.5), GiveUp)


def test_losses_do_not_end_a_job_for_another_fault() -> None:
    tally = Tally(attempts=2, losses=1)
    assert isinstance(after_fault(Fault(FaultKind.TIMEOUT, ""), tally, RetryPolicy(), 0.5), TryAgain)


@pytest.mark.parametrize(
    ("tally", "kind", "detail"),
    [
        (Tally(losses=2), FaultKind.BROWSER_LOST, "its browser died under it 2 times"),
        (Tally(losses=3, node_losses=9), FaultKind.BROWSER_LOST, "its browser died under it 3 times"),
        (Tally(node_losses=5), FaultKind.NODE_LOST, "its node died under it 5 times"),
        (Tally(node_losses=6, losses=1), FaultKind.NODE_LOST, "its node died under it 6 times"),
    ],
)
def test_jobs_that_must_not_start(tally: Tally, kind: FaultKind, detail: str) -> None:
    assert may_start(tally) == Fault(kind, detail)


@pytest.mark.parametrize(
    "tally",
    [
        Tally(),
        Tally(losses=1, node_losses=4),
        Tally(attempts=1000),  # a redriven job has used them all
        Tally(deferrals=10**6),
        Tally(uncounted=10**6),
    ],
)
def test_jobs_that_may_start(tally: Tally) -> None:
    assert may_start(tally) is None


@pytest.mark.parametrize(("losses", "alone"), [(0, False), (1, True), (2, True)])
def test_only_a_job_that_lost_a_browser_gets_a_dedicated_one(losses: int, *, alone: bool) -> None:
    assert needs_dedicated_browser(Tally(attempts=9, deferrals=9, losses=losses, node_losses=4, uncounted=9)) is alone


# --- waiting ------------------------------------------------------------------------------------------------


@unhurried
@given(st.integers(-5, 10**9), policies, jitters)
def test_backoff_is_bounded_and_never_zero(number: int, policy: RetryPolicy, jitter: float) -> None:
    delay = backoff(number, policy, jitter)
    assert min(policy.backoff_seconds, policy.max_backoff_seconds) / 2 <= delay <= policy.max_backoff_seconds


@unhurried
@given(st.integers(1, 10**6), st.integers(1, 10**6), policies, jitters)
def test_a_later_failure_never_waits_less(first: int, second: int, policy: RetryPolicy, jitter: float) -> None:
    sooner, later = sorted((first, second))
    assert backoff(sooner, policy, jitter) <= backoff(later, policy, jitter)


@unhurried
@given(st.integers(1, 40), policies, jitters, jitters)
def test_jitter_spreads_over_the_upper_half(number: int, policy: RetryPolicy, first: float, second: float) -> None:
    low, high = sorted((first, second))
    least, most = backoff(number, policy, 0.0), backoff(number, policy, 1.0)
    assert least == most / 2
    assert least <= backoff(number, policy, low) <= backoff(number, policy, high) <= most


@unhurried
@given(policies, jitters)
def test_very_high_numbers_wait_the_maximum(policy: RetryPolicy, jitter: float) -> None:
    assert backoff(10**9, policy, jitter) == backoff(33, policy, jitter)
    assert backoff(10**9, policy, 1.0) == policy.max_backoff_seconds


def test_backoff_doubles_up_to_its_cap() -> None:
    policy = RetryPolicy(backoff_seconds=1.0, max_backoff_seconds=60.0)
    assert [backoff(number, policy, 1.0) for number in range(9)] == [1, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff(number, policy, 0.0) for number in (1, 2, 9)] == [0.5, 1, 30]


@pytest.mark.parametrize("attempts", [1, 2])
def test_counted_faults_wait_by_their_attempts(attempts: int) -> None:
    tally, policy = Tally(attempts=attempts, uncounted=7), RetryPolicy()
    expected = TryAgain(backoff(attempts, policy, 0.25))
    assert after_fault(Fault(FaultKind.TIMEOUT, ""), tally, policy, 0.25) == expected


@pytest.mark.parametrize("uncounted", [1, 4])
def test_uncounted_faults_wait_by_their_own_number(uncounted: int) -> None:
    tally, policy = Tally(attempts=1, uncounted=uncounted), RetryPolicy()
    expected = TryAgain(backoff(uncounted, policy, 0.25))
    assert after_fault(Fault(FaultKind.STORE_UNAVAILABLE, ""), tally, policy, 0.25) == expected


def test_the_tally_counts_losses_and_uncounted_attempts() -> None:
    tally = Tally(attempts=2, losses=1, uncounted=1)
    assert count_fault(tally, Fault(FaultKind.BROWSER_LOST, "")) == Tally(attempts=2, losses=2, uncounted=2)
    assert count_fault(tally, Fault(FaultKind.STORE_UNAVAILABLE, "")) == Tally(attempts=2, losses=1, uncounted=2)
    assert count_fault(tally, Fault(FaultKind.TIMEOUT, "")) == tally

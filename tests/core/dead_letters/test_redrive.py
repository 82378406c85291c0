"""One canary first; each wave that succeeds doubles the next one; none while canaries fail."""

from dataclasses import replace

import pytest

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.dead_letters.redrive import (
    MAX_WAVE,
    Cause,
    RedriveOutcome,
    counts_as_redrive,
    is_expired,
    is_healthy,
    next_wave_size,
    settle_wave,
)
from reportd.core.dead_letters.triage import TriagePolicy

NOW = 1_750_000_000.0
POLICY = TriagePolicy(cooldown_seconds=60.0)
FRESH = Cause("g-0123456789abcdef", "sales")
HEALTHY = Breaker("sales")
FAILING = Breaker("sales", failures=2)
OPEN = Breaker("sales", BreakerState.OPEN, until=NOW + 1)
READY_TO_PROBE = Breaker("sales", BreakerState.OPEN, until=NOW)


def sent(count: int, size: int | None = None) -> Cause:
    return replace(FRESH, wave=tuple(map(str, range(count))), sent_at=NOW - 10, size=size or count)


def test_no_wave_starts_before_the_last_one_ends() -> None:
    for cause in (FRESH, sent(8)):
        assert settle_wave(cause, RedriveOutcome(pending=1, succeeded=3, failed=4), NOW) is cause
    assert next_wave_size(sent(8), HEALTHY, 0.0, NOW, POLICY) == 0
    assert settle_wave(FRESH, RedriveOutcome(), NOW) is FRESH


def test_the_wave_doubles_while_all_succeed() -> None:
    cause, sizes = FRESH, []
    for _ in range(11):
        count = next_wave_size(cause, HEALTHY, cause.sent_at, NOW, POLICY)
        sizes.append(count)
        cause = settle_wave(replace(cause, wave=tuple(map(str, range(count)))), RedriveOutcome(succeeded=count), NOW)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, MAX_WAVE, MAX_WAVE, MAX_WAVE]


@pytest.mark.parametrize(
    ("outcome", "size"),
    [
        (RedriveOutcome(succeeded=8), 16),
        (RedriveOutcome(succeeded=7, failed=1), 4),
        (RedriveOutcome(succeeded=5, failed=3), 4),
        (RedriveOutcome(succeeded=4, failed=4), 1),
        (RedriveOutcome(succeeded=1, failed=7), 1),
        (RedriveOutcome(failed=8), 1),
        (RedriveOutcome(succeeded=1), 16),
        # All were cancelled, so the outcome is unknown.
        (RedriveOutcome(), 8),
    ],
)
def test_how_many_follow_a_wave_of_eight(outcome: RedriveOutcome, size: int) -> None:
    after = settle_wave(sent(8), outcome, NOW)
    assert (after.wave, after.size) == ((), size)
    assert after.failures == (outcome.failed >= 4)
    assert settle_wave(replace(sent(1), failures=3), RedriveOutcome(succeeded=1), NOW).failures == 0


def test_the_next_size_depends_on_what_was_sent() -> None:
    assert settle_wave(sent(3, size=64), RedriveOutcome(succeeded=3), NOW).size == 6
    assert settle_wave(sent(1, size=64), RedriveOutcome(succeeded=3, failed=1), NOW).size == 1


def after_failures(count: int) -> float:
    """Return the seconds until the next canary after so many failed ones."""
    cause = FRESH
    for _ in range(count):
        cause = settle_wave(replace(cause, wave=("1",)), RedriveOutcome(failed=1), NOW)
    seconds = next(
        seconds for seconds in range(10_000) if next_wave_size(cause, FAILING, cause.sent_at, NOW + seconds, POLICY)
    )
    assert next_wave_size(cause, HEALTHY, cause.sent_at, NOW + 60, POLICY) == 1
    assert next_wave_size(cause, HEALTHY, cause.sent_at, NOW + 59, POLICY) == (not count)
    return seconds


def test_failed_canaries_double_the_wait_only_while_the_type_is_unhealthy() -> None:
    assert [after_failures(count) for count in range(7)] == [0, 60, 120, 240, 480, 480, 480]


def test_an_unhealthy_type_has_one_canary_per_cooldown_for_all_causes() -> None:
    assert next_wave_size(FRESH, FAILING, NOW - 59, NOW, POLICY) == 0
    assert next_wave_size(FRESH, FAILING, NOW - 60, NOW, POLICY) == 1
    assert next_wave_size(FRESH, HEALTHY, NOW - 59, NOW, POLICY) == 1


@pytest.mark.parametrize(
    ("breaker", "canary", "many"),
    [
        (HEALTHY, 1, 8),
        (FAILING, 1, 8),
        (OPEN, 0, 0),
        (READY_TO_PROBE, 1, 1),
        (Breaker("sales", BreakerState.HALF_OPEN, lease_until=NOW + 1), 0, 0),
        (Breaker("sales", BreakerState.HALF_OPEN), 1, 1),
        (Breaker("sales", BreakerState.FORCED_OPEN), 0, 0),
        (Breaker("sales", BreakerState.FORCED_CLOSED), 1, 8),
    ],
)
def test_how_many_the_breaker_admits(breaker: Breaker, canary: int, many: int) -> None:
    assert next_wave_size(FRESH, breaker, 0.0, NOW, POLICY) == canary
    assert next_wave_size(replace(FRESH, size=8), breaker, 0.0, NOW, POLICY) == many


def test_which_redrives_count() -> None:
    assert not counts_as_redrive(FRESH, FAILING, 1, 2, NOW)
    assert not counts_as_redrive(FRESH, READY_TO_PROBE, 1, 200, NOW)
    assert counts_as_redrive(FRESH, FAILING, 1, 1, NOW)
    assert counts_as_redrive(FRESH, FAILING, 2, 200, NOW)
    assert counts_as_redrive(FRESH, HEALTHY, 1, 200, NOW)
    passed = settle_wave(sent(8), RedriveOutcome(succeeded=7, failed=1), NOW)
    assert counts_as_redrive(passed, FAILING, 1, 200, NOW - 1)
    assert not counts_as_redrive(passed, FAILING, 1, 200, NOW + 1)
    assert not is_healthy(replace(HEALTHY, failures=1))


def test_when_a_cause_can_be_deleted() -> None:
    assert is_expired(FRESH, NOW, POLICY)
    assert not is_expired(sent(1), NOW, POLICY)
    failed = settle_wave(sent(1), RedriveOutcome(failed=1), NOW)
    assert not is_expired(failed, NOW + 900, POLICY)
    assert is_expired(failed, NOW + 1000, POLICY)

"""The breaker step by step: counts, recovery wait, lease, operator, clock."""

from dataclasses import replace

import pytest

from reportd.core.breaker.breaker import (
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
)
from reportd.core.breaker.decide import decide

POLICY = BreakerPolicy()
NOW = 1000.0
CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, FORCED_CLOSED = BreakerState


def decided(
    breaker: Breaker, signals: BreakerInput, now: float = NOW, policy: BreakerPolicy = POLICY, chance: float = 0.0
) -> Decision:
    return decide(breaker, signals, now, policy, chance=chance, token=f"{now:g}/{breaker.version + 1}")


def after(
    breaker: Breaker, *signals: BreakerInput, now: float = NOW, policy: BreakerPolicy = POLICY, chance: float = 0.0
) -> Breaker:
    for signal in signals:
        breaker = decided(breaker, signal, now, policy, chance).breaker
    return breaker


def failure(breaker: Breaker, fault: str = "timeout: 60 s") -> Failure:
    return Failure("n1", breaker.epoch, fault)


def success(breaker: Breaker, seconds: float = 1.0) -> Success:
    return Success("n1", breaker.epoch, seconds)


def opened(*, at: float = NOW, policy: BreakerPolicy = POLICY) -> Breaker:
    breaker = Breaker("sales")
    for _ in range(policy.failure_threshold):
        breaker = after(breaker, failure(breaker), now=at, policy=policy)
    assert breaker.state is OPEN
    return breaker


def probing(*, at: float = NOW, policy: BreakerPolicy = POLICY) -> Breaker:
    breaker = after(opened(at=at - policy.recovery_seconds, policy=policy), Ask("n1", 70), now=at, policy=policy)
    assert breaker.state is HALF_OPEN
    return breaker


# --- opening ------------------------------------------------------------------------------------------------


def test_failures_in_a_row_open_it_and_say_why() -> None:
    breaker = Breaker("sales")
    for fault in ("timeout: 60 s", "page_status: 500"):
        decision = decided(breaker, failure(breaker, fault))
        breaker = decision.breaker
        assert (decision.transition, breaker.state) == (None, CLOSED)
    decision = decided(breaker, failure(breaker, "script_error: " + 1000 * "x"))
    assert decision.transition is not None
    assert (decision.transition.reason, decision.transition.by) == ("3 failures in a row", "n1")
    assert decision.transition.faults == ("timeout: 60 s", "page_status: 500", ("script_error: " + 1000 * "x")[:200])
    assert (decision.breaker.state, decision.breaker.until) == (OPEN, NOW + 10)


def test_any_text_of_a_page_can_be_stored() -> None:
    """A page may write half of a surrogate pair, which UTF-8 can't hold."""
    breaker = after(Breaker("sales"), failure(Breaker("sales"), "script_error: \ud800 in 茶"))
    assert breaker.faults == ("script_error: ? in 茶",)


def test_a_success_resets_the_count() -> None:
    breaker = Breaker("sales")
    for _ in range(5):
        breaker = after(breaker, failure(breaker), failure(breaker), success(breaker))
        assert (breaker.state, breaker.failures, breaker.faults) == (CLOSED, 0, ())


def test_a_healthy_breaker_stores_nothing() -> None:
    breaker = Breaker("sales")
    for signals in (Ask("n1", 70), success(breaker), Release(breaker.epoch)):
        assert decided(breaker, signals).breaker is breaker


def test_only_the_last_faults_are_kept() -> None:
    policy = BreakerPolicy(failure_threshold=9)
    breaker = after(Breaker("sales"), *[Failure("n1", "", f"timeout: {n}") for n in range(8)], policy=policy)
    assert (breaker.failures, breaker.faults) == (8, tuple(f"timeout: {n}" for n in range(3, 8)))


# --- the recovery wait --------------------------------------------------------------------------------------


def test_no_job_starts_before_the_wait_is_over() -> None:
    breaker = opened()
    decision = decided(breaker, Ask("n1", 70), NOW + 9.999)
    assert decision.answer == Reject(NOW + 10, "open: 3 failures in a row")
    assert breaker.rests(NOW + 9.999)
    assert not breaker.rests(NOW + 10)
    assert decided(breaker, Ask("n1", 70), NOW + 10).answer == Admit(f"{NOW + 10:g}/4", probe=True)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_each_failed_probe_doubles_the_wait_up_to_the_maximum(chance: float) -> None:
    breaker, now = opened(), NOW + 10
    rests = []
    for _ in range(40):
        breaker = after(breaker, Ask("n1", 70), now=now)
        breaker = after(breaker, failure(breaker), now=now, chance=chance)
        rests.append(round(breaker.until - now, 3))
        now = breaker.until
    full = [20, 40, 80, 160, *36 * [300]]
    assert rests == [round(rest * (1 - chance / 4), 3) for rest in full]


def test_no_wait_is_shorter_than_the_first() -> None:
    policy = BreakerPolicy(recovery_seconds=10, max_recovery_seconds=12)
    breaker = probing(policy=policy)
    assert after(breaker, failure(breaker), policy=policy, chance=0.5).until == NOW + 10.5
    assert after(breaker, failure(breaker), policy=policy, chance=0.9).until == NOW + 10


def test_the_first_wait_has_no_jitter_and_follows_every_recovery() -> None:
    assert after(Breaker("sales", failures=2), Failure("n1", "", "timeout: 60 s"), chance=0.9).until == NOW + 10
    breaker = probing()
    breaker = after(breaker, failure(breaker))
    assert breaker.until == NOW + 20
    breaker = after(breaker, Ask("n1", 70), now=NOW + 20)
    breaker = after(breaker, success(breaker), now=NOW + 20)
    for _ in range(3):
        breaker = after(breaker, failure(breaker), now=NOW + 30)
    assert (breaker.state, breaker.until) == (OPEN, NOW + 40)


# --- the probe ----------------------------------------------------------------------------------------------


def test_one_probe_starts_and_all_other_jobs_wait() -> None:
    breaker = opened()
    first = decided(breaker, Ask("n1", 70), NOW + 10)
    assert (first.breaker.lease_until, first.breaker.by) == (NOW + 80, "n1")
    for now in (NOW + 10, NOW + 50, NOW + 79.9):
        second = decided(first.breaker, Ask("n2", 70), now)
        assert second.breaker is first.breaker
        assert second.answer == Reject(min(NOW + 80, now + 10), "a probe is under way")


def test_a_new_probe_starts_after_the_lease_of_a_dead_one() -> None:
    breaker = probing()
    next_one = decided(breaker, Ask("n2", 70), NOW + 70)
    assert next_one.answer == Admit(next_one.breaker.epoch, probe=True)
    assert (next_one.breaker.by, next_one.breaker.lease_until) == ("n2", NOW + 140)
    for late in (success(breaker), failure(breaker), Release(breaker.epoch)):
        assert decided(next_one.breaker, late, NOW + 71).breaker is next_one.breaker


def test_a_result_after_the_lease_counts_until_the_next_probe_starts() -> None:
    breaker = probing()
    assert decided(breaker, success(breaker), NOW + 500).breaker.state is CLOSED


def test_a_released_probe_frees_its_lease_and_its_result_is_ignored() -> None:
    breaker = probing()
    free = decided(breaker, Release(breaker.epoch))
    assert (free.breaker.state, free.transition) == (HALF_OPEN, None)
    assert not free.breaker.rests(NOW)
    for late in (success(breaker), failure(breaker), Release(breaker.epoch)):
        assert decided(free.breaker, late).breaker is free.breaker
    again = decided(free.breaker, Ask("n2", 70))
    assert isinstance(again.answer, Admit)
    assert again.breaker.openings == breaker.openings


def test_several_successes_can_be_required() -> None:
    policy = BreakerPolicy(successes_to_close=3)
    breaker = probing(policy=policy)
    for count in (1, 2):
        used = breaker
        breaker = after(breaker, success(breaker), policy=policy)
        assert (breaker.state, breaker.successes) == (HALF_OPEN, count)
        assert decided(breaker, success(used), policy=policy).breaker is breaker
        breaker = after(breaker, Ask("n2", 70), policy=policy)
    assert after(breaker, failure(breaker), policy=policy).successes == 0
    assert after(breaker, Release(breaker.epoch), policy=policy).successes == 2
    assert after(breaker, success(breaker), policy=policy).state is CLOSED


def test_a_probe_keeps_its_lease_through_commands() -> None:
    running = probing()
    for commands in (
        [BreakerEvent.FORCED_OPEN, BreakerEvent.HURRIED],
        [BreakerEvent.RESET],
        [BreakerEvent.FORCED_CLOSED, BreakerEvent.RESET],
    ):
        breaker = after(running, *[Command("ann", event) for event in commands])
        for _ in range(3):
            breaker = after(breaker, failure(breaker))
        assert breaker.state is OPEN
        asked = decided(breaker, Ask("n2", 70), NOW + 20)
        assert asked.answer == Reject(NOW + 30, "a probe is under way")
        assert isinstance(decided(breaker, Ask("n2", 70), NOW + 70).answer, Admit)
        # Its result is late, but its lease no longer blocks another probe.
        ended = decided(breaker, success(running), NOW + 20)
        assert (ended.breaker.state, ended.transition) == (OPEN, None)
        assert isinstance(decided(ended.breaker, Ask("n2", 70), NOW + 20).answer, Admit)


# --- the operator -------------------------------------------------------------------------------------------


def test_only_an_operator_ends_a_forced_state() -> None:
    held = after(Breaker("sales"), Command("ann", BreakerEvent.FORCED_OPEN, "the source is being moved"))
    for now in (NOW, NOW + 1e6):
        assert decided(held, Ask("n1", 70), now).answer == Reject(
            now + 10, "held open by ann: the source is being moved"
        )
        assert held.rests(now)
    free = after(held, Command("bob", BreakerEvent.FORCED_CLOSED))
    for _ in range(10):
        assert decided(free, failure(free)).breaker is free
    assert decided(free, Ask("n1", 70)).answer == Admit(free.epoch)


def test_hurried_lets_a_probe_start_at_once_and_keeps_the_next_wait() -> None:
    breaker = probing()
    breaker = after(breaker, failure(breaker))
    hurried = after(breaker, Command("ann", BreakerEvent.HURRIED))
    assert (hurried.state, hurried.openings) == (OPEN, 2)
    assert (hurried.open_since, hurried.failed_probes) == (breaker.open_since, 1)
    probe = after(hurried, Ask("n1", 70))
    assert after(probe, failure(probe)).until == NOW + 40


def test_a_breaker_is_open_since_it_first_opened_however_many_probes_failed() -> None:
    breaker = opened()
    assert (breaker.open_since, breaker.failed_probes) == (NOW, 0)
    for count in range(1, 15):
        now = breaker.until
        breaker = after(breaker, Ask("n1", 70), now=now)
        assert (breaker.state, breaker.open_since, breaker.failed_probes) == (HALF_OPEN, NOW, count - 1)
        breaker = after(breaker, failure(breaker), now=now + 1)
        assert (breaker.since, breaker.open_since, breaker.failed_probes) == (now + 1, NOW, count)
    hurried = after(breaker, Command("ann", BreakerEvent.HURRIED), now=breaker.until)
    assert (hurried.open_since, hurried.failed_probes) == (NOW, 14)
    closed = after(breaker, Command("ann", BreakerEvent.RESET), now=breaker.until)
    assert (closed.open_since, closed.opened_at, closed.failed_probes) == (0, 0, 0)


def test_a_forced_open_breaker_is_open_since_it_may_probe() -> None:
    held = after(Breaker("sales"), Command("ann", BreakerEvent.FORCED_OPEN))
    assert (held.open_since, held.failed_probes) == (NOW, 0)
    breaker = after(held, Command("ann", BreakerEvent.HURRIED), now=NOW + 60)
    assert (breaker.open_since, breaker.failed_probes) == (NOW + 60, 0)
    breaker = after(breaker, Ask("n1", 70), now=NOW + 60)
    breaker = after(breaker, failure(breaker), now=NOW + 61)
    assert (breaker.open_since, breaker.failed_probes) == (NOW + 60, 1)


def test_a_breaker_of_an_older_daemon_is_open_since_its_last_transition() -> None:
    """An older daemon drops ``opened_at`` when it writes; its counts are the same."""
    breaker = opened()
    breaker = after(breaker, Ask("n1", 70), now=NOW + 10)
    breaker = after(breaker, failure(breaker), now=NOW + 20)
    old = replace(breaker, opened_at=0.0)
    assert (old.open_since, old.failed_probes) == (NOW + 20, 1)
    probe = after(old, Ask("n2", 70), now=old.until)
    assert (probe.open_since, probe.failed_probes) == (NOW + 20, 1)


def test_reset_clears_the_counts() -> None:
    breaker = Breaker("sales")
    breaker = after(breaker, failure(breaker), failure(breaker), Command("ann", BreakerEvent.RESET))
    assert (breaker.state, breaker.failures, breaker.faults) == (CLOSED, 0, ())
    assert after(probing(), Command("ann", BreakerEvent.RESET)).openings == 0


# --- the clock ----------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_prolongs_neither_wait_nor_lease() -> None:
    breaker = opened()
    back = NOW - 3600
    waiting = decided(breaker, Ask("n1", 70), back)
    assert waiting.answer == Reject(back + 10, "open: 3 failures in a row")
    assert waiting.breaker.version == breaker.version + 1
    assert isinstance(decided(waiting.breaker, Ask("n1", 70), back + 10).answer, Admit)
    waiting = decided(probing(), Ask("n2", 70), back)
    assert waiting.answer == Reject(back + 10, "a probe is under way")
    assert decided(waiting.breaker, Ask("n2", 70), back + 69).answer == Reject(back + 70, "a probe is under way")
    assert isinstance(decided(waiting.breaker, Ask("n2", 70), back + 70).answer, Admit)


@pytest.mark.parametrize("state", list(BreakerState))
def test_waiting_jobs_are_held_until_the_breaker_closes(state: BreakerState) -> None:
    assert Breaker("sales", state).holds == (state in (OPEN, HALF_OPEN, FORCED_OPEN))

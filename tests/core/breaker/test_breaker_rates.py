"""A breaker that opens by the share of failed or slow renders, instead of failures in a row."""

import pytest

from reportd.core.breaker.breaker import Breaker, BreakerInput, BreakerPolicy, BreakerState, Failure, Success
from reportd.core.breaker.decide import decide
from reportd.core.breaker.window import Grade, Rates, add, too_bad

OFF_IN_A_ROW = 1000


def run(outcomes: str, rates: Rates, every_seconds: float = 1.0) -> Breaker:
    """Feed renders until the breaker leaves CLOSED: ``f`` failed, ``s`` took 40 s, ``.`` was fine."""
    breaker = Breaker("sales")
    policy = BreakerPolicy(failure_threshold=OFF_IN_A_ROW, rates=rates)
    for number, letter in enumerate(outcomes):
        news: BreakerInput = Success("n1", breaker.epoch, 40.0 if letter == "s" else 1.0)
        if letter == "f":
            news = Failure("n1", breaker.epoch, f"timeout: {number}")
        breaker = decide(breaker, news, number * every_seconds, policy, chance=0.0, token=str(number)).breaker
        if breaker.state is not BreakerState.CLOSED:
            break
    return breaker


def test_off_by_default() -> None:
    breaker = run(50 * "f." + 50 * "fs", Rates())
    assert (breaker.state, breaker.window) == (BreakerState.CLOSED, ())


def test_half_of_them_failed() -> None:
    breaker = run("f.f..f.f.f", Rates(failed=0.5, minimum=10))
    assert breaker.state is BreakerState.OPEN
    assert breaker.reason == "5 of the last 10 renders: failed"
    assert breaker.faults == ("timeout: 0", "timeout: 2", "timeout: 5", "timeout: 7", "timeout: 9")


def test_few_renders_are_not_judged() -> None:
    assert run("f.f.f.f.f", Rates(failed=0.5, minimum=10)).state is BreakerState.CLOSED
    assert run("f.f.f.f.f", Rates(failed=0.5, minimum=9)).state is BreakerState.OPEN


def test_a_fast_success_never_opens_a_breaker() -> None:
    assert run("f.f.f.f.f.", Rates(failed=0.5, minimum=10)).state is BreakerState.CLOSED
    assert run("f.f.f.f.f.f", Rates(failed=0.5, minimum=10)).state is BreakerState.OPEN


def test_slow_renders_have_their_own_limit() -> None:
    rates = Rates(failed=0.5, slow=0.6, slow_seconds=30, minimum=10)
    assert run("sssfff.sss", rates).reason == "6 of the last 10 renders: slow"
    assert run("sssff.ff.ss.s", rates).state is BreakerState.CLOSED
    assert run(20 * "s", Rates(failed=0.5)).window == ()


def test_old_renders_leave_the_window_by_count_and_by_time() -> None:
    by_count = Rates(failed=0.5, size=10, minimum=10, seconds=1000)
    assert run("ffff" + 6 * "." + "f", by_count).state is BreakerState.CLOSED
    assert run("fffff" + 4 * "." + "f", by_count).state is BreakerState.OPEN
    by_time = Rates(failed=0.5, seconds=5, minimum=10)
    assert run("fffff....f", by_time).state is BreakerState.CLOSED
    assert run("fffff....f", by_time, every_seconds=0.1).state is BreakerState.OPEN


def test_a_healthy_type_stores_no_window() -> None:
    rates = Rates(failed=0.5, slow=0.5, size=10)
    breaker = run(30 * ".", rates)
    assert breaker == Breaker("sales")
    recovered = run("ff" + 12 * ".", rates)
    assert (recovered.window, recovered.failures, recovered.faults) == ((), 0, ())


def test_the_window_begins_with_a_bad_render() -> None:
    rates = Rates(failed=0.5, size=4)
    window = add(((1.0, Grade.FAILED), (2.0, Grade.FINE), (3.0, Grade.FAILED)), Grade.FINE, 4.0, rates)
    assert [at for at, _ in window] == [1.0, 2.0, 3.0, 4.0]
    assert [at for at, _ in add(window, Grade.FINE, 5.0, rates)] == [3.0, 4.0, 5.0]


def test_renders_in_the_future_leave_the_window() -> None:
    assert add(((5000.0, Grade.FAILED),), Grade.FAILED, 1400.0, Rates(failed=0.5)) == ((1400.0, Grade.FAILED),)


@pytest.mark.parametrize(("share", "bad"), [(0.3, True), (0.31, False)])
def test_the_limit_itself_opens_the_breaker(share: float, *, bad: bool) -> None:
    window = tuple((float(at), Grade.FAILED if at in (0, 5, 9) else Grade.FINE) for at in range(10))
    assert bool(too_bad(window, Rates(failed=share))) is bad

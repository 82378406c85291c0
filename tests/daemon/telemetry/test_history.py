"""Recent history: rates, times, failures, and the depths of the last hour."""

from itertools import pairwise

import pytest

from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.status.snapshot import Figures
from reportd.ports import Meter, MeterFanOut
from reportd.telemetry.history import SAMPLES, History


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    return History({"sales": "sales", "s": "sales", "quarterly": "quarterly"}, clock)


def test_nothing_has_happened(history: History) -> None:
    assert history.figures() == {}
    assert history.stored_p95_seconds() is None
    assert history.depths("visible") == ()


def test_rendered_per_minute(history: History, clock: Clock) -> None:
    for _ in range(30):
        history.rendered("sales", 0.1, 1)
        clock.now += 1.0
    assert history.figures()["sales"].per_minute == 30
    clock.now += 90.0
    assert history.figures()["sales"].per_minute == 0


def test_a_rate_stays_as_it_is_within_a_step(history: History, clock: Clock) -> None:
    for _ in range(100):
        history.rendered("sales", 0.1, 1)
        clock.now += 0.7
    rates = []
    for _ in range(100):
        rates.append(history.figures()["sales"].per_minute)
        clock.now += 0.7
    changes = sum(one != other for one, other in pairwise(rates))
    assert 5 < changes <= 14


def test_times_are_those_of_the_last_renders_of_an_hour(history: History, clock: Clock) -> None:
    for _ in range(SAMPLES):
        history.rendered("quarterly", 60.0, 1)
    for number in range(SAMPLES):
        history.rendered("quarterly", number / 100, 1)
    figures = history.figures()["quarterly"]
    assert (figures.p50_seconds, figures.p95_seconds) == (1.0, 1.9)
    clock.now += 3599.0
    assert history.figures()["quarterly"].p95_seconds == 1.9
    clock.now += 2.0
    assert history.figures()["quarterly"].p95_seconds is None


def test_failures_of_ten_minutes(history: History, clock: Clock) -> None:
    for number in range(10):
        history.rendered("s", 0.1, 1)
        if number % 2:
            history.failed("sales", FaultKind.TIMEOUT)
    assert history.figures() == {"sales": Figures(10.0, 5, 15, 0.1, 0.1)}
    clock.now += 590.0
    assert (history.figures()["sales"].failed, history.figures()["sales"].tried) == (5, 15)
    clock.now += 20.0
    assert (history.figures()["sales"].failed, history.figures()["sales"].tried) == (0, 0)


def test_refusals_of_ten_minutes(history: History, clock: Clock) -> None:
    for _ in range(28):
        history.refused("s", "report_type")
    assert history.figures() == {"sales": Figures(refused=28)}
    clock.now += 610.0
    assert history.figures()["sales"].refused == 0


def test_types_that_nobody_knows_take_no_memory(history: History) -> None:
    for number in range(1000):
        history.failed(f"type_{number}", FaultKind.UNKNOWN_REPORT_TYPE)
    assert list(history.figures()) == ["other"]


def test_from_submission_to_the_stored_pdf(history: History) -> None:
    history.ended("sales", JobEvent.RETRIED, 1000.0)
    for seconds in (1.0, 2.0, 3.0, -5.0):
        history.ended("sales", JobEvent.SUCCEEDED, seconds)
    assert history.stored_p95_seconds() == 3.0


def test_depths_are_the_highest_of_each_minute(history: History, clock: Clock) -> None:
    for depths in ([3, 9, 4], [2], [], [7]):
        for depth in depths:
            history.saw_depth("visible", depth)
        clock.now += 60.0
    assert history.depths("visible") == (9, 2, 2, 7)
    for minute in range(200):
        history.saw_depth("visible", minute)
        clock.now += 60.0
    assert history.depths("visible") == tuple(range(140, 200))


def test_a_gap_longer_than_an_hour(history: History, clock: Clock) -> None:
    history.saw_depth("dead", 5)
    clock.now += 2 * 3600.0
    history.saw_depth("dead", 1)
    assert history.depths("dead") == (0,) * 59 + (1,)


def test_several_are_told_all_there_is_to_tell() -> None:
    told: list[tuple[int, str, tuple[object, ...]]] = []

    class Listener(Meter):
        def __init__(self, number: int) -> None:
            for name in CALLS:
                setattr(self, name, lambda *said, name=name: told.append((number, name, said)))

    several = MeterFanOut(Listener(1), Listener(2))
    for name in CALLS:
        getattr(several, name)("a", name)
    assert told == [(number, name, ("a", name)) for name in CALLS for number in (1, 2)]


CALLS = [name for name in vars(Meter) if not name.startswith("_")]

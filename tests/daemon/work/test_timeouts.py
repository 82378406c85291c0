"""The timeout of a type is a multiple of its own 99th percentile, once there is enough history."""

import pytest

from reportd.work.timeouts import FLOOR_SECONDS, KEPT, LEAST, LearnedTimeouts


def taught(*seconds: float, factor: float = 10.0) -> LearnedTimeouts:
    timeouts = LearnedTimeouts({"report": factor, "other": 0.0})
    for one in seconds:
        timeouts.rendered("report", one)
        timeouts.rendered("other", one)
    return timeouts


def test_nothing_is_learned_from_a_few_jobs_nor_where_nothing_is_to_be() -> None:
    assert taught(*[0.5] * (LEAST - 1)).limit("report", 60.0) == 60.0
    assert taught(*[0.5] * LEAST).limit("report", 60.0) == 5.0
    assert taught(*[0.5] * LEAST).limit("other", 60.0) == 60.0
    assert taught(*[0.5] * LEAST).limit("unheard of", 60.0) == 60.0


@pytest.mark.parametrize(("seconds", "limit"), [(0.01, FLOOR_SECONDS), (0.5, 5.0), (7.0, 60.0)])
def test_it_is_neither_below_the_floor_nor_above_the_ceiling(seconds: float, limit: float) -> None:
    assert taught(*[seconds] * LEAST).limit("report", 60.0) == limit


def test_one_of_a_hundred_may_be_longer_but_not_two() -> None:
    assert taught(*[0.5] * 99, 5.0).limit("report", 60.0) == 50.0
    assert taught(*[0.5] * 199, 5.0).limit("report", 60.0) == 5.0


def test_what_is_long_ago_is_forgotten() -> None:
    assert taught(*[5.0] * KEPT, *[0.5] * KEPT).limit("report", 60.0) == 5.0


def test_what_was_learned_outlives_other_factors() -> None:
    timeouts = taught(*[0.5] * LEAST)
    timeouts.reconfigure({"report": 4.0, "new": 2.0})
    assert timeouts.limit("report", 60.0) == 2.0
    assert timeouts.limit("new", 60.0) == 60.0
    timeouts.reconfigure({})
    assert timeouts.limit("report", 60.0) == 60.0

"""A frequent line is logged once in a while, with the number of repetitions."""

import logging

import structlog
from structlog.testing import capture_logs

from reportd.system.log_throttle import Throttle, ThrottledLog, ThrottleFilter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_a_minute_comes_through_with_the_number_of_the_others() -> None:
    clock = Clock()
    throttle = Throttle(60.0, clock)
    assert throttle.admit() == 0
    clock.now += 59.9
    assert [throttle.admit() for _ in range(1000)] == [None] * 1000
    clock.now += 0.1
    assert throttle.admit() == 1000
    clock.now += 3600
    assert throttle.admit() == 0


def test_each_event_is_counted_for_itself() -> None:
    clock = Clock()
    with capture_logs() as lines:
        log = ThrottledLog(structlog.get_logger(), 60.0, clock)
        for _ in range(3):
            log.error("one.event", number=7)
            log.warning("another.event")
        clock.now += 61
        log.error("one.event")
    assert lines == [
        {"event": "one.event", "log_level": "error", "number": 7, "heldBack": 0},
        {"event": "another.event", "log_level": "warning", "heldBack": 0},
        {"event": "one.event", "log_level": "error", "heldBack": 2},
    ]


def test_a_librarys_logger_is_held_back_and_no_other() -> None:
    clock = Clock()
    throttle = ThrottleFilter("trio.serve_listeners", 60.0, clock)

    def said(name: str) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, "accept: %s", ("none",), (None, None, None))
        return record.getMessage() if throttle.filter(record) else None

    assert said("trio.serve_listeners") == "accept: none; 0 more held back"
    assert [said("trio.serve_listeners") for _ in range(5)] == [None] * 5
    assert [said("hypercorn.error") for _ in range(2)] == ["accept: none"] * 2
    clock.now += 60
    assert said("trio.serve_listeners") == "accept: none; 5 more held back"

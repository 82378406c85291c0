"""Keeps events from flooding the log: each is logged once in ``seconds``, with the number that were held back."""

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog

SECONDS = 60.0


class Throttle:
    """Lets one event through in ``seconds``. ``clock`` is monotonic, in seconds."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next_at = float("-inf")
        self._held_back = 0

    def admit(self) -> int | None:
        """Return how many were held back since the last event that passed; None when this one is held back too."""
        if self._clock() < self._next_at:
            self._held_back += 1
            return None
        self._next_at = self._clock() + self._seconds
        held_back, self._held_back = self._held_back, 0
        return held_back


class ThrottledLog:
    """A logger for events that may occur thousands of times a second. ``heldBack`` counts those left out.

    An event's name must be a literal: each name is kept in memory.
    """

    def __init__(
        self,
        log: structlog.typing.FilteringBoundLogger,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._throttles: dict[str, Throttle] = {}

    def warning(self, event: str, **details: Any) -> None:
        if (held_back := self._admitted(event)) is not None:
            self._log.warning(event, **details, heldBack=held_back)

    def error(self, event: str, **details: Any) -> None:
        if (held_back := self._admitted(event)) is not None:
            self._log.error(event, **details, heldBack=held_back)

    def _admitted(self, event: str) -> int | None:
        return self._throttles.setdefault(event, Throttle(self._seconds, self._clock)).admit()


class ThrottleFilter(logging.Filter):
    """Throttles all records of a library's logger ``name`` as one event, and drops their tracebacks."""

    def __init__(self, name: str, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name)
        self._throttle = Throttle(seconds, clock)

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True  # of another logger
        held_back = self._throttle.admit()
        record.msg, record.args, record.exc_info = f"{record.getMessage()}; {held_back} more held back", (), None
        return held_back is not None

"""Limits login attempts: counts the failures of the last minute, for each address and in total."""

import math
from collections import deque
from collections.abc import Callable

import trio

WINDOW_SECONDS = 60.0
PER_ADDRESS = 10
IN_ALL = 100
"""The limit for all addresses together, which also bounds the memory. Programs do not log in, so only people wait."""


class LoginThrottle:
    """Counts in this process only: tokens are too long to guess, also with the attempts on all nodes."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque()

    def wait_seconds(self, address: str) -> int:
        """Return how long the address must wait before its next attempt; 0: not at all."""
        now = self._clock()
        while self._failures and self._failures[0][0] <= now - WINDOW_SECONDS:
            self._failures.popleft()
        all_failures = [at for at, _ in self._failures]
        own = [at for at, source in self._failures if source == address]
        # At the limit, the oldest counted failure must leave the window first.
        oldest = [times[-most] for times, most in ((own, PER_ADDRESS), (all_failures, IN_ALL)) if len(times) >= most]
        return max((math.ceil(at + WINDOW_SECONDS - now) for at in oldest), default=0)

    def failed(self, address: str) -> None:
        self._failures.append((self._clock(), address))

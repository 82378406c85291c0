"""How often somebody may try to log in: failures are counted, of each address and of all, over the last minute."""

import math
from collections import deque
from collections.abc import Callable

import trio

WINDOW_SECONDS = 60.0
PER_ADDRESS = 10
IN_ALL = 100
"""What all addresses have together; it bounds the memory, too. Programs do not log in, so nothing else is held up."""


class Attempts:
    """In this process only: tokens are too long to be guessed, however many nodes are asked."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque()

    def wait_seconds(self, address: str) -> int:
        """How long that address must wait before it may try; 0: not at all."""
        now = self._clock()
        while self._failures and self._failures[0][0] <= now - WINDOW_SECONDS:
            self._failures.popleft()
        every = [at for at, _ in self._failures]
        own = [at for at, other in self._failures if other == address]
        # When so many have been made, the oldest of them must be out of the window first.
        oldest = [times[-most] for times, most in ((own, PER_ADDRESS), (every, IN_ALL)) if len(times) >= most]
        return max((math.ceil(at + WINDOW_SECONDS - now) for at in oldest), default=0)

    def failed(self, address: str) -> None:
        self._failures.append((self._clock(), address))

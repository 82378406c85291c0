"""So many at once: a semaphore whose places may be lent, and their number changed."""

from collections import deque

import trio


class ResizableSemaphore:
    """First come, first served; but who takes back a place that he has lent goes before all others."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._again: deque[trio.Event] = deque()
        self._new: deque[trio.Event] = deque()

    @property
    def free(self) -> int:
        """Below zero when there are fewer places now than are taken."""
        return self._free

    @property
    def waiting(self) -> int:
        return len(self._again) + len(self._new)

    async def acquire(self, *, again: bool = False) -> None:
        """Wait for a place; no checkpoint where one is free."""
        if self.acquire_nowait():
            return
        queue = self._again if again else self._new
        turn = trio.Event()
        queue.append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():  # given a place after it was cancelled, before it knew
                self.release()
            else:
                queue.remove(turn)
            raise

    def acquire_nowait(self) -> bool:
        """Take a place if one is free. While somebody waits, none is."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def release(self) -> None:
        self.add(1)

    def add(self, number: int) -> None:
        """So many places more, or fewer; who has one keeps it until he releases it."""
        self._free += number
        while self._free > 0 and (queue := self._again or self._new):
            self._free -= 1
            queue.popleft().set()

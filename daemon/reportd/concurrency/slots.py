"""A semaphore whose slots can be lent, and whose size can change."""

from collections import deque

import trio


class ResizableSemaphore:
    """First come, first served. A task that takes back a slot it has lent goes before all others."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._again: deque[trio.Event] = deque()
        self._new: deque[trio.Event] = deque()

    @property
    def free(self) -> int:
        """Free slots; below zero when more are taken than there are now."""
        return self._free

    @property
    def waiting(self) -> int:
        return len(self._again) + len(self._new)

    async def acquire(self, *, again: bool = False) -> None:
        """Wait for a slot; no checkpoint when one is free. ``again``: the caller has lent it before."""
        if self.acquire_nowait():
            return
        queue = self._again if again else self._new
        turn = trio.Event()
        queue.append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():  # it got a slot after it was cancelled, before it ran again
                self.release()
            else:
                queue.remove(turn)
            raise

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free. None is free while a task waits."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def release(self) -> None:
        self.add(1)

    def add(self, number: int) -> None:
        """Add ``number`` slots, which may be negative. A taken slot stays taken until it is released."""
        self._free += number
        while self._free > 0 and (queue := self._again or self._new):
            self._free -= 1
            queue.popleft().set()

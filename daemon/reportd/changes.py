"""Who waits for a job hears of its changes, within this process. Other nodes' changes are found by looking."""

from collections import defaultdict

import trio


class Changes:
    """``notify`` wakes everybody who is in ``wait`` for that task."""

    def __init__(self) -> None:
        self._events: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self._waiters: defaultdict[str, int] = defaultdict(int)

    def notify(self, task_id: str) -> None:
        if event := self._events.pop(task_id, None):
            event.set()

    async def wait(self, task_id: str, timeout_seconds: float) -> bool:
        """True when the task changed, False when the time is over."""
        event = self._events[task_id]
        self._waiters[task_id] += 1
        try:
            with trio.move_on_after(timeout_seconds) as scope:
                await event.wait()
        finally:
            self._waiters[task_id] -= 1
            if not self._waiters[task_id]:
                del self._waiters[task_id]
                if self._events.get(task_id) is event:
                    del self._events[task_id]
        return not scope.cancelled_caught

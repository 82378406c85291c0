"""Wakes the tasks that wait for a job when this process changes it. Changes by other nodes need polling."""

import trio


class JobWaiters:
    """``notify`` wakes every task that is in ``wait`` for that job."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[trio.Event]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many tasks wait."""
        return self._count

    def notify(self, task_id: str) -> None:
        for event in self._waiting.get(task_id, ()):
            event.set()

    async def wait(self, task_id: str, timeout_seconds: float) -> bool:
        """Return True when the job changed, False after ``timeout_seconds``."""
        changed = trio.Event()
        waiting = self._waiting.setdefault(task_id, set())
        waiting.add(changed)
        self._count += 1
        try:
            with trio.move_on_after(timeout_seconds):
                await changed.wait()
        finally:
            waiting.discard(changed)
            self._count -= 1
            if not waiting and self._waiting.get(task_id) is waiting:
                del self._waiting[task_id]
        return changed.is_set()

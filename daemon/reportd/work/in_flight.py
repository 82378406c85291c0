"""The messages this node holds, so that each stays invisible to others and its work can be called off."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import trio

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.concurrency.signal import Signal
from reportd.ports import Queue, Started, UnavailableError

RECORD_SECONDS = 5.0
"""How long a recall waits for a start that is being recorded."""


class Revocation(StrEnum):
    """Why work on a held message was called off."""

    LOST = "lost"
    CANCELLED = "cancelled"
    DRAINED = "drained"


@dataclass(eq=False, slots=True)
class InFlightTask:
    """What is held for one task: a message, or several where it came more than once.

    ``receipts``: of what is not settled yet; ``receive_count``: of the first. ``started``: its attempt, once recorded.
    ``scope``: around the work.
    """

    task_id: str
    receipts: list[str]
    receive_count: int = 1
    started: Started | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    revoked: Revocation | None = None
    ended: trio.Event = field(default_factory=trio.Event)
    _recording: bool = False

    def revoke(self, why: Revocation) -> None:
        """Call the work off. The first reason stays."""
        if self.revoked is not None:
            return
        self.revoked = why
        if self._recording:
            self.scope.deadline = trio.current_time() + RECORD_SECONDS
        else:
            self.scope.cancel()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A recall waits for this block: a start on record that nobody here knows of could not be given back (I7)."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
            if self.revoked is not None:
                self.scope.cancel()

    def settled(self, receipts: Iterable[str]) -> None:
        """Nothing is left to do about these messages."""
        self.receipts = [receipt for receipt in self.receipts if receipt not in receipts]

    def receipt_lost(self, receipt: str) -> None:
        """This message is somebody else's now; with the last one goes the right to work on the task."""
        if receipt in self.receipts:
            self.settled([receipt])
            if not self.receipts:
                self.revoke(Revocation.LOST)


class InFlightTasks:
    """At most one entry a task: a second delivery of it belongs to the same work."""

    def __init__(self) -> None:
        self._tasks: dict[str, InFlightTask] = {}
        self._emptied = Signal()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._tasks)

    def all(self) -> list[InFlightTask]:
        return list(self._tasks.values())

    def get(self, task_id: str) -> InFlightTask | None:
        return self._tasks.get(task_id)

    def add(self, task: InFlightTask) -> None:
        self._tasks[task.task_id] = task
        if self._stopped:
            task.revoke(Revocation.DRAINED)

    def remove(self, task: InFlightTask) -> None:
        del self._tasks[task.task_id]
        task.ended.set()
        if not self._tasks:
            self._emptied.notify()

    async def wait_empty(self) -> None:
        """Until nothing is held."""
        while self._tasks:
            await self._emptied.wait()

    def cancel(self, task_id: str) -> None:
        """The user cancelled it: stop rendering at once."""
        if task := self._tasks.get(task_id):
            task.revoke(Revocation.CANCELLED)

    def stop(self) -> None:
        """Nothing begins any more: give back what has not begun, and at once whatever is still to come."""
        self._stopped = True
        for task in self.all():
            if task.started is None:
                task.revoke(Revocation.DRAINED)


async def delete(queue: Queue, task: InFlightTask) -> None:
    """Its messages are done with."""
    await _settle(task, queue.delete)


async def release(queue: Queue, task: InFlightTask, delay_seconds: float) -> None:
    """Its messages may be received again after a while."""
    await _settle(task, lambda receipts: queue.set_visibility([(receipt, delay_seconds) for receipt in receipts]))


async def _settle(task: InFlightTask, call: Callable[[list[str]], Awaitable[list[Exception | None]]]) -> None:
    async def settle(receipts: list[str]) -> None:
        for outcome in await call(receipts):
            if isinstance(outcome, UnavailableError):
                raise outcome

    while receipts := list(task.receipts):  # more may come while these are being settled
        await retry_while_unavailable(partial(settle, receipts))
        task.settled(receipts)

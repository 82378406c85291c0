"""The messages in flight on this node: each stays invisible to other nodes, and the work on it can be revoked."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import trio

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.concurrency.signal import Signal
from reportd.ports import AttemptStarted, Queue, UnavailableError

RECORD_SECONDS = 5.0
"""How long a revocation waits for a start that is being recorded."""


class Revocation(StrEnum):
    """Why the work on a message was stopped."""

    LOST = "lost"
    CANCELLED = "cancelled"
    DRAINED = "drained"


@dataclass(eq=False, slots=True)
class InFlightTask:
    """A job in flight, with its message, or with several when the message came more than once.

    ``receipts``: those of messages that are not settled yet. ``receive_count``: that of the first message.
    ``started``: the attempt, once it is recorded. ``scope``: cancels the work. ``progress``: of the page that is being
    rendered, from 0 to 1, if it has said so. ``edition``: of the template that it was made by.
    """

    task_id: str
    receipts: list[str]
    receive_count: int = 1
    started: AttemptStarted | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    revoked: Revocation | None = None
    progress: float | None = None
    edition: str = ""
    ended: trio.Event = field(default_factory=trio.Event)
    _recording: bool = False

    def progressed(self, progress: float) -> None:
        """The page says that it is so far."""
        self.progress = progress

    def revoke(self, reason: Revocation) -> None:
        """Stop the work. A later reason does not replace the first one."""
        if self.revoked is not None:
            return
        self.revoked = reason
        if self._recording:
            self.scope.deadline = trio.current_time() + RECORD_SECONDS
        else:
            self.scope.cancel()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Let a revocation wait for this block. A start that is recorded but not known here can't be undone (I7)."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
            if self.revoked is not None:
                self.scope.cancel()

    def settled(self, receipts: Iterable[str]) -> None:
        """Forget the receipts of messages that are settled."""
        self.receipts = [receipt for receipt in self.receipts if receipt not in receipts]

    def receipt_lost(self, receipt: str) -> None:
        """Another node has this message now. With the last message, this node loses the right to work on the job."""
        if receipt in self.receipts:
            self.settled([receipt])
            if not self.receipts:
                self.revoke(Revocation.LOST)


class InFlightTasks:
    """At most one entry for each task id: a second delivery of the message joins the work on the first."""

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
        """Wait until nothing is in flight."""
        while self._tasks:
            await self._emptied.wait()

    def cancel(self, task_id: str) -> None:
        """Stop the work on this job at once, because its user cancelled it."""
        if task := self._tasks.get(task_id):
            task.revoke(Revocation.CANCELLED)

    def stop(self) -> None:
        """Start no more jobs: revoke those that have not started, and from now on each one that is added."""
        self._stopped = True
        for task in self.all():
            if task.started is None:
                task.revoke(Revocation.DRAINED)


async def delete(queue: Queue, task: InFlightTask) -> None:
    """Delete the task's messages."""
    await _settle(task, queue.delete)


async def release(queue: Queue, task: InFlightTask, delay_seconds: float) -> None:
    """Make the task's messages visible again after ``delay_seconds``."""
    await _settle(task, lambda receipts: queue.set_visibility([(receipt, delay_seconds) for receipt in receipts]))


async def _settle(task: InFlightTask, call: Callable[[list[str]], Awaitable[list[Exception | None]]]) -> None:
    async def settle(receipts: list[str]) -> None:
        for outcome in await call(receipts):
            if isinstance(outcome, UnavailableError):
                raise outcome

    while receipts := list(task.receipts):  # another delivery may come while these are being settled
        await retry_while_unavailable(partial(settle, receipts))
        task.settled(receipts)

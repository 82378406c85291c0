"""The messages this node holds, so that each stays invisible to others and its work can be called off."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import trio

from reportd.concurrency.retrying import patiently
from reportd.ports import Queue, Started, UnavailableError

RECORD_SECONDS = 5.0
"""How long a recall waits for a start that is being recorded."""


class Recall(StrEnum):
    """Why work on a held message was called off."""

    LOST = "lost"
    CANCELLED = "cancelled"
    DRAINED = "drained"


@dataclass(eq=False, slots=True)
class Hold:
    """What is held for one task: a message, or several where it came more than once.

    ``receipts``: of what is not settled yet; ``receive_count``: of the first. ``started``: its attempt, once recorded.
    ``scope``: around the work.
    """

    task_id: str
    receipts: list[str]
    receive_count: int = 1
    started: Started | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    recalled: Recall | None = None
    ended: trio.Event = field(default_factory=trio.Event)
    _recording: bool = False

    def recall(self, why: Recall) -> None:
        """Call the work off. The first reason stays."""
        if self.recalled is not None:
            return
        self.recalled = why
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
            if self.recalled is not None:
                self.scope.cancel()

    def settled(self, receipts: Iterable[str]) -> None:
        """Nothing is left to do about these messages."""
        self.receipts = [receipt for receipt in self.receipts if receipt not in receipts]

    def lose(self, receipt: str) -> None:
        """This message is somebody else's now; with the last one goes the right to work on the task."""
        if receipt in self.receipts:
            self.settled([receipt])
            if not self.receipts:
                self.recall(Recall.LOST)


class Held:
    """At most one hold a task: a second delivery of a held task is the same work."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._emptied = trio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._holds)

    def all(self) -> list[Hold]:
        return list(self._holds.values())

    def get(self, task_id: str) -> Hold | None:
        return self._holds.get(task_id)

    def add(self, hold: Hold) -> None:
        self._holds[hold.task_id] = hold
        if self._stopped:
            hold.recall(Recall.DRAINED)

    def remove(self, hold: Hold) -> None:
        del self._holds[hold.task_id]
        hold.ended.set()
        if not self._holds:
            self._emptied.set()
            self._emptied = trio.Event()

    async def wait_empty(self) -> None:
        """Until nothing is held."""
        while self._holds:
            await self._emptied.wait()

    def cancel(self, task_id: str) -> None:
        """The user cancelled it: stop rendering at once."""
        if hold := self._holds.get(task_id):
            hold.recall(Recall.CANCELLED)

    def stop(self) -> None:
        """Nothing begins any more: give back what has not begun, and at once whatever is still to come."""
        self._stopped = True
        for hold in self.all():
            if hold.started is None:
                hold.recall(Recall.DRAINED)


async def delete(queue: Queue, hold: Hold) -> None:
    """Its messages are done with."""
    await _settle(hold, queue.delete)


async def release(queue: Queue, hold: Hold, delay_seconds: float) -> None:
    """Its messages may be received again after a while."""
    await _settle(hold, lambda receipts: queue.set_visibility([(receipt, delay_seconds) for receipt in receipts]))


async def _settle(hold: Hold, call: Callable[[list[str]], Awaitable[list[Exception | None]]]) -> None:
    async def settle(receipts: list[str]) -> None:
        for outcome in await call(receipts):
            if isinstance(outcome, UnavailableError):
                raise outcome

    while receipts := list(hold.receipts):  # more may come while these are being settled
        await patiently(partial(settle, receipts))
        hold.settled(receipts)

"""The messages this node holds, so that each stays invisible to others and its work can be called off."""

from dataclasses import dataclass, field
from enum import StrEnum

import trio

from reportd.ports import Started


class Recall(StrEnum):
    """Why work on a held message was called off."""

    LOST = "lost"
    CANCELLED = "cancelled"
    DRAINED = "drained"


@dataclass(eq=False, slots=True)
class Hold:
    """One held message. ``scope`` is around the work on it; ``started`` is its attempt, once it is recorded."""

    task_id: str
    receipt: str
    started: Started | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    recalled: Recall | None = None

    def recall(self, why: Recall) -> None:
        """Call the work off. The first reason stays."""
        if self.recalled is None:
            self.recalled = why
            self.scope.cancel()


class Held:
    """At most one hold a task: a second delivery of a held task is the same work."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._emptied = trio.Event()

    def __len__(self) -> int:
        return len(self._holds)

    def all(self) -> list[Hold]:
        return list(self._holds.values())

    def get(self, task_id: str) -> Hold | None:
        return self._holds.get(task_id)

    def add(self, hold: Hold) -> None:
        self._holds[hold.task_id] = hold

    def remove(self, hold: Hold) -> None:
        if self._holds.get(hold.task_id) is hold:
            del self._holds[hold.task_id]
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

"""The message queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

ANY: Mapping[str, int] = MappingProxyType({})
"""No report type is limited."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. ``group``: the user; the queue is fair between groups."""

    body: str
    task_id: str
    report_type: str
    group: str
    delay_seconds: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A received message. It is invisible to others until ``receipt`` is settled or its visibility timeout ends."""

    receipt: str
    body: str
    receive_count: int
    sent_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """Message counts. ``oldest_at``: epoch seconds of the oldest visible message, None when there is none.

    ``held``: waiting for a breaker, and in no other count. No queue knows them; ``core.status.queue_depth`` does.
    """

    visible: int
    in_flight: int
    delayed: int
    oldest_at: float | None = None
    held: int = 0

    @property
    def backlog(self) -> int:
        return self.visible + self.delayed


class Queue(Protocol):
    """A queue with the semantics of SQS: at least once, visibility timeout, receive count, delay.

    Batch calls return one value per entry, in order: None, or the exception of that entry. They raise UnavailableError
    only when no entry was processed.
    """

    visibility_seconds: float
    max_message_bytes: int
    """Largest body in bytes, with room left for a few attributes."""

    max_receive_count: int | None
    """How often a message is received before the queue dead-letters it; None when it never does."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]: ...

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        """Return up to ``limit`` messages as soon as there is one, or an empty list after ``wait_seconds``.

        ``at_most``: limits by report type; 0 leaves its messages in the queue. A queue that knows no types ignores it.
        """
        ...

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        """Delete messages. An expired receipt is no error: another node has settled the message."""
        ...

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        """Make received messages visible again after so many seconds (0 = now).

        ReceiptLostError for an entry: this receipt no longer holds the message.
        """
        ...

    async def depth(self) -> Depth: ...


class ReceiptLostError(Exception):
    """The visibility timeout ended, or the message was settled: this receipt no longer holds it."""

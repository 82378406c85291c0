"""A queue of messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

ANY: Mapping[str, int] = MappingProxyType({})
"""No report type is limited."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. ``group`` is who the queue is fair between: the user."""

    body: str
    task_id: str
    report_type: str
    group: str
    delay_seconds: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A message handed out and invisible to others until ``receipt`` is settled or its visibility ends."""

    receipt: str
    body: str
    receive_count: int
    sent_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """Message counts. ``oldest_at``: epoch seconds of the oldest visible message, None when there is none.

    ``held``: those that wait for a breaker and are in no other count. No queue tells; ``workable`` sets them apart.
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

    Batch calls answer per entry, in order: None, or the exception that befell that entry alone. They raise
    UnavailableError only when nothing at all was done.
    """

    visibility_seconds: float
    max_message_bytes: int
    """The most a body may have, leaving room for a few attributes."""

    max_receive_count: int | None
    """How often it hands a message out before it takes it away itself; None when it never does."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]: ...

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        """Up to ``limit`` messages, as soon as there is one; empty after ``wait_seconds``.

        ``at_most``: of these report types no more than so many; 0 leaves them where they are. A queue that can't tell
        types apart ignores it.
        """
        ...

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        """Settle messages for good. A receipt that is no longer valid is no error: somebody settled it."""
        ...

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        """Make held messages visible again after so many seconds (0 = now).

        An entry's ReceiptLostError says that the message is no longer held by this receipt.
        """
        ...

    async def depth(self) -> Depth: ...


class ReceiptLostError(Exception):
    """The message's visibility ended, or it was settled: it belongs to somebody else now."""

"""A queue as SQS has it, made for ten thousands of messages and hundreds of receivers.

It passes the suite of its port. ``tests.fakes.MemoryQueue`` shows more of itself, and is slower.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from reportd.ports import ANY, Depth, Outgoing, ReceiptLostError, Received
from tests.fakes import now

_READY, _IN_FLIGHT, _DELAYED, _GONE = range(4)


@dataclass(eq=False, slots=True)
class _Message:
    """What is of an earlier time in one of the heaps is known by its ``place`` and ``visible_at``."""

    sent: Outgoing
    number: int
    sent_at: float
    visible_at: float
    place: int = _DELAYED
    receive_count: int = 0
    receipt: str = ""


class FleetQueue:
    """Implements ``ports.Queue``. Like SQS it tells no report types apart; the oldest message comes first."""

    def __init__(
        self,
        *,
        visibility_seconds: float = 60.0,
        max_receive_count: int | None = None,
        dead: "FleetQueue | None" = None,
        clock: Callable[[], float] = now,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self.max_message_bytes = 1 << 20
        self.max_receive_count = max_receive_count
        self._dead = dead
        self._clock = clock
        self._numbers = 0
        self._receipts = 0
        self._ready: list[tuple[int, _Message]] = []
        self._hidden: list[tuple[float, int, _Message]] = []
        self._received: dict[str, _Message] = {}
        self._counts = [0, 0, 0, 0]
        self._receivers = trio.lowlevel.ParkingLot()
        self._lookout: trio.CancelScope | None = None

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        await trio.lowlevel.checkpoint()
        return [self._put(message) for message in messages]

    def _put(self, sent: Outgoing) -> Exception | None:
        try:
            sent.body.encode()
        except UnicodeEncodeError as error:
            return error
        self._numbers += 1
        message = _Message(sent, self._numbers, self._clock(), 0.0)
        self._counts[_DELAYED] += 1
        self._hide(message, sent.delay_seconds)
        return None

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        del at_most
        await trio.lowlevel.checkpoint()
        deadline = trio.current_time() + wait_seconds
        while not (received := list(self._claim(limit))) and trio.current_time() < deadline:
            await self._wait(deadline)
        if self._counts[_READY]:
            self._receivers.unpark()
        return received

    async def _wait(self, deadline: float) -> None:
        """For something to receive. One of those who wait looks out for what is hidden, for all of them."""
        with trio.CancelScope(deadline=deadline) as waiting:
            looks_out = self._lookout is None
            if looks_out:
                self._lookout = waiting
                self._look_out()
            try:
                await self._receivers.park()
            finally:
                if looks_out:
                    self._lookout = None
                    self._receivers.unpark()

    def _look_out(self) -> None:
        if self._lookout is not None and self._hidden:
            due = trio.current_time() + max(0.0, self._hidden[0][0] - self._clock())
            self._lookout.deadline = min(self._lookout.deadline, due)

    def _claim(self, limit: int) -> Iterator[Received]:
        self._promote()
        while self._ready and limit:
            _, message = heapq.heappop(self._ready)
            if message.place != _READY:
                continue
            self._received.pop(message.receipt, None)
            if self._dead is not None and message.receive_count == self.max_receive_count:
                self._redrive(message, self._dead)
                continue
            limit -= 1
            self._receipts += 1
            message.receipt = str(self._receipts)
            message.receive_count += 1
            self._received[message.receipt] = message
            self._move(message, _IN_FLIGHT)
            self._hide(message, self.visibility_seconds)
            sent = message.sent
            yield Received(message.receipt, sent.body, message.receive_count, message.sent_at, sent.attributes)

    def _redrive(self, message: _Message, dead: "FleetQueue") -> None:
        why = {"kind": "exhausted_receives", "reason": f"received {message.receive_count} times in vain"}
        dead._put(replace(message.sent, attributes={**message.sent.attributes, **why}, delay_seconds=0.0))
        self._move(message, _GONE)

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        """Also by a receipt whose time is over, until somebody else has another one."""
        await trio.lowlevel.checkpoint()
        self._promote()
        for receipt in receipts:
            if message := self._received.pop(receipt, None):
                self._move(message, _GONE)
        return [None] * len(receipts)

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        await trio.lowlevel.checkpoint()
        self._promote()
        return [self._set_visibility(receipt, seconds) for receipt, seconds in changes]

    def _set_visibility(self, receipt: str, seconds: float) -> Exception | None:
        message = self._received.get(receipt)
        if message is None or message.place != _IN_FLIGHT:
            return ReceiptLostError(receipt)
        self._hide(message, max(0.0, seconds))
        return None

    async def depth(self) -> Depth:
        await trio.lowlevel.checkpoint()
        self._promote()
        oldest = min((message.sent_at for _, message in self._ready if message.place == _READY), default=None)
        return Depth(self._counts[_READY], self._counts[_IN_FLIGHT], self._counts[_DELAYED], oldest)

    def wake(self) -> None:
        """Time has passed that trio does not know of."""
        self._receivers.unpark_all()

    def _hide(self, message: _Message, seconds: float) -> None:
        message.visible_at = self._clock() + seconds
        heapq.heappush(self._hidden, (message.visible_at, message.number, message))
        self._promote()
        self._look_out()

    def _promote(self) -> None:
        """What is due can be received."""
        moment = self._clock()
        while self._hidden and self._hidden[0][0] <= moment:
            at, number, message = heapq.heappop(self._hidden)
            if message.place in (_IN_FLIGHT, _DELAYED) and message.visible_at == at:
                self._move(message, _READY)
                heapq.heappush(self._ready, (number, message))
                self._receivers.unpark()

    def _move(self, message: _Message, place: int) -> None:
        self._counts[message.place] -= 1
        self._counts[place] += 1
        message.place = place

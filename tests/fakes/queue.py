"""A queue in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from reportd.ports import ANY, Depth, Outgoing, ReceiptLostError, Received
from tests.fakes.clock import now
from tests.fakes.weather import Weather


@dataclass(eq=False)
class Message:
    """One in the queue. Messages are served by ``turn``, then in the order they came."""

    sent: Outgoing
    clock: Callable[[], float]
    turn: int
    sent_at: float
    visible_at: float
    receive_count: int = 0
    receipt: str | None = None

    @property
    def visible(self) -> bool:
        return self.visible_at <= self.clock()

    @property
    def in_flight(self) -> bool:
        return self.receipt is not None and not self.visible


class MemoryQueue:
    """Implements ``ports.Queue``. ``messages`` is all there is; ``most_in_flight`` the high-water mark."""

    def __init__(
        self,
        weather: Weather | None = None,
        part: str = "queue",
        *,
        visibility_seconds: float = 60.0,
        max_receive_count: int | None = None,
        dead: "MemoryQueue | None" = None,
        clock: Callable[[], float] = now,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self.max_message_bytes = 1 << 20
        self.messages: list[Message] = []
        self.most_in_flight = 0
        self._weather = weather or Weather()
        self._part = part
        self.max_receive_count = max_receive_count
        self._dead = dead
        self._clock = clock
        self._served = 0
        self._receipts = 0
        self._news = trio.Event()

    @property
    def in_flight(self) -> list[Message]:
        return [message for message in self.messages if message.in_flight]

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        async with self._weather.call(self._part, "send"):
            return [self._put(message) for message in messages]

    def _put(self, message: Outgoing) -> Exception | None:
        try:
            message.body.encode()
        except UnicodeEncodeError as error:
            return error
        turns = [m.turn for m in self.messages if m.sent.group == message.group]
        turn = max(self._served, *turns, 0) + 1
        sent_at = self._clock()
        self.messages.append(Message(message, self._clock, turn, sent_at, sent_at + message.delay_seconds))
        self.wake()
        return None

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        async with self._weather.call(self._part, "receive"):
            deadline = trio.current_time() + wait_seconds
            while True:
                received = list(self._claim(limit, at_most))
                if received or trio.current_time() >= deadline:
                    self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
                    return received
                due = [m.visible_at - self._clock() for m in self.messages if not m.visible]
                with trio.move_on_at(min([deadline, *(trio.current_time() + seconds for seconds in due)])):
                    await self._news.wait()

    def _claim(self, limit: int, at_most: Mapping[str, int]) -> Iterator[Received]:
        visible = [m for m in self.messages if m.visible and at_most.get(m.sent.report_type) != 0]
        spent = [m for m in visible if self._dead is not None and m.receive_count == self.max_receive_count]
        for message in spent:
            self._redrive(message)
        fresh = [m for m in visible if m not in spent]
        left = dict(at_most)
        taken = []
        for message in sorted(fresh, key=lambda m: m.turn):
            report_type = message.sent.report_type
            left[report_type] = left.get(report_type, limit) - 1
            if left[report_type] >= 0:
                taken.append(message)
        for message in taken[:limit]:
            self._served = max(self._served, message.turn)
            self._receipts += 1
            message.receipt = f"{self._part}-{self._receipts}"
            message.receive_count += 1
            message.visible_at = self._clock() + self.visibility_seconds
            sent = message.sent
            yield Received(message.receipt, sent.body, message.receive_count, message.sent_at, sent.attributes)

    def _redrive(self, message: Message) -> None:
        assert self._dead is not None
        self.messages.remove(message)
        why = {"kind": "exhausted_receives", "reason": f"received {self.max_receive_count} times in vain"}
        letter = replace(message.sent, attributes={**message.sent.attributes, **why}, delay_seconds=0.0)
        self._dead._put(letter)

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        async with self._weather.call(self._part, "delete"):
            self.messages = [m for m in self.messages if m.receipt not in receipts]
            return [None] * len(receipts)

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        async with self._weather.call(self._part, "set_visibility"):
            return [self._set_visibility(receipt, seconds) for receipt, seconds in changes]

    def _set_visibility(self, receipt: str, seconds: float) -> Exception | None:
        for message in self.in_flight:
            if message.receipt == receipt:
                message.visible_at = self._clock() + seconds
                if seconds <= 0:
                    message.receipt = None
                self.wake()
                return None
        return ReceiptLostError(receipt)

    async def depth(self) -> Depth:
        async with self._weather.call(self._part, "depth"):
            visible = [m.sent_at for m in self.messages if m.visible]
            waiting = len(self.messages) - len(visible)
            in_flight = len(self.in_flight)
            return Depth(len(visible), in_flight, waiting - in_flight, min(visible, default=None))

    def wake(self) -> None:
        """Let waiting receivers look again."""
        self._news.set()
        self._news = trio.Event()

"""Several queues as one: a report type may have a queue of its own, all others share the main queue.

A receipt starts with the number of its queue. All queues are polled at once; the first messages are returned, and the
other queues' polls are left to the next receive.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import trio

from reportd.ports import ANY, Depth, Outgoing, Queue, Received, UnavailableError

Entry = TypeVar("Entry")
Outcomes = list[Exception | None]

GIVE_BACK_SECONDS = 3.0
"""How long giving back surplus messages may delay a receive. Otherwise they return after their visibility timeout."""


class RoutedQueue:
    """Implements ``ports.Queue``. ``own``: the queue of each report type that has its own; types may share one.

    ``queues``: all queues, the main one first.
    """

    def __init__(self, main: Queue, own: Mapping[str, Queue]) -> None:
        self.queues = self._queues = [main, *{id(queue): queue for queue in own.values()}.values()]
        self._numbers = {report_type: self._queues.index(queue) for report_type, queue in own.items()}
        self.max_message_bytes = min(queue.max_message_bytes for queue in self._queues)
        self.visibility_seconds = min(queue.visibility_seconds for queue in self._queues)
        self.max_receive_count = min(filter(None, (queue.max_receive_count for queue in self._queues)), default=None)

    async def send(self, messages: Sequence[Outgoing]) -> Outcomes:
        routed = [(self._numbers.get(message.report_type, 0), message) for message in messages]
        return await self._spread(routed, lambda queue, part: queue.send(part))

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        """Ask each queue for at most what its types may have; a queue with no allowance is not asked."""
        messages: list[Received] = []
        errors: list[UnavailableError] = []

        async def ask(number: int, most: int, nursery: trio.Nursery) -> None:
            try:
                received = await self._queues[number].receive(most, wait_seconds, at_most)
            except UnavailableError as error:
                errors.append(error)
                return
            messages.extend(replace(message, receipt=f"{number}:{message.receipt}") for message in received)
            if received:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for number in range(len(self._queues)):
                if most := min(limit, self._allowance(number, limit, at_most)):
                    nursery.start_soon(ask, number, most, nursery)
        if errors and not messages:
            raise errors[0]
        # Two queues may answer at the same moment.
        if surplus := messages[limit:]:
            with trio.move_on_after(GIVE_BACK_SECONDS, shield=True):
                await self.set_visibility([(message.receipt, 0.0) for message in surplus])
        return messages[:limit]

    def _allowance(self, number: int, limit: int, at_most: Mapping[str, int]) -> int:
        """Return how many messages to ask a queue for. The main queue may hold any type."""
        types = [report_type for report_type, own in self._numbers.items() if own == number]
        return sum(at_most.get(report_type, limit) for report_type in types) if types else limit

    async def delete(self, receipts: Sequence[str]) -> Outcomes:
        return await self._spread([_split(receipt) for receipt in receipts], lambda queue, part: queue.delete(part))

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> Outcomes:
        routed = [(number, (receipt, seconds)) for (number, receipt), seconds in ((_split(r), s) for r, s in changes)]
        return await self._spread(routed, lambda queue, part: queue.set_visibility(part))

    async def depth(self) -> Depth:
        depths = [await queue.depth() for queue in self._queues]
        oldest = [depth.oldest_at for depth in depths if depth.oldest_at is not None]
        return Depth(
            sum(depth.visible for depth in depths),
            sum(depth.in_flight for depth in depths),
            sum(depth.delayed for depth in depths),
            min(oldest, default=None),
        )

    async def _spread(
        self,
        routed: Sequence[tuple[int, Entry]],
        call: Callable[[Queue, Sequence[Entry]], Awaitable[Outcomes]],
    ) -> Outcomes:
        """Call each queue once with its entries, all at once. A queue that fails, fails only its own entries."""
        positions: dict[int, list[int]] = defaultdict(list)
        for position, (number, _) in enumerate(routed):
            positions[number].append(position)
        outcomes: Outcomes = [None] * len(routed)

        async def run(number: int) -> None:
            try:
                results = await call(self._queues[number], [routed[position][1] for position in positions[number]])
            except UnavailableError as error:
                results = [error] * len(positions[number])
            for position, outcome in zip(positions[number], results, strict=True):
                outcomes[position] = outcome

        async with trio.open_nursery() as nursery:
            for number in positions:
                nursery.start_soon(run, number)
        return outcomes


def _split(receipt: str) -> tuple[int, str]:
    number, _, inner = receipt.partition(":")
    return int(number), inner

"""Long polls that can be left at any instant without stranding a message.

SQS hands messages out before its answer reaches us. Were a request cut together with its caller, the messages in the
answer would stay invisible for the whole visibility timeout with nobody working on them. So a poll is a task of the
queue's own, and a caller that goes away leaves it behind: the next caller takes it over, and if none comes, what it
brings is given back.

What remains: when the queue is closed, a poll is cut ``GRACE_SECONDS`` after it was left. A message that SQS hands out
to the cut request comes again when its visibility ends. It has used a receive, but no attempt.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from reportd.ports import Received

GRACE_SECONDS = 1.0
"""An answer that is on its way arrives within it; longer would only make every stop slow."""

HOLD_SECONDS = 0.5
"""How long an answer waits for the next caller. A caller that looks around and comes back is quicker than that, and
spares the message a receive."""


@dataclass(eq=False, slots=True)
class _Poll:
    answered: trio.Event = field(default_factory=trio.Event)
    messages: list[Received] = field(default_factory=list)
    error: Exception | None = None
    left_at: float = 0.0


class Polls:
    """``ask(limit, wait_seconds)`` makes the request; ``give_back`` makes messages visible again, and never raises.

    Both run in ``nursery``, which must live until ``wind_up`` has returned.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        ask: Callable[[int, float], Awaitable[list[Received]]],
        give_back: Callable[[Sequence[Received]], Awaitable[None]],
    ) -> None:
        self._nursery = nursery
        self._ask = ask
        self._give_back = give_back
        self._left: list[_Poll] = []
        self._returns: set[trio.Event] = set()
        self._closing = trio.Event()

    async def receive(self, limit: int, wait_seconds: float) -> list[Received]:
        """Up to ``limit`` messages, or none once ``wait_seconds`` are over. Raises UnavailableError."""
        deadline = trio.current_time() + wait_seconds
        while True:
            remaining = max(0.0, deadline - trio.current_time())
            if self._left and remaining:
                # It may last longer than this caller wants to wait.
                messages = await self._result(self._left.pop(), limit, remaining)
            else:
                messages = await self._result(self._start(limit, remaining), limit, math.inf)
            if messages or trio.current_time() >= deadline:
                return messages

    async def wind_up(self) -> None:
        """Wait for polls that were left, each for its grace, and for what is being given back."""
        self._closing.set()
        for poll in tuple(self._left):
            with trio.move_on_at(poll.left_at + GRACE_SECONDS):
                await poll.answered.wait()
            self._return_if_left(poll)
        while self._returns:
            await next(iter(self._returns)).wait()

    def _start(self, limit: int, wait_seconds: float) -> _Poll:
        poll = _Poll()
        self._nursery.start_soon(self._run, poll, limit, wait_seconds)
        return poll

    async def _run(self, poll: _Poll, limit: int, wait_seconds: float) -> None:
        try:
            poll.messages = await self._ask(limit, wait_seconds)
        except Exception as error:  # noqa: BLE001 - raised to whoever waits for the answer
            poll.error = error
        poll.answered.set()
        if poll in self._left:
            with trio.move_on_after(HOLD_SECONDS):
                await self._closing.wait()
            self._return_if_left(poll)

    async def _result(self, poll: _Poll, limit: int, patience_seconds: float) -> list[Received]:
        answered = False
        try:
            with trio.move_on_after(patience_seconds):
                await poll.answered.wait()
            answered = poll.answered.is_set()
        finally:
            if not answered:
                self._leave(poll)
        # Nothing may be awaited between the answer and the caller, or a cancellation would lose it after all.
        if not answered:
            return []
        if poll.error is not None:
            raise poll.error
        self._return(poll.messages[limit:])
        return poll.messages[:limit]

    def _leave(self, poll: _Poll) -> None:
        if poll.answered.is_set():
            self._return(poll.messages)
        else:
            poll.left_at = trio.current_time()
            self._left.append(poll)

    def _return_if_left(self, poll: _Poll) -> None:
        if poll in self._left and poll.answered.is_set():
            self._left.remove(poll)
            self._return(poll.messages)

    def _return(self, messages: Sequence[Received]) -> None:
        if messages:
            returned = trio.Event()
            self._returns.add(returned)
            self._nursery.start_soon(self._returned, messages, returned)

    async def _returned(self, messages: Sequence[Received], returned: trio.Event) -> None:
        await self._give_back(messages)
        self._returns.discard(returned)
        returned.set()

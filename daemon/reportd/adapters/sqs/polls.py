"""Long polls that can be abandoned at any moment without losing a message for the visibility timeout.

SQS hands messages out before its answer arrives. If the request were cancelled together with its caller, the messages
in the answer would stay invisible for the whole visibility timeout, and no one would work on them. So each poll is a
task of the queue. A cancelled caller leaves its poll running. The next caller takes it over; if there is none, the
messages are given back.

One case remains: when the queue is closed, an abandoned poll is cancelled after ``GRACE_SECONDS``. A message that SQS
hands out to that request returns after its visibility timeout. It has used a receive, but no attempt.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from reportd.ports import Received

GRACE_SECONDS = 1.0
"""An answer that is on its way arrives within this time. More would only slow down each shutdown."""

HOLD_SECONDS = 0.5
"""How long an answer waits for the next caller. A caller that comes back within this time saves the message a receive.
"""


@dataclass(eq=False, slots=True)
class _Poll:
    answered: trio.Event = field(default_factory=trio.Event)
    messages: list[Received] = field(default_factory=list)
    error: Exception | None = None
    abandoned_at: float = 0.0


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
        self._abandoned: list[_Poll] = []
        self._returns: set[trio.Event] = set()
        self._closing = trio.Event()

    async def receive(self, limit: int, wait_seconds: float) -> list[Received]:
        """Return up to ``limit`` messages, or none after ``wait_seconds``. Raises UnavailableError."""
        deadline = trio.current_time() + wait_seconds
        while True:
            remaining = max(0.0, deadline - trio.current_time())
            if self._abandoned and remaining:
                # The poll may last longer than this caller wants to wait.
                messages = await self._result(self._abandoned.pop(), limit, remaining)
            else:
                messages = await self._result(self._start(limit, remaining), limit, math.inf)
            if messages or trio.current_time() >= deadline:
                return messages

    async def wind_up(self) -> None:
        """Wait for abandoned polls, each for its grace, and until all their messages are given back."""
        self._closing.set()
        for poll in tuple(self._abandoned):
            with trio.move_on_at(poll.abandoned_at + GRACE_SECONDS):
                await poll.answered.wait()
            self._return_if_abandoned(poll)
        while self._returns:
            await next(iter(self._returns)).wait()

    def _start(self, limit: int, wait_seconds: float) -> _Poll:
        poll = _Poll()
        self._nursery.start_soon(self._run, poll, limit, wait_seconds)
        return poll

    async def _run(self, poll: _Poll, limit: int, wait_seconds: float) -> None:
        try:
            poll.messages = await self._ask(limit, wait_seconds)
        except Exception as error:  # noqa: BLE001 - raised to the caller that waits for the answer
            poll.error = error
        poll.answered.set()
        if poll in self._abandoned:
            with trio.move_on_after(HOLD_SECONDS):
                await self._closing.wait()
            self._return_if_abandoned(poll)

    async def _result(self, poll: _Poll, limit: int, timeout_seconds: float) -> list[Received]:
        answered = False
        try:
            with trio.move_on_after(timeout_seconds):
                await poll.answered.wait()
            answered = poll.answered.is_set()
        finally:
            if not answered:
                self._abandon(poll)
        # No await from here to the caller: a cancellation would lose the messages.
        if not answered:
            return []
        if poll.error is not None:
            raise poll.error
        self._return(poll.messages[limit:])
        return poll.messages[:limit]

    def _abandon(self, poll: _Poll) -> None:
        if poll.answered.is_set():
            self._return(poll.messages)
        else:
            poll.abandoned_at = trio.current_time()
            self._abandoned.append(poll)

    def _return_if_abandoned(self, poll: _Poll) -> None:
        if poll in self._abandoned and poll.answered.is_set():
            self._abandoned.remove(poll)
            self._return(poll.messages)

    def _return(self, messages: Sequence[Received]) -> None:
        if messages:
            returned = trio.Event()
            self._returns.add(returned)
            self._nursery.start_soon(self._give_back_and_signal, messages, returned)

    async def _give_back_and_signal(self, messages: Sequence[Received], returned: trio.Event) -> None:
        await self._give_back(messages)
        self._returns.discard(returned)
        returned.set()

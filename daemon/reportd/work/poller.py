"""Receives messages from the queue, never more than this node can work on (I8)."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog
import trio

from reportd.concurrency.slots import ResizableSemaphore
from reportd.concurrency.supervisor import Supervisor
from reportd.ports import ANY, Queue, Received, UnavailableError
from reportd.work.in_flight import InFlightTasks, Revocation

log = structlog.get_logger()

WAIT_SECONDS = 20.0
"""The longest poll of SQS (ReceiveMessage, WaitTimeSeconds)."""

MAX_BATCH = 10
"""The most messages SQS returns at once (ReceiveMessage, MaxNumberOfMessages)."""

TROUBLE_SECONDS = 1.0
"""The pause after a receive that failed."""

LONGEST_SECONDS = 5.0
"""The longest pause after an unexpected error. It is short because jobs wait meanwhile."""

LIMITED_SECONDS = 0.5
"""Re-check interval while some types are limited and no event announces a change."""


class Poller:
    """``capacity``: slots plus prefetch. The poller reserves capacity before it asks for a message, so a node never
    holds more than it can work on (I8). It asks for at least ``least`` messages at once.

    ``at_most``: how many messages of which report types may be received now; a type that is left out is not limited.
    ``limits_drift``: whether ``at_most`` may change without a call of ``recheck``. ``trouble``: why the last receive
    failed, empty when it did not.
    """

    def __init__(
        self,
        queue: Queue,
        handle: Callable[[Received], Awaitable[None]],
        capacity: int,
        least: int = 1,
        at_most: Callable[[], Mapping[str, int]] = lambda: ANY,
        limits_drift: Callable[[], bool] = lambda: True,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.trouble = ""
        self._queue = queue
        self._handle = handle
        self._least = min(least, capacity)
        self._at_most = at_most
        self._limits_drift = limits_drift
        self._supervisor = supervisor or Supervisor()
        self._capacity = ResizableSemaphore(capacity)
        self._polling = trio.CancelScope()
        self._limited_receive: trio.CancelScope | None = None

    def stop(self) -> None:
        """Receive no more messages. Those already received are still handled."""
        self._polling.cancel()

    def change_capacity(self, number: int) -> None:
        """Change the capacity by ``number``: by the change of the slots, or of the jobs that stall without a slot."""
        self._capacity.add(number)

    def recheck(self) -> None:
        """Apply the new limits of ``at_most``."""
        if self._limited_receive is not None:
            self._limited_receive.cancel()

    async def run(self) -> None:
        """Receive and handle messages until ``stop`` is called and every message is handled, or until cancelled."""
        # Jobs go on when polling ends or fails.
        async with trio.open_nursery() as nursery:
            with self._polling:
                await self._supervisor.keep("poller", partial(self._poll, nursery), longest_seconds=LONGEST_SECONDS)

    async def _poll(self, nursery: trio.Nursery) -> None:
        while True:
            reserved = await self._reserve()
            messages: list[Received] = []
            try:
                messages = await self._receive(reserved)
            finally:
                for _ in range(reserved - len(messages)):
                    self._capacity.release()
            for message in messages:
                nursery.start_soon(self._handle_message, message)

    async def _reserve(self) -> int:
        """Reserve capacity for ``least`` to ``MAX_BATCH`` messages; return for how many."""
        reserved = 0
        try:
            while reserved < self._least:
                await self._capacity.acquire()
                reserved += 1
        except trio.Cancelled:
            for _ in range(reserved):
                self._capacity.release()
            raise
        while reserved < MAX_BATCH and self._capacity.acquire_nowait():
            reserved += 1
        return reserved

    async def _receive(self, limit: int) -> list[Received]:
        messages: list[Received] = []
        # After a failure, do not wait for messages: an empty queue that works again must not seem to fail meanwhile.
        longest_seconds = 0.0 if self.trouble else WAIT_SECONDS
        try:
            if at_most := self._at_most():
                # Cancelling a receive loses no message.
                with trio.CancelScope() as self._limited_receive:
                    wait_seconds = min(longest_seconds, LIMITED_SECONDS) if self._limits_drift() else longest_seconds
                    messages = await self._queue.receive(limit, wait_seconds, at_most)
                self._limited_receive = None
            else:
                messages = await self._queue.receive(limit, longest_seconds)
        except UnavailableError as error:
            self.trouble = str(error)
            log.warning("queue.unavailable", error=self.trouble)
            await trio.sleep(TROUBLE_SECONDS)
            return []
        self.trouble = ""
        return messages

    async def _handle_message(self, message: Received) -> None:
        try:
            await self._handle(message)
        except Exception:
            # The message is received again when its visibility ends. One job's bug must not end the others.
            log.exception("message.handler_failed")
        finally:
            self._capacity.release()


async def drain(in_flight: InFlightTasks, drain_seconds: float, hurried: trio.Event | None = None) -> None:
    """Give back at once the messages of jobs that have not started, let running jobs finish, then revoke the rest.

    Running jobs have ``drain_seconds``, or less: until ``hurried`` is set.
    """
    in_flight.stop()
    async with trio.open_nursery() as nursery:

        async def until_empty() -> None:
            with trio.move_on_after(drain_seconds):
                await in_flight.wait_empty()
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_empty)
        await (trio.Event() if hurried is None else hurried).wait()
        nursery.cancel_scope.cancel()
    for task in in_flight.all():
        task.revoke(Revocation.DRAINED)
    await in_flight.wait_empty()

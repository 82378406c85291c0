"""Takes messages off the queue, never more than can be placed, and keeps the held ones invisible to others."""

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
"""The longest poll SQS knows (ReceiveMessage, WaitTimeSeconds)."""

MAX_BATCH = 10
"""The most messages SQS hands out at once."""

TROUBLE_SECONDS = 1.0

LONGEST_SECONDS = 5.0
"""Between two tries, whatever is wrong: jobs wait meanwhile."""

LIMITED_SECONDS = 0.5
"""How long a poll that leaves some types out goes on before it looks whether it still must, while nobody would say."""


class Poller:
    """``capacity``: slots plus prefetch. A place is taken before a message is asked for (I8), ``least`` at once.

    ``at_most``: how many messages of which report types may be had just now, none where any number may. ``unsettled``:
    whether that may become otherwise without a word, which is ``look_again``.
    ``trouble`` is why the last receive failed, empty when it did not.
    """

    def __init__(
        self,
        queue: Queue,
        handle: Callable[[Received], Awaitable[None]],
        capacity: int,
        least: int = 1,
        at_most: Callable[[], Mapping[str, int]] = lambda: ANY,
        unsettled: Callable[[], bool] = lambda: True,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.trouble = ""
        self._queue = queue
        self._handle = handle
        self._least = min(least, capacity)
        self._at_most = at_most
        self._unsettled = unsettled
        self._supervisor = supervisor or Supervisor()
        self._places = ResizableSemaphore(capacity)
        self._taking = trio.CancelScope()
        self._asking: trio.CancelScope | None = None

    def stop(self) -> None:
        """Take no more messages; what has been taken is still handled."""
        self._taking.cancel()

    def widen(self, number: int) -> None:
        """So many jobs more, or fewer, wait in pages without a slot: each leaves its place to another message."""
        self._places.add(number)

    def look_again(self) -> None:
        """``at_most`` is different now."""
        if self._asking is not None:
            self._asking.cancel()

    async def run(self) -> None:
        """Until stopped and everything taken is handled, or until cancelled."""
        # A job outlives the receive that brought it.
        async with trio.open_nursery() as nursery:
            with self._taking:
                await self._supervisor.keep("poller", partial(self._take, nursery), longest_seconds=LONGEST_SECONDS)

    async def _take(self, nursery: trio.Nursery) -> None:
        while True:
            taken = await self._take_places()
            messages: list[Received] = []
            try:
                messages = await self._receive(taken)
            finally:
                for _ in range(taken - len(messages)):
                    self._places.release()
            for message in messages:
                nursery.start_soon(self._handled, message)

    async def _take_places(self) -> int:
        taken = 0
        try:
            while taken < self._least:
                await self._places.acquire()
                taken += 1
        except trio.Cancelled:
            for _ in range(taken):
                self._places.release()
            raise
        while taken < MAX_BATCH and self._places.acquire_nowait():
            taken += 1
        return taken

    async def _receive(self, limit: int) -> list[Received]:
        messages: list[Received] = []
        # A queue that has failed and is empty shall not count as failing for as long as a poll takes.
        longest_seconds = 0.0 if self.trouble else WAIT_SECONDS
        try:
            if at_most := self._at_most():
                # A receive that is cut off strands nothing.
                with trio.CancelScope() as self._asking:
                    wait_seconds = min(longest_seconds, LIMITED_SECONDS) if self._unsettled() else longest_seconds
                    messages = await self._queue.receive(limit, wait_seconds, at_most)
                self._asking = None
            else:
                messages = await self._queue.receive(limit, longest_seconds)
        except UnavailableError as error:
            self.trouble = str(error)
            log.warning("queue.unavailable", error=self.trouble)
            await trio.sleep(TROUBLE_SECONDS)
            return []
        self.trouble = ""
        return messages

    async def _handled(self, message: Received) -> None:
        try:
            await self._handle(message)
        except Exception:
            # The message comes again when its visibility ends; one job's bug must not end the others.
            log.exception("message.handler_failed")
        finally:
            self._places.release()


async def drain(in_flight: InFlightTasks, drain_seconds: float, hurried: trio.Event | None = None) -> None:
    """Give back at once what has not begun, let running jobs finish within ``drain_seconds``, call off the rest.

    ``hurried``: set when that time is over at once.
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

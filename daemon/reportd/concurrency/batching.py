"""Group commit: items that arrive during a flush go out together in the next one.

A single caller does not wait for others; a burst shares its round trips. Used where batches are cheaper: database
commits, the queue's batch calls.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio

from reportd.concurrency.nurseries import open_background

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and flushes them one batch at a time. Made by ``open_batcher``.

    ``linger_seconds``: the longest time that the first item of a batch waits until there are ``enough`` items. For
    flushes that cost money.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        max_size: int,
        linger_seconds: float = 0.0,
        enough: int = 1,
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._linger_seconds = linger_seconds
        self._enough = enough
        self._waiting: list[_Entry[Item, Result]] = []
        self._arrived = trio.Event()
        self._enough_arrived = trio.Event()
        self._closed = False

    async def submit(self, item: Item) -> Result:
        """Wait until the item's batch is flushed. Return its result, or raise its exception.

        The item of a cancelled caller stays in the batch: it may or may not take effect.
        Raises trio.ClosedResourceError when the batcher's block ends before the flush does.
        """
        if self._closed:
            raise trio.ClosedResourceError
        entry: _Entry[Item, Result] = _Entry(item)
        self._waiting.append(entry)
        self._arrived.set()
        if len(self._waiting) >= self._enough:
            self._enough_arrived.set()
        await entry.done.wait()
        if isinstance(entry.result, Exception):
            raise entry.result
        return entry.result  # type: ignore[return-value]  # set before `done`

    async def run(self) -> None:
        batch: list[_Entry[Item, Result]] = []
        try:
            while True:
                await self._arrived.wait()
                if self._linger_seconds:
                    with trio.move_on_after(self._linger_seconds):
                        await self._enough_arrived.wait()
                batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
                if not self._waiting:
                    self._arrived = trio.Event()
                if len(self._waiting) < self._enough:
                    self._enough_arrived = trio.Event()
                results: Sequence[Result | Exception]
                try:
                    results = await self._flush([entry.item for entry in batch])
                    if len(results) != len(batch):
                        raise ValueError(f"{len(results)} results for {len(batch)} items")  # noqa: TRY301
                except Exception as error:  # noqa: BLE001 - raised to every caller of the batch, which can judge it
                    results = [error] * len(batch)
                for entry, result in zip(batch, results, strict=True):
                    entry.settle(result)
        finally:
            self._closed = True
            for entry in batch + self._waiting:
                entry.settle(trio.ClosedResourceError())


class _Entry(Generic[Item, Result]):
    __slots__ = ("done", "item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = trio.Event()
        self.result: Result | Exception | None = None

    def settle(self, result: Result | Exception) -> None:
        """Keep the first result."""
        if not self.done.is_set():
            self.result = result
            self.done.set()


@asynccontextmanager
async def open_batcher(
    flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], max_size: int
) -> AsyncIterator[Batcher[Item, Result]]:
    """Open a batcher for the block. At its end a running flush is cancelled, and waiting items are not flushed."""
    batcher = Batcher(flush, max_size)
    async with open_background() as nursery:
        nursery.start_soon(batcher.run)
        yield batcher

"""Group commit: items that arrive during a flush go out with the next one."""

from collections.abc import Sequence
from itertools import chain

import pytest
import trio

from reportd.concurrency.batching import Batcher, open_batcher

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Flushes:
    """A flush that takes a second, and records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await trio.sleep(1)
        if 13 in items:
            raise OSError("no flush with 13")
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]


async def collect(batcher: Batcher[int, int], item: int, into: dict[int, int | Exception]) -> None:
    try:
        into[item] = await batcher.submit(item)
    except (OSError, ValueError, trio.ClosedResourceError) as error:
        into[item] = error


async def test_a_lone_caller_waits_for_nobody() -> None:
    flushes = Flushes()
    async with open_batcher(flushes, 10) as batcher:
        begun = trio.current_time()
        assert await batcher.submit(7) == 70
        assert trio.current_time() - begun == pytest.approx(1.0)
        assert await batcher.submit(8) == 80
    assert flushes.batches == [[7], [8]]


async def test_who_comes_during_a_flush_shares_the_next() -> None:
    flushes, results = Flushes(), dict[int, int | Exception]()
    async with open_batcher(flushes, 10) as batcher, trio.open_nursery() as nursery:
        nursery.start_soon(collect, batcher, 0, results)
        await trio.sleep(0.5)
        for item in range(1, 6):
            nursery.start_soon(collect, batcher, item, results)
    assert flushes.batches[0] == [0]
    assert [sorted(batch) for batch in flushes.batches[1:]] == [[1, 2, 3, 4, 5]]
    assert results == {item: item * 10 for item in range(6)}


async def test_a_batch_is_never_larger_than_it_may_be() -> None:
    flushes, results = Flushes(), dict[int, int | Exception]()
    async with open_batcher(flushes, 4) as batcher, trio.open_nursery() as nursery:
        for item in range(10):
            nursery.start_soon(collect, batcher, item, results)
    assert max(len(batch) for batch in flushes.batches) == 4
    assert sorted(chain.from_iterable(flushes.batches)) == list(range(10))
    assert results == {item: item * 10 for item in range(10)}


async def test_each_gets_its_own_result_or_its_own_exception() -> None:
    results = dict[int, int | Exception]()
    async with open_batcher(Flushes(), 10) as batcher, trio.open_nursery() as nursery:
        for item in (1, -2, 3):
            nursery.start_soon(collect, batcher, item, results)
    assert (results[1], results[3]) == (10, 30)
    assert str(results[-2]) == "-2"


async def test_a_flush_that_fails_fails_for_its_batch_and_not_for_the_next() -> None:
    results = dict[int, int | Exception]()
    async with open_batcher(Flushes(), 10) as batcher, trio.open_nursery() as nursery:
        nursery.start_soon(collect, batcher, 13, results)
        await trio.sleep(0.5)
        nursery.start_soon(collect, batcher, 1, results)
    assert isinstance(results[13], OSError)
    assert results[1] == 10


async def test_a_caller_that_goes_away_holds_nobody_up() -> None:
    flushes = Flushes()
    async with open_batcher(flushes, 10) as batcher:
        with trio.move_on_after(0.5):
            await batcher.submit(1)
        assert await batcher.submit(2) == 20
    assert flushes.batches == [[1], [2]]


async def test_who_lingers_goes_when_there_are_enough_or_the_time_is_over() -> None:
    flushes, begun = Flushes(), trio.current_time()
    async with trio.open_nursery() as nursery:
        batcher: Batcher[int, int] = Batcher(flushes, 10, linger_seconds=5, enough=3)
        nursery.start_soon(batcher.run)
        async with trio.open_nursery() as callers:
            for item in range(3):
                callers.start_soon(batcher.submit, item)
        assert trio.current_time() - begun == pytest.approx(1.0)
        assert await batcher.submit(7) == 70
        assert trio.current_time() - begun == pytest.approx(1.0 + 5.0 + 1.0)
        nursery.cancel_scope.cancel()
    assert [sorted(batch) for batch in flushes.batches] == [[0, 1, 2], [7]]


async def test_nobody_waits_for_a_batcher_that_has_ended() -> None:
    """The callers: in the flush that is cut off, waiting for the next one, and too late."""
    flushes, results = Flushes(), dict[int, int | Exception]()
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 100
        async with open_batcher(flushes, 10) as batcher:
            nursery.start_soon(collect, batcher, 1, results)
            await trio.sleep(0.5)
            nursery.start_soon(collect, batcher, 2, results)
            await trio.sleep(0.1)
        nursery.start_soon(collect, batcher, 3, results)
    assert {item: type(result) for item, result in results.items()} == dict.fromkeys(
        (1, 2, 3), trio.ClosedResourceError
    )
    assert flushes.batches == [[1]]

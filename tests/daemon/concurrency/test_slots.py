"""The semaphore keeps its size while slots are lent, taken back, added or cancelled."""

from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from reportd.concurrency.slots import ResizableSemaphore

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_first_come_first_served_but_who_comes_back_goes_first() -> None:
    places = ResizableSemaphore(1)
    order: list[str] = []

    async def come(name: str, *, again: bool) -> None:
        await places.acquire(again=again)
        order.append(name)
        places.release()

    await places.acquire()
    async with trio.open_nursery() as nursery:
        for name, again in (("one", False), ("two", False), ("back", True), ("back too", True)):
            nursery.start_soon(partial(come, name, again=again))
            await wait_all_tasks_blocked()
        assert places.waiting == 4
        assert not places.acquire_nowait()
        places.release()
    assert order == ["back", "back too", "one", "two"]
    assert (places.free, places.waiting) == (1, 0)


async def test_fewer_places_than_are_taken_are_given_up_as_they_are_released() -> None:
    places = ResizableSemaphore(2)
    await places.acquire()
    await places.acquire()
    places.add(-1)
    places.release()
    assert not places.acquire_nowait()
    places.release()
    assert places.acquire_nowait()
    assert places.free == 0


async def test_who_is_cancelled_has_a_place_or_takes_none() -> None:
    places = ResizableSemaphore(1)
    had: list[str] = []

    async def take() -> None:
        await places.acquire()
        had.append("a place")

    await places.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        places.release()
        nursery.cancel_scope.cancel()  # in the same instant
    assert had == ["a place"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        places.release()  # in the same instant, the other way round
    assert had == ["a place"]
    assert (places.free, places.waiting) == (1, 0)
    assert places.acquire_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    places.release()
    assert (places.free, places.waiting) == (1, 0)


@given(st.lists(st.sampled_from(["take", "back", "release", "more", "fewer"]), max_size=40))
def test_never_more_at_once_than_there_are_places(steps: list[str]) -> None:
    async def run() -> None:
        places, taken, there = ResizableSemaphore(2), 0, 2

        async def take(*, again: bool) -> None:
            nonlocal taken
            await places.acquire(again=again)
            taken += 1
            assert taken <= there

        async with trio.open_nursery() as nursery:
            for step in steps:
                if step in {"take", "back"}:
                    nursery.start_soon(partial(take, again=step == "back"))
                elif step == "release" and taken:
                    taken -= 1
                    places.release()
                elif step == "more":
                    there += 1
                    places.add(1)
                elif step == "fewer" and taken < there:
                    there -= 1
                    places.add(-1)
                await wait_all_tasks_blocked()
                assert there - taken == places.free
                assert not (places.free and places.waiting)
            nursery.cancel_scope.cancel()

    trio.run(run)

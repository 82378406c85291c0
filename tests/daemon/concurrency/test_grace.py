"""Calls with grace, and their cancelled callers."""

import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from reportd.concurrency.grace import in_thread


class Blocking:
    """A call that returns when it is released."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> str:
        self.may.wait(10)
        self.over.set()
        return "done"


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    call = Blocking()
    yield call
    call.may.set()


async def test_it_returns_and_raises_what_the_call_does() -> None:
    assert await in_thread(lambda: 1, grace_seconds=1.0) == 1
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, grace_seconds=1.0)


async def test_who_is_cancelled_gets_what_comes_in_time(blocking: Blocking) -> None:
    async def allow() -> None:
        await trio.sleep(0.1)
        blocking.may.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(allow)
        result = ""
        with trio.move_on_after(0.05):
            result = await in_thread(blocking, grace_seconds=10.0)
    assert result == "done"


@pytest.mark.parametrize("shielded", [False, True])
async def test_who_is_cancelled_leaves_what_hangs(blocking: Blocking, *, shielded: bool) -> None:
    limiter = trio.CapacityLimiter(1)
    begun = trio.current_time()
    with trio.CancelScope(shield=shielded), trio.move_on_after(0.1) as scope:
        await in_thread(blocking, grace_seconds=0.1, limiter=limiter)
    assert scope.cancelled_caught
    assert 0.2 <= trio.current_time() - begun < 5
    assert limiter.borrowed_tokens == 1, "it still waits for it"
    blocking.may.set()
    async with limiter:
        assert blocking.over.is_set()


async def test_who_waits_for_a_thread_is_let_go_too(blocking: Blocking) -> None:
    limiter = trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: in_thread(blocking, grace_seconds=0.0, limiter=limiter))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.1) as scope:
            await in_thread(blocking, grace_seconds=0.1, limiter=limiter)
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()

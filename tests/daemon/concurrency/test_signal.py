"""A signal wakes the tasks that wait, and keeps nothing for later ones."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reportd.concurrency.signal import Signal


async def test_all_that_wait_are_woken() -> None:
    signal, woken = Signal(), list[str]()

    async def wait(name: str) -> None:
        await signal.wait()
        woken.append(name)

    with trio.fail_after(1):
        await _wake(signal, wait, woken)
    assert sorted(woken) == ["one", "other"]


async def _wake(signal: Signal, wait: Callable[[str], Awaitable[None]], woken: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "one")
        nursery.start_soon(wait, "other")
        await wait_all_tasks_blocked()
        assert woken == []
        signal.notify()


@pytest.mark.usefixtures("autojump_clock")
async def test_a_later_one_waits_for_the_next_notification() -> None:
    signal = Signal()
    signal.notify()
    with trio.move_on_after(60) as patience:
        await signal.wait()
    assert patience.cancelled_caught


async def test_a_change_during_a_check_is_not_missed() -> None:
    signal = Signal()
    changed = signal.next()
    signal.notify()
    with trio.fail_after(1):
        await changed.wait()
    assert not signal.next().is_set()

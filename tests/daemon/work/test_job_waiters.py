"""A task that waits for a job is woken at once by its change, and leaves nothing behind."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reportd.work.job_waiters import JobWaiters

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_everybody_who_waits_for_the_task_is_woken_and_nobody_else() -> None:
    waiters, heard = JobWaiters(), []

    async def wait(task_id: str) -> None:
        heard.append((task_id, await waiters.wait(task_id, 10.0), trio.current_time()))

    async with trio.open_nursery() as nursery:
        for task_id in ("a", "a", "b"):
            nursery.start_soon(wait, task_id)
        await trio.sleep(2.0)
        waiters.notify("a")
        waiters.notify("unknown")
    assert heard == [("a", True, 2.0), ("a", True, 2.0), ("b", False, 10.0)]


async def test_what_was_before_is_not_heard() -> None:
    waiters = JobWaiters()
    waiters.notify("a")
    assert not await waiters.wait("a", 1.0)


async def test_nothing_is_kept_of_those_who_no_longer_wait() -> None:
    waiters = JobWaiters()
    await waiters.wait("a", 1.0)
    with trio.move_on_after(1.0):
        await waiters.wait("b", 10.0)
    assert not waiters._waiting


async def test_one_who_leaves_takes_nobody_along() -> None:
    waiters = JobWaiters()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiters.wait, "a", 1.0)
        await trio.sleep(0.5)
        nursery.start_soon(waiters.wait, "a", 100.0)
        await trio.sleep(1.5)
        waiters.notify("a")
    assert trio.current_time() == 2.0


async def test_it_is_known_how_many_wait() -> None:
    waiters = JobWaiters()
    assert len(waiters) == 0
    async with trio.open_nursery() as nursery:
        for task_id in ("a", "a", "b"):
            nursery.start_soon(waiters.wait, task_id, 10)
        await wait_all_tasks_blocked()
        assert len(waiters) == 3
        waiters.notify("a")
        await wait_all_tasks_blocked()
        assert len(waiters) == 1
    assert len(waiters) == 0

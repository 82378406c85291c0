"""Jobs in flight are revoked once, for one reason, and not while their start is being recorded."""

import pytest
import trio

from reportd.ports import AttemptStarted
from reportd.work.in_flight import RECORD_SECONDS, InFlightTask, InFlightTasks, Revocation, delete, release
from tests.daemon.node import job, message_of
from tests.fakes import MemoryJobs, MemoryQueue

pytestmark = pytest.mark.usefixtures("autojump_clock")


def task_of(*receipts: str, task_id: str = "task") -> InFlightTask:
    return InFlightTask(task_id, list(receipts))


async def started() -> AttemptStarted:
    start = await MemoryJobs().start(job(), "node", 0.0)
    assert isinstance(start, AttemptStarted)
    return start


async def test_a_recall_cancels_the_work_and_its_first_reason_stays() -> None:
    task = task_of("r")
    with task.scope:
        task.revoke(Revocation.CANCELLED)
        task.revoke(Revocation.DRAINED)
        await trio.sleep(1.0)
    assert task.scope.cancelled_caught
    assert task.revoked is Revocation.CANCELLED


async def test_a_recall_waits_for_what_is_being_recorded() -> None:
    task, steps = task_of("r"), []
    with task.scope:
        with task.recording():
            task.revoke(Revocation.DRAINED)
            await trio.sleep(RECORD_SECONDS / 2)
            steps.append("recorded")
        await trio.sleep(0.0)
        steps.append("gone on")
    assert steps == ["recorded"]
    assert trio.current_time() == RECORD_SECONDS / 2


async def test_a_recall_does_not_wait_for_ever() -> None:
    task = task_of("r")
    with task.scope, task.recording():
        task.revoke(Revocation.DRAINED)
        await trio.sleep_forever()
    assert task.scope.cancelled_caught
    assert trio.current_time() == RECORD_SECONDS


async def test_without_a_recall_recording_changes_nothing() -> None:
    task = task_of("r")
    with task.scope:
        with task.recording():
            await trio.sleep(100.0)
        await trio.sleep(100.0)
    assert not task.scope.cancel_called


def test_only_the_last_receipt_takes_the_work_with_it() -> None:
    task = task_of("one", "two")
    task.receipt_lost("two")
    task.receipt_lost("two")
    task.receipt_lost("unknown")
    assert (task.receipts, task.revoked) == (["one"], None)
    task.receipt_lost("one")
    assert (task.receipts, task.revoked) == ([], Revocation.LOST)


def test_what_is_settled_cannot_be_lost() -> None:
    task = task_of("one")
    task.settled(["one"])
    task.receipt_lost("one")
    assert task.revoked is None


def test_a_cancelled_task_is_found_by_its_id() -> None:
    in_flight, task = InFlightTasks(), task_of("r")
    in_flight.add(task)
    in_flight.cancel("another")
    assert task.revoked is None
    in_flight.cancel("task")
    assert task.revoked is Revocation.CANCELLED


async def test_everybody_who_waits_hears_when_nothing_is_held() -> None:
    in_flight, one, two = InFlightTasks(), task_of("1", task_id="one"), task_of("2", task_id="two")
    await in_flight.wait_empty()
    in_flight.add(one)
    in_flight.add(two)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_flight.wait_empty)
        nursery.start_soon(in_flight.wait_empty)
        await trio.sleep(1.0)
        in_flight.remove(one)
        assert one.ended.is_set()
        assert (len(in_flight), in_flight.get("one"), in_flight.get("two")) == (1, None, two)
        await trio.sleep(1.0)
        assert len(nursery.child_tasks) == 2
        in_flight.remove(two)


async def test_stopped_nothing_begins_any_more() -> None:
    in_flight, begun, waiting, late = (
        InFlightTasks(),
        task_of("1", task_id="1"),
        task_of("2", task_id="2"),
        task_of("3", task_id="3"),
    )
    begun.started = await started()
    in_flight.add(begun)
    in_flight.add(waiting)
    in_flight.stop()
    in_flight.add(late)
    assert [task.revoked for task in (begun, waiting, late)] == [None, Revocation.DRAINED, Revocation.DRAINED]


@pytest.mark.parametrize("settle", ["delete", "release"])
async def test_a_receipt_that_comes_during_the_call_is_settled_as_well(settle: str) -> None:
    queue = MemoryQueue()
    await queue.send([message_of(job()), message_of(job())])
    first, second = await queue.receive(2, 0.0)
    task, calls = task_of(first.receipt), 0

    async def settle_it(receipts: list[str]) -> list[Exception | None]:
        nonlocal calls
        calls += 1
        if calls == 1:
            task.receipts.append(second.receipt)
        return await MemoryQueue.delete(queue, receipts)

    if settle == "delete":
        queue.delete = settle_it  # type: ignore[assignment,method-assign]
        await delete(queue, task)
    else:
        queue.set_visibility = lambda changes: settle_it([receipt for receipt, _ in changes])  # type: ignore[method-assign]
        await release(queue, task, 0.0)
    assert calls == 2
    assert not task.receipts
    assert not queue.messages


async def test_released_messages_come_back_after_the_wait() -> None:
    queue = MemoryQueue()
    await queue.send([message_of(job())])
    (message,) = await queue.receive(1, 0.0)
    await release(queue, task_of(message.receipt), 7.0)
    (again,) = await queue.receive(1, 20.0)
    assert (trio.current_time(), again.receive_count) == (7.0, 2)

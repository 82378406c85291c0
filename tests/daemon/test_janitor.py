"""What the janitor settles, and that it may be cut off anywhere and done again."""

# ruff: noqa: ARG001 - a clock is used by being asked for

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from reportd.background import open_background
from reportd.core.faults import Fault, FaultKind
from reportd.core.job import to_message
from reportd.core.transitions import Event, State
from reportd.janitor import SHELVE_SECONDS, SWEEP_SECONDS, UNCONFIRMED_SECONDS
from reportd.ports import Outgoing, PdfInfo, Settlement, UnavailableError
from tests.daemon.node import Node, World, job, message_of
from tests.fakes import EPOCH, now

FAULT = Fault(FaultKind.SCRIPT_ERROR, "x is not defined")


async def dead_lettered(world: World, number: int = 1, *, letters: int = 1) -> str:
    """A job that the worker has given up."""
    one = job(number)
    await world.jobs.add([one])
    await world.jobs.settle(Settlement(one.task_id, Event.DEAD_LETTERED, now(), fault=FAULT))
    await world.dead.send([message_of(one)] * letters)
    return one.task_id


# --- dead letters -------------------------------------------------------------------------------------------


async def test_a_job_that_was_given_up_is_quarantined_with_its_error(autojump_clock: MockClock) -> None:
    world = World()
    task_id = await dead_lettered(world)
    node = Node(world)
    async with trio.open_nursery() as nursery:
        heard: list[bool] = []

        async def listen() -> None:
            heard.append(await node.changes.wait(task_id, 10.0))

        nursery.start_soon(listen)
        await trio.sleep(1.0)
        await node.janitor.triage()
    record = world.jobs.records[task_id]
    assert (record.state, record.error, record.finished_at) == (State.QUARANTINED, FAULT, EPOCH + 1.0)
    assert heard == [True]
    assert not world.dead.messages


async def test_every_letter_is_gone_through(autojump_clock: MockClock) -> None:
    world = World()
    for number in range(1, 36):
        await dead_lettered(world, number)
    await Node(world).janitor.triage()
    assert {record.state for record in world.jobs.records.values()} == {State.QUARANTINED}
    assert not world.dead.messages


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
async def test_what_nobody_has_given_up_goes_back_to_the_queue(autojump_clock: MockClock, state: State) -> None:
    """The queue's own redrive took it away: it never reaches quarantine untried (I3)."""
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    await world.dead.send([replace(message_of(one), attributes={"reason": "exhausted_receives"})])
    await Node(world).janitor.triage()
    (message,) = world.queue.messages
    assert message.sent.body == message_of(one).body
    # A FIFO queue would swallow a second message that is the same as the first.
    assert message.sent.attributes == {"redrive": "1"}
    assert not world.dead.messages
    assert (world.record(one).state, world.record(one).confirmed) == (state, True)


async def test_a_job_without_a_row_goes_back_to_the_queue_once(autojump_clock: MockClock) -> None:
    world, one = World(), job()
    await world.dead.send([message_of(one)])
    node = Node(world)
    await trio.sleep(100.0)
    await node.janitor.triage()
    await node.janitor.send_unconfirmed()
    assert len(world.queue.messages) == 1
    assert world.record(one).state is State.QUEUED


async def test_the_letter_of_a_job_too_large_for_its_message_is_settled_from_the_store(
    autojump_clock: MockClock,
) -> None:
    world, large, gone = World(), job(1, rows="r" * 1000), job(2, rows="r" * 1000)
    await world.jobs.add([large])
    await world.jobs.settle(Settlement(large.task_id, Event.DEAD_LETTERED, now(), fault=FAULT))
    await world.dead.send([replace(message_of(one), body=to_message(one, 500)) for one in (large, gone)])
    await Node(world).janitor.triage()
    assert (world.record(large).state, world.record(large).job) == (State.QUARANTINED, large)
    # Nothing is known of the other one; it stays for people to see.
    assert [message.sent.task_id for message in world.dead.messages] == [gone.task_id]
    assert not world.dead.messages[0].visible


async def test_a_letter_that_comes_while_it_waits_is_settled_at_once(autojump_clock: MockClock) -> None:
    world = World()
    async with open_background() as nursery:
        nursery.start_soon(Node(world).janitor.run)
        await trio.sleep(3.0)
        task_id = await dead_lettered(world)
        await trio.sleep(0.5)
        assert world.jobs.records[task_id].state is State.QUARANTINED


async def test_a_message_received_in_vain_too_often_comes_to_its_end_all_the_same(autojump_clock: MockClock) -> None:
    world, one = World(max_receive_count=3), job()
    await world.send(one)
    for _ in range(3):
        await world.queue.receive(1, 60.0)  # by nodes that die at once
    async with open_background() as nursery:
        await trio.sleep(60.0)
        nursery.start_soon(Node(world).run, trio.Event())
        assert (await world.terminal(one)).state is State.SUCCEEDED
    assert not world.dead.messages


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.QUARANTINED, State.CANCELLED])
async def test_the_letter_of_a_finished_job_is_dropped(autojump_clock: MockClock, state: State) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    await world.dead.send([message_of(one)])
    await Node(world).janitor.triage()
    assert world.record(one).state is state
    assert not world.dead.messages
    assert not world.queue.messages


async def test_what_is_no_job_stays_for_people_to_see(autojump_clock: MockClock) -> None:
    world = World()
    await world.dead.send([Outgoing("{", "", "", "")])
    task_id = await dead_lettered(world)
    janitor = Node(world).janitor
    await janitor.triage()
    assert world.jobs.records[task_id].state is State.QUARANTINED
    assert [message.sent.body for message in world.dead.messages] == ["{"]
    assert not await world.dead.receive(1, SHELVE_SECONDS - 1.0)
    await trio.sleep(1.0)
    await janitor.triage()
    assert world.dead.messages[0].receive_count == 2


# --- unconfirmed jobs, old PDFs -----------------------------------------------------------------------------


async def test_a_job_whose_submission_was_cut_off_is_sent_late_and_once(autojump_clock: MockClock) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    janitor = Node(world).janitor
    await trio.sleep(UNCONFIRMED_SECONDS)
    await janitor.send_unconfirmed()
    assert not world.queue.messages
    await trio.sleep(0.5)
    for _ in range(3):
        await janitor.send_unconfirmed()
    assert [message.sent.body for message in world.queue.messages] == [message_of(one).body]
    assert world.record(one).confirmed


async def test_only_what_the_queue_took_is_confirmed(autojump_clock: MockClock) -> None:
    world, jobs = World(), [job(1), job(2)]
    await world.jobs.add(jobs)
    await trio.sleep(100.0)
    send = world.queue.send

    async def half(messages: list[Outgoing]) -> list[Exception | None]:
        await send(messages[1:])
        return [UnavailableError("queue", "throttled"), *[None] * (len(messages) - 1)]

    world.queue.send = half  # type: ignore[assignment,method-assign]
    await Node(world).janitor.send_unconfirmed()
    assert [world.record(one).confirmed for one in jobs] == [False, True]


async def test_pdfs_go_when_their_retention_is_over(autojump_clock: MockClock) -> None:
    world = World()
    for number, age in enumerate((0.0, 86_399.0, 86_401.0, 200_000.0), 1):
        one = job(number)
        await world.jobs.add([one])
        world.artifacts.stored[one.task_id] = b"%PDF"
        pdf = PdfInfo(4, "sha")
        world.jobs._change(one.task_id, state=State.SUCCEEDED, finished_at=EPOCH - age, pdf=pdf)
    await Node(world).janitor.remove_expired()
    assert sorted(world.artifacts.stored) == [job(1).task_id, job(2).task_id]
    assert [record.pdf and record.pdf.purged for record in world.jobs.records.values()] == [False, False, True, True]


async def test_more_old_pdfs_than_fit_a_batch_all_go(autojump_clock: MockClock) -> None:
    world = World()
    for number in range(1, 251):
        one = job(number)
        await world.jobs.add([one])
        world.jobs._change(one.task_id, state=State.SUCCEEDED, finished_at=0.0, pdf=PdfInfo(4, "sha"))
    await Node(world).janitor.remove_expired()
    assert all(record.pdf and record.pdf.purged for record in world.jobs.records.values())


# --- whatever happens ---------------------------------------------------------------------------------------


async def everything(world: World) -> None:
    """One thing for each rule."""
    await dead_lettered(world, 1)
    await world.dead.send([message_of(job(2))])
    await world.jobs.add([job(3), job(4)])
    world.jobs._change(job(4).task_id, state=State.SUCCEEDED, finished_at=0.0, pdf=PdfInfo(4, "sha"))
    world.artifacts.stored[job(4).task_id] = b"%PDF"


def settled(world: World) -> bool:
    records = world.jobs.records
    return (
        records[job(1).task_id].state is State.QUARANTINED
        and {message.sent.task_id for message in world.queue.messages} == {job(2).task_id, job(3).task_id}
        and not world.dead.messages
        and not world.artifacts.stored
        and records[job(4).task_id].pdf == PdfInfo(4, "sha", purged=True)
    )


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_it_may_be_cut_off_at_any_call(autojump_clock: MockClock, phase: str) -> None:
    for number in range(1, 25):
        world = World()
        await everything(world)
        killed = world.weather.kill_at(number, phase)
        async with open_background() as nursery:
            nursery.start_soon(Node(world).janitor.run)
            await killed.wait()
        world.weather.hook = None
        with trio.move_on_after(200.0):
            await Node(world).janitor.run()
        assert settled(world)
        assert world.jobs.terminal_moves(job(1).task_id) == [State.QUARANTINED]


@pytest.mark.parametrize("part", ["jobs", "dead", "queue", "artifacts"])
async def test_it_waits_for_a_part_that_is_away(autojump_clock: MockClock, part: str) -> None:
    world = World()
    await everything(world)
    world.weather.away(part, 120.0)
    with trio.move_on_after(120.0 + world.dead.visibility_seconds + SWEEP_SECONDS):
        await Node(world).janitor.run()
    assert settled(world)


def too_large(world: World) -> None:
    world.weather.fail("queue.send", ValueError("the message is too large"))


def bug(world: World) -> None:
    world.weather.fail("jobs.add", RuntimeError("a bug"))


@pytest.mark.parametrize("fault", [too_large, bug])
async def test_a_letter_that_nobody_foresaw_does_not_keep_the_others_from_being_settled(
    autojump_clock: MockClock, fault: Callable[[World], None]
) -> None:
    world = World()
    await everything(world)
    fault(world)
    with trio.move_on_after(world.dead.visibility_seconds + SWEEP_SECONDS):
        await Node(world).janitor.run()
    assert settled(world)

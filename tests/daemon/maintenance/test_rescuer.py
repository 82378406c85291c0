"""Lost messages are sent again, once; messages that only wait are not."""

from collections.abc import Sequence

import pytest
import trio
from structlog.testing import capture_logs

from reportd.config.models import Triage as TriageOptions
from reportd.core.breaker.breaker import BreakerEvent, Command
from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.maintenance.rescuer import BATCH, HIDDEN_SECONDS, MAX_BATCHES
from reportd.ports import UNCONFIRMED_SECONDS, Depth, Outgoing, Settlement, UnavailableError
from reportd.work.in_flight import InFlightTask
from tests.daemon.node import Node, World, job, open_node, open_service, submission
from tests.fakes.jobs import SILENT_SECONDS

pytestmark = pytest.mark.usefixtures("autojump_clock")

WITHIN_SECONDS = 180.0
"""Return the seconds from the end of a fault to the end of every job."""


async def accepted(world: World, count: int) -> list[Job]:
    """Return jobs that wait in the queue."""
    jobs = [job(number) for number in range(1, count + 1)]
    await world.jobs.add(jobs)
    await world.send(*jobs)
    await world.jobs.confirm([one.task_id for one in jobs])
    return jobs


def purge(world: World) -> None:
    world.queue.messages.clear()


def sent(world: World) -> list[str]:
    return [message.sent.task_id for message in world.queue.messages]


async def hold_open(node: Node, event: BreakerEvent = BreakerEvent.FORCED_OPEN) -> None:
    await node.breakers.command("report", Command("ann", event, "a test"))


async def test_jobs_whose_messages_were_purged_behind_a_breaker_end_once() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        await hold_open(node)
        jobs = [(await service.submit(submission())).job for _ in range(50)]
        await trio.sleep(60.0)
        purge(world)
        await trio.sleep(1.0)
        await hold_open(node, BreakerEvent.RESET)
        with trio.fail_after(WITHIN_SECONDS):
            for one in jobs:
                assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert sorted(world.artifacts.puts) == sorted(one.task_id for one in jobs)
    assert all(world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED] for one in jobs)


async def test_what_only_waits_is_not_sent_again() -> None:
    """The length of its backlog does not matter."""
    world = World()
    jobs = await accepted(world, 5)
    rescuer = Node(world).rescuer
    for _ in range(10):
        await trio.sleep(SILENT_SECONDS)
        await rescuer.resend_lost()
    assert len(world.queue.messages) == len(jobs)
    assert (rescuer.resent, rescuer.resent_at) == (0, None)


@pytest.mark.parametrize("unsent", [0, 3])
@pytest.mark.parametrize("part", ["queue.depth", "jobs.sent"])
async def test_what_comes_and_ends_while_it_is_counted_is_not_lost(part: str, unsent: int) -> None:
    """Also not while their submission is under way."""
    world = World()
    await accepted(world, 5)
    await trio.sleep(SILENT_SECONDS + 1)
    rescuer = Node(world).rescuer
    await world.jobs.add([job(10 + number) for number in range(unsent)])
    depth = world.queue.depth

    async def ending() -> Depth:
        found = await depth()
        if len(world.queue.messages) == 5:
            gone = world.queue.messages.pop(0)
            await world.jobs.settle(Settlement(gone.sent.task_id, JobEvent.CANCELLED, 0.0))
        return found

    async def sent() -> int:
        found = await count()
        if len(world.queue.messages) == 5:
            gone = world.queue.messages.pop(0)
            await world.jobs.settle(Settlement(gone.sent.task_id, JobEvent.CANCELLED, 0.0))
        return found

    count = world.jobs.sent
    if part == "jobs.sent":
        world.jobs.sent = sent  # type: ignore[method-assign]
    else:
        world.queue.depth = ending  # type: ignore[method-assign]
    await rescuer.resend_lost()
    assert rescuer.resent == 0


async def test_what_an_older_node_has_written_is_not_lost_for_that() -> None:
    """Such a node records no due time."""
    world = World()
    for one in await accepted(world, 3):
        world.jobs._change(one.task_id, due_at=0.0)
    rescuer = Node(world).rescuer
    await rescuer.resend_lost()
    assert rescuer.resent == 0
    purge(world)
    await rescuer.resend_lost()
    assert rescuer.resent == 3


async def test_a_loss_within_a_backlog_is_found() -> None:
    world = World()
    jobs = await accepted(world, 5)
    del world.queue.messages[:2]
    await trio.sleep(SILENT_SECONDS + 1)
    for _ in range(3):
        await Node(world).rescuer.resend_lost()
    assert sorted(sent(world)) == [one.task_id for one in jobs]


async def test_a_loss_that_other_messages_hide_is_found_in_the_end() -> None:
    world = World()
    (one,) = await accepted(world, 1)
    purge(world)
    await world.send(job(7))  # which has no row
    rescuer = Node(world).rescuer
    await trio.sleep(HIDDEN_SECONDS)
    await rescuer.resend_lost()
    assert sent(world) == [job(7).task_id]
    await trio.sleep(SILENT_SECONDS + 1)
    await rescuer.resend_lost()
    assert sent(world) == [job(7).task_id, one.task_id]


async def test_what_a_breaker_holds_for_long_is_not_taken_for_lost() -> None:
    """The embedded queue keeps these messages, so their jobs are overdue, also just after the breaker has closed."""
    world = World()
    await accepted(world, 3)
    node = Node(world)
    await hold_open(node)
    for _ in range(5):
        await trio.sleep(HIDDEN_SECONDS / 2)
        await node.rescuer.resend_lost()
    await hold_open(node, BreakerEvent.RESET)
    await trio.sleep(60.0)
    await node.rescuer.resend_lost()
    assert node.rescuer.resent == 0
    purge(world)
    await node.rescuer.resend_lost()
    assert node.rescuer.resent == 3


async def test_what_can_not_be_sent_is_told() -> None:
    world = World()
    await accepted(world, 2)
    purge(world)
    await trio.sleep(SILENT_SECONDS + 1)
    world.weather.fail("queue.send", UnavailableError("queue", "it is full"))
    with capture_logs() as logs:
        await Node(world).rescuer.resend_lost()
    (line,) = [line for line in logs if line["event"] == "messages.not_resent"]
    assert (line["count"], line["error"]) == (2, "queue: it is full")


async def test_messages_that_the_queue_refuses_do_not_block_those_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    jobs = await accepted(world, BATCH + 1)
    purge(world)
    await trio.sleep(SILENT_SECONDS + 1)
    send, refused = world.queue.send, {one.task_id for one in jobs[:BATCH]}

    async def refusing(messages: Sequence[Outgoing]) -> list[Exception | None]:
        await send([message for message in messages if message.task_id not in refused])
        return [ValueError("too large") if message.task_id in refused else None for message in messages]

    monkeypatch.setattr(world.queue, "send", refusing)
    await Node(world).rescuer.resend_lost()
    assert sent(world) == [jobs[-1].task_id]


async def test_one_copy_for_each_time_that_it_is_due() -> None:
    """While the breaker is open, the message comes, is deferred and lost again: no sweep sends it before it is due."""
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        await hold_open(node)
        await service.submit(submission())
        await trio.sleep(5.0)
        purge(world)
        await trio.sleep(SILENT_SECONDS + 30.0)
        assert node.rescuer.resent == 1
        await trio.sleep(3600.0)
        assert node.rescuer.resent == 1
        assert len(world.queue.messages) == 1


async def test_a_message_that_was_not_lost_after_all_does_no_harm() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        one = (await service.submit(submission())).job
        await world.terminal(one)
        world.jobs._change(one.task_id, state=JobState.QUEUED, due_at=0.0, pdf=None, finished_at=None)  # a backup
        world.jobs.moves.clear()
        for _ in range(2):
            await world.send(one)
        await node.rescuer.resend_lost()
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
        await trio.sleep(SILENT_SECONDS)
    assert not world.queue.messages
    assert world.artifacts.puts == [one.task_id]
    assert world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED]


async def test_what_a_node_holds_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The purge also deletes the messages of jobs that are being rendered."""

    async def empty() -> Depth:
        return Depth(0, 0, 0)

    world = World()
    world.renderer.seconds = 10 * SILENT_SECONDS
    async with open_node(world) as node, open_service(world, node) as service:
        one = (await service.submit(submission())).job
        await trio.sleep(1.0)
        assert isinstance(node.in_flight.get(one.task_id), InFlightTask)
        monkeypatch.setattr(world.queue, "depth", empty)
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert node.rescuer.resent == 0


async def test_a_running_job_whose_node_and_message_are_gone_is_sent_again() -> None:
    world, one = World(), job()
    await world.jobs.start(one, "dead node", 0.0)
    await trio.sleep(SILENT_SECONDS + 1)
    async with open_node(world):
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert world.artifacts.puts == [one.task_id]


async def test_a_dead_letter_that_is_lost_is_sent_again() -> None:
    world = World()
    world.renderer.faults[job().task_id] = [FaultKind.PAGE_STATUS]
    node = Node(world)
    await node.handle(*await world.received(job()))
    assert world.record(job()).state is JobState.DEAD_LETTERED
    world.dead.messages.clear()
    await trio.sleep(SILENT_SECONDS + 1)
    for _ in range(2):
        await node.rescuer.resend_lost()
    assert [message.sent.attributes["kind"] for message in world.dead.messages] == ["page_status"]
    await node.settle_visible()
    assert world.record(job()).state is JobState.QUARANTINED


@pytest.mark.parametrize(
    "triage", [TriageOptions(max_redrives=0), TriageOptions(max_redrives=2, cooldown_seconds=600000)]
)
async def test_what_waits_for_triage_or_for_people_is_not_sent_again(triage: TriageOptions) -> None:
    world = World()
    world.triage = triage
    world.renderer.faults[job().task_id] = [FaultKind.TIMEOUT] * 3
    async with open_node(world) as node:
        await world.send(job())
        await trio.sleep(10 * SILENT_SECONDS)
        assert world.record(job()).state in (JobState.QUARANTINED, JobState.DEAD_LETTERED)
        assert node.rescuer.resent == 0


async def test_a_sweep_is_bounded() -> None:
    world = World()
    count = MAX_BATCHES * BATCH + 1
    await accepted(world, count)
    purge(world)
    await trio.sleep(SILENT_SECONDS + 1)
    rescuer = Node(world).rescuer
    with capture_logs() as logs:
        await rescuer.resend_lost()
    assert len(world.queue.messages) == rescuer.resent == count - 1
    assert [line["count"] for line in logs if line["event"] == "messages.resent"] == [BATCH] * MAX_BATCHES
    await rescuer.resend_lost()
    assert len(set(sent(world))) == len(world.queue.messages) == count


@pytest.mark.parametrize("part", ["jobs", "queue", "letters", "dead"])
async def test_it_waits_for_a_part_that_is_away(part: str) -> None:
    world = World()
    jobs = await accepted(world, 3)
    purge(world)
    async with open_node(world):
        world.weather.away(part, SILENT_SECONDS + 60.0)
        with trio.fail_after(SILENT_SECONDS + 120.0):
            for one in jobs:
                assert (await world.terminal(one)).state is JobState.SUCCEEDED


async def test_one_node_at_a_time_sweeps() -> None:
    world = World()
    await accepted(world, 3)
    purge(world)
    async with trio.open_nursery() as nursery:
        nodes = [Node(world, name=name) for name in ("one", "other")]
        for node in nodes:
            nursery.start_soon(node.janitor.run)
        await trio.sleep(SILENT_SECONDS + 2 * UNCONFIRMED_SECONDS)
        nursery.cancel_scope.cancel()
    assert sorted(node.rescuer.resent for node in nodes) == [0, 3]

"""Store, database, queue or dead-letter queue may be unavailable at any step of a job: it waits, and is not lost."""

from pathlib import Path

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobState
from reportd.ports import Outgoing, UnavailableError
from reportd.work.in_flight import Revocation
from reportd.work.worker import STORE_PATIENCE_SECONDS
from tests.daemon.node import Node, World, job, open_node

pytestmark = pytest.mark.usefixtures("autojump_clock")

STEPS = ["jobs.start", "artifacts.put", "jobs.settle", "queue.delete"]


def away_from(world: World, step: str, seconds: float) -> None:
    """The part becomes unavailable at the moment of its step."""

    async def hook(call: str, when: str) -> None:
        if (call, when) == (step, "before"):
            world.weather.hook = None
            world.weather.away(step.split(".", maxsplit=1)[0], seconds)

    world.weather.hook = hook


@pytest.mark.parametrize("step", STEPS)
async def test_a_part_that_is_away_for_a_while_costs_only_time(step: str, tmp_path: Path) -> None:
    world, one = World(spool=tmp_path), job()
    messages = await world.received(one)
    away_from(world, step, 30.0)
    await Node(world).handle(*messages)
    assert 30.0 <= trio.current_time() < 40.0
    record = world.record(one)
    assert (record.state, record.tally.attempts) == (JobState.SUCCEEDED, 1)
    assert world.renderer.rendered == [(one.task_id, False)]
    assert world.artifacts.puts == [one.task_id]
    assert not world.queue.messages
    assert not world.spooled()


@pytest.mark.parametrize("step", ["jobs.settle", "dead.send", "queue.delete"])
async def test_dead_lettering_waits_for_its_parts(step: str) -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_STATUS]
    messages = await world.received(one)
    away_from(world, step, 30.0)
    await Node(world).handle(*messages)
    assert trio.current_time() >= 30.0
    assert world.record(one).state is JobState.DEAD_LETTERED
    assert (len(world.dead.messages), len(world.queue.messages)) == (1, 0)


async def test_an_entry_that_the_queue_did_not_settle_is_tried_again() -> None:
    """A batch call can succeed as a whole and fail for one message."""
    world, one = World(), job()
    outcomes: list[list[Exception | None]] = [[UnavailableError("queue", "throttled")]]
    delete = world.queue.delete

    async def some_fail(receipts: list[str]) -> list[Exception | None]:
        return outcomes.pop() if outcomes else await delete(receipts)

    world.queue.delete = some_fail  # type: ignore[assignment,method-assign]
    await Node(world).handle(*await world.received(one))
    assert not world.queue.messages


async def test_a_dead_letter_that_its_queue_did_not_take_is_sent_again() -> None:
    world, one = World(), job(1, "other")
    outcomes: list[list[Exception | None]] = [[UnavailableError("dead", "throttled")]]
    send = world.dead.send

    async def some_fail(messages: list[Outgoing]) -> list[Exception | None]:
        return outcomes.pop() if outcomes else await send(messages)

    world.dead.send = some_fail  # type: ignore[assignment,method-assign]
    await Node(world).handle(*await world.received(one))
    assert (len(world.dead.messages), len(world.queue.messages)) == (1, 0)


async def test_a_store_away_for_long_gives_the_place_to_another_job(tmp_path: Path) -> None:
    world, one = World(spool=tmp_path), job()
    world.weather.away("artifacts", 400.0)
    async with open_node(world):
        await world.send(one)
        await trio.sleep(STORE_PATIENCE_SECONDS + 2.0)
        record = world.record(one)
        assert record.error is not None
        assert (record.state, record.error.kind) == (JobState.QUEUED, FaultKind.STORE_UNAVAILABLE)
        assert (record.tally.attempts, record.tally.uncounted) == (0, 1)
        record = await world.terminal(one)
    # More tries than a job has attempts: an unavailable store uses none.
    assert (record.state, record.tally.attempts) == (JobState.SUCCEEDED, 1)
    assert record.tally.uncounted > 3
    assert world.artifacts.puts == [one.task_id]
    assert not world.spooled()


@pytest.mark.parametrize("part", ["jobs", "queue", "artifacts", "dead"])
async def test_everything_ends_well_after_a_part_was_away_for_minutes(part: str) -> None:
    world = World()
    good, bad = [job(n) for n in range(1, 9)], [job(n, "other") for n in range(11, 14)]
    await world.send(*good, *bad)
    world.weather.away(part, 500.0)
    async with open_node(world):
        with trio.fail_after(1000.0):
            for one in good:
                assert (await world.terminal(one)).state is JobState.SUCCEEDED
            for one in bad:
                assert (await world.terminal(one)).state is JobState.QUARANTINED
        await trio.sleep(120.0)
    assert sorted(world.artifacts.stored) == sorted(one.task_id for one in good)
    assert not world.queue.messages
    assert not world.dead.messages
    assert all(len(world.jobs.terminal_moves(one.task_id)) == 1 for one in good + bad)


@pytest.mark.parametrize("why", list(Revocation))
async def test_the_file_of_a_pdf_goes_when_its_job_is_called_off(why: Revocation, tmp_path: Path) -> None:
    world, one = World(spool=tmp_path), job()
    node = Node(world)

    async def hook(call: str, when: str) -> None:
        if (call, when) == ("artifacts.put", "before"):
            assert world.spooled()
            for hold in node.in_flight.all():
                hold.revoke(why)
            await trio.lowlevel.checkpoint()

    messages = await world.received(one)
    world.weather.hook = hook
    await node.handle(*messages)
    assert not world.spooled()


async def test_the_file_of_a_pdf_goes_when_storing_it_hits_a_bug(tmp_path: Path) -> None:
    world, one = World(spool=tmp_path), job()
    world.weather.fail("artifacts.put", RuntimeError("a bug"))
    async with open_node(world):
        await world.send(one)
        await trio.sleep(5.0)
        assert not world.spooled()
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert not world.spooled()

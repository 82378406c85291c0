"""A node is killed, or its work is revoked, at every single call that it makes. No job is lost, and none is done twice.

I1: one terminal state and one artifact, wherever it stops. I7: a revocation is no failure and uses no attempt.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import Outgoing, Settlement
from reportd.work.in_flight import Revocation
from tests.daemon.node import Node, World, job
from tests.fakes import now

pytestmark = pytest.mark.usefixtures("autojump_clock")

LONG_ENOUGH = 900.0
BEFORE_AND_AFTER = ("before", "after")


@dataclass(frozen=True)
class Case:
    """A job, the outcomes of its renders, and its expected end."""

    one: Job
    faults: tuple[FaultKind, ...]
    end: JobState


CASES = {
    "succeeds": Case(job(), (), JobState.SUCCEEDED),
    "succeeds the second time": Case(job(), (FaultKind.SCRIPT_ERROR,), JobState.SUCCEEDED),
    "cannot succeed": Case(job(), (FaultKind.PAGE_STATUS,) * 20, JobState.QUARANTINED),
    "fails every time": Case(job(), (FaultKind.TIMEOUT,) * 20, JobState.QUARANTINED),
    "kills its browser": Case(job(), (FaultKind.BROWSER_LOST,) * 20, JobState.QUARANTINED),
    "is of no known type": Case(job(1, "other"), (), JobState.QUARANTINED),
}


def world_of(case: Case) -> World:
    world = World()
    world.renderer.faults[case.one.task_id] = list(case.faults)
    return world


async def live(world: World, until_call: int, phase: str) -> bool:
    """Run a node until it is killed at a call, or nothing is left to do. Return whether it was killed."""
    killed = world.weather.kill_at(until_call, phase)
    with trio.move_on_after(LONG_ENOUGH):
        async with open_background() as nursery:
            nursery.start_soon(Node(world).run, trio.Event())
            nursery.start_soon(at_rest, world, nursery.cancel_scope)
            await killed.wait()
    world.weather.hook = None
    return killed.is_set()


async def at_rest(world: World, life: trio.CancelScope) -> None:
    while world.queue.messages or world.dead.messages:
        await trio.sleep(1.0)
    life.cancel()


def check(world: World, case: Case) -> None:
    task_id = case.one.task_id
    assert not world.queue.messages
    assert not world.dead.messages
    assert world.jobs.terminal_moves(task_id) == [case.end]
    assert list(world.artifacts.stored) == ([task_id] if case.end is JobState.SUCCEEDED else [])
    tally = world.record(case.one).tally
    assert tally.attempts <= 3
    assert tally.losses <= 2


@pytest.mark.parametrize("phase", BEFORE_AND_AFTER)
@pytest.mark.parametrize("name", CASES)
async def test_a_node_killed_at_any_call_loses_nothing(name: str, phase: str) -> None:
    case, kills, killed = CASES[name], 0, True
    while killed:
        kills += 1
        world = world_of(case)
        await world.send(case.one)
        killed = await live(world, kills, phase)
        assert not await live(world, 10_000, phase)
        check(world, case)
    assert kills > 8


@pytest.mark.parametrize("name", CASES)
async def test_a_node_killed_again_and_again_loses_nothing(name: str) -> None:
    case, chance = CASES[name], random.Random(name)
    for _ in range(15):
        world = world_of(case)
        await world.send(case.one)
        for _ in range(4):  # the fifth lost node would count against the job
            await live(world, chance.randint(1, 12), chance.choice(BEFORE_AND_AFTER))
        assert not await live(world, 10_000, "before")
        check(world, case)


@pytest.mark.parametrize("phase", BEFORE_AND_AFTER)
async def test_a_malformed_message_is_kept_once_whatever_is_cut_off(phase: str) -> None:
    """A kill between send and delete makes two letters, which are recognised as the same."""
    for kill in range(1, 12):
        world = World()
        await world.queue.send([Outgoing("{", "", "", "")])
        await live(world, kill, phase)
        await live(world, 10_000, phase)
        assert not world.queue.messages
        assert not world.dead.messages
        assert [letter.body for letter in world.letters.letters.values()] == ["{"]
        assert not world.jobs.records


# --- revoked ------------------------------------------------------------------------------------------------


def called_off_at(world: World, call_off: Callable[[], None], number: int, phase: str) -> Iterator[int]:
    """Set the hook that revokes the work at call ``number``. Yield the number of calls."""
    calls = 0

    async def hook(_call: str, when: str) -> None:
        nonlocal calls
        if when == phase:
            calls += 1
            if calls == number:
                call_off()
            # A call that was cancelled midway may have taken effect.
            await trio.lowlevel.checkpoint()

    world.weather.hook = hook
    yield calls
    world.weather.hook = None
    yield calls


async def called_off_everywhere(case: Case, phase: str, call_off: Callable[[World, Node], None]) -> list[World]:
    """Return the worlds in which the first handling of a job is revoked at its first call, its second, …"""
    worlds = []
    for number in range(1, 100):
        world = world_of(case)
        node = Node(world)
        messages = await world.received(case.one)
        calls = called_off_at(world, partial(call_off, world, node), number, phase)
        next(calls)
        await node.handle(*messages)
        worlds.append(world)
        if next(calls) < number:
            return worlds
    raise AssertionError("it never ends")


def drain(_world: World, node: Node) -> None:
    node.in_flight.stop()
    for hold in node.in_flight.all():
        hold.revoke(Revocation.DRAINED)


def cancel(world: World, node: Node) -> None:
    """Cancel as ``Service.cancel`` does."""
    for hold in node.in_flight.all():
        if world.jobs._settle(Settlement(hold.task_id, JobEvent.CANCELLED, now())) is not None:
            node.in_flight.cancel(hold.task_id)


def receipt_lost(world: World, node: Node) -> None:
    for message in world.queue.messages:
        message.visible_at, message.receipt = now(), None
    for hold in node.in_flight.all():
        for receipt in hold.receipts:
            hold.receipt_lost(receipt)


@pytest.mark.parametrize("phase", BEFORE_AND_AFTER)
@pytest.mark.parametrize("call_off", [drain, receipt_lost])
@pytest.mark.parametrize("name", ["succeeds", "cannot succeed", "kills its browser"])
async def test_giving_back_uses_no_attempt(name: str, call_off: Callable[[World, Node], None], phase: str) -> None:
    case, states = CASES[name], set()
    worlds = await called_off_everywhere(case, phase, call_off)
    assert len(worlds) > 3
    for world in worlds:
        record = world.record(case.one)
        states.add(record.state)
        if record.state is JobState.QUEUED:
            assert [m.visible for m in world.queue.messages] == [True]
            # An attempt that had failed before stays counted.
            assert record.error is not None or record.tally == Tally()
        assert not await live(world, 10_000, "before")
        check(world, case)
        assert world.record(case.one).tally.node_losses == 0
    assert JobState.QUEUED in states
    assert JobState.RUNNING not in states


@pytest.mark.parametrize("phase", BEFORE_AND_AFTER)
@pytest.mark.parametrize("name", ["succeeds", "fails every time", "cannot succeed"])
async def test_a_cancelled_job_stays_cancelled_and_leaves_nothing(name: str, phase: str) -> None:
    case = CASES[name]
    worlds = await called_off_everywhere(case, phase, cancel)
    ends = set()
    for world in worlds:
        await live(world, 10_000, "before")
        assert not world.queue.messages
        assert not world.dead.messages
        (end,) = world.jobs.terminal_moves(case.one.task_id)
        ends.add(end)
        assert list(world.artifacts.stored) == ([case.one.task_id] if end is JobState.SUCCEEDED else [])
    assert ends == {JobState.CANCELLED, case.end}

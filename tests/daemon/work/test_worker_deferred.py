"""A job is deferred while its breaker is open. It uses no attempt, and does not run out of receives (I3)."""

from contextlib import suppress

import pytest
import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.transitions import JobState
from tests.daemon.node import Node, World, job

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def resting(world: World, max_receive_count: int) -> Node:
    """A node whose breaker for ``report`` has just opened for a minute."""
    node = Node(world)
    breakers = Breakers(
        MemoryBreakers(), BreakerPolicy(1, recovery_seconds=60.0, max_recovery_seconds=60.0), node="node"
    )
    node.worker._breakers = breakers
    node.worker._settler._max_receive_count = max_receive_count
    with suppress(FaultError):
        async with breakers.admit("report", 1.0):
            raise FaultError(FaultKind.TIMEOUT, "it hung")
    return node


async def test_it_waits_out_the_rest_and_no_page_is_opened() -> None:
    world, one = World(), job()
    node = await resting(world, 1000)
    messages = await world.received(one)
    world.weather.calls.clear()
    await node.handle(*messages)
    record = world.record(one)
    assert (record.state, record.tally.attempts, record.tally.deferrals) == (JobState.QUEUED, 0, 1)
    assert "renderer.render" not in world.weather.calls
    assert "jobs.start" not in world.weather.calls
    assert await world.queue.receive(1, 0.0) == []
    await trio.sleep(200)
    (again,) = await world.queue.receive(1, 0.0)
    assert again.receive_count == 2
    await node.handle(again)
    assert world.record(one).state is JobState.SUCCEEDED


async def test_it_is_sent_anew_before_the_queue_would_give_it_up() -> None:
    world, one = World(), job()
    node = await resting(world, 2)
    await node.handle(*await world.received(one))
    (message,) = world.queue.messages
    assert message.receive_count == 0
    assert not message.visible
    assert not world.dead.messages
    assert world.record(one).tally.attempts == 0

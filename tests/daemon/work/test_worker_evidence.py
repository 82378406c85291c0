"""What is kept of a failed attempt, and that no job waits for it for long."""

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.transitions import JobState
from reportd.work.evidence import KEEP_SECONDS
from tests.daemon.node import Node, World, job
from tests.fakes import EPOCH

pytestmark = pytest.mark.usefixtures("autojump_clock")

SEEN = Evidence(b"jpeg", ("log: rows",), (), "printing")


def failing(*faults: FaultKind) -> World:
    world = World()
    world.renderer.faults[job().task_id] = list(faults)
    world.renderer.evidence[job().task_id] = SEEN
    return world


async def handle(world: World) -> None:
    await Node(world).handle(*await world.received(job()))


async def test_each_failed_attempt_leaves_its_evidence() -> None:
    world = failing(FaultKind.BROWSER_UNAVAILABLE, FaultKind.TIMEOUT)
    # The first uses no attempt; it still has a number of its own.
    await handle(world)
    await handle(world)
    task_id = job().task_id
    assert world.evidence.kept == {(task_id, 1): (EPOCH + 1, SEEN), (task_id, 2): (EPOCH + 2, SEEN)}
    assert [attempt.number for attempt in await world.jobs.attempts(task_id)] == [1, 2]


async def test_a_success_and_a_fault_without_evidence_leave_nothing() -> None:
    world = failing()
    await handle(world)
    assert world.record(job()).state is JobState.SUCCEEDED
    other = World()
    other.renderer.faults[job().task_id] = [FaultKind.TIMEOUT]
    await handle(other)
    assert world.evidence.kept == other.evidence.kept == {}
    assert "evidence.put" not in world.weather.calls + other.weather.calls


@pytest.mark.parametrize("error", [None, RuntimeError("no room")])
async def test_a_store_that_fails_keeps_no_job_from_its_settlement(error: Exception | None) -> None:
    world = failing(FaultKind.TIMEOUT)
    if error is None:
        world.weather.away("evidence", 1000.0)
    else:
        world.weather.fail("evidence.put", error)
    await handle(world)
    assert trio.current_time() == 1.0
    record = world.record(job())
    assert (record.state, record.error and record.error.kind) == (JobState.QUEUED, FaultKind.TIMEOUT)


async def test_a_store_that_hangs_delays_the_settlement_by_little() -> None:
    world = failing(FaultKind.TIMEOUT)

    async def hook(call: str, _phase: str) -> None:
        if call == "evidence.put":
            await trio.sleep_forever()

    world.weather.hook = hook
    await handle(world)
    assert trio.current_time() == 1.0 + KEEP_SECONDS
    assert world.record(job()).error is not None

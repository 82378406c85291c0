"""What a type that hangs costs the healthy types of a whole node, measured by the duration of their jobs."""

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobState
from tests.daemon.node import World, job, open_node

pytestmark = pytest.mark.usefixtures("autojump_clock")

HANGS_SECONDS = 40.0


def world_of(*names: str, slots: int) -> World:
    world = World(slots=slots)
    world.types.names = set(names)
    return world


async def took(world: World, one: Job) -> float:
    """Return the seconds from now until the job succeeded."""
    begun = trio.current_time()
    assert (await world.terminal(one)).state is JobState.SUCCEEDED
    return trio.current_time() - begun


async def test_a_job_that_timed_out_keeps_no_healthy_one_of_its_type_waiting_for_another_that_hangs() -> None:
    """``healthy`` had one timeout. Its retry used to hold the type's only permit while ``hanging`` ran: 40 s a job."""
    world = world_of("hanging", "healthy", slots=4)
    hanging, blip = job(1, "hanging"), job(2, "healthy")
    world.renderer.faults = {hanging.task_id: [FaultKind.TIMEOUT], blip.task_id: [FaultKind.TIMEOUT]}
    world.renderer.faults |= {job(number).task_id: [] for number in range(3, 11)}
    async with open_node(world, limits={"hanging": 0, "healthy": 1}):
        await world.send(hanging)
        await trio.sleep(1.5)
        world.renderer.hanging[hanging.task_id] = HANGS_SECONDS
        await world.send(blip)
        await trio.sleep(6)  # the backoff of both is over, and ``hanging`` hangs
        assert world.renderer.busy == 1
        for number in range(3, 11):
            one = job(number, "healthy")
            await world.send(one)
            assert await took(world, one) <= 2.0
        assert world.renderer.busy == 1
        await world.terminal(hanging)
        assert await took(world, blip) <= 2.0


@pytest.mark.parametrize("prefetch", [0, 2, 10])
async def test_jobs_that_wait_for_their_types_leave_every_slot_to_the_healthy(prefetch: int) -> None:
    """One job used to wait for each that hung: five such types used all capacity of a node with three slots free."""
    sick = [f"sick{number}" for number in range(5)]
    world = world_of("healthy", *sick, slots=8)
    jobs = [job(number, name) for number, name in enumerate(3 * sick, 1)]
    world.renderer.hanging = {one.task_id: HANGS_SECONDS for one in jobs}
    world.renderer.faults = {one.task_id: [] for one in (*jobs, *map(job, range(100, 110)))}
    async with open_node(world, prefetch=prefetch, limits=dict.fromkeys(sick, 1) | {"healthy": 0}):
        await world.send(*jobs)
        await trio.sleep(5)
        assert world.renderer.busy == 5
        for number in range(100, 110):
            one = job(number, "healthy")
            await world.send(one)
            assert await took(world, one) <= 2.0

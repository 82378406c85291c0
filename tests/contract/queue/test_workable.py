"""What waits for a breaker is held, whatever queue it waits in: it calls for no node, and is in no other count."""

from reportd.adapters.routed_queue import RoutedQueue
from reportd.concurrency.nurseries import open_background
from reportd.core.capacity.scaling import ScalingPolicy
from reportd.core.jobs.job import Job, to_message
from reportd.ports import Depth, Outgoing, Queue, UnavailableError
from reportd.status.demand import Scaling
from reportd.status.queue_depth import WorkableQueue
from tests.contract.queue.queue_lab import QueueLab, Trait, new_id, sent, take
from tests.fakes import MemoryJobs, Weather

HELD, WELL = 40, 2


def a_job(report_type: str) -> Job:
    return Job(new_id(), report_type, {}, new_id(), 1.7e9)


async def submit(queue: Queue, jobs: MemoryJobs, report_type: str, count: int) -> None:
    new = [a_job(report_type) for _ in range(count)]
    await jobs.add(new)
    for at in range(0, count, 10):
        part = new[at : at + 10]
        await sent(queue, *(Outgoing(to_message(one), one.task_id, one.report_type, one.user_id) for one in part))


async def judged(
    queue: Queue, jobs: MemoryJobs, held: frozenset[str] = frozenset({"sick"})
) -> tuple[Depth, int | None]:
    """How deep it is, and how many nodes of two slots are wanted when a render takes 25 s."""
    async with open_background() as nursery:
        depth = await WorkableQueue(queue, jobs, lambda: held, nursery).depth()
        scaling = Scaling(
            jobs=jobs,
            slots=lambda: 2,
            render_seconds=lambda: 25.0,
            policy=ScalingPolicy(),
            nursery=nursery,
            fresh_seconds=0.0,
        )
        demand = await scaling.demand(depth)
        assert (demand.backlog, demand.held) == (depth.visible, depth.held)
        return depth, demand.nodes_wanted


async def test_what_a_breaker_holds_calls_for_no_nodes(lab: QueueLab) -> None:
    jobs = MemoryJobs()
    await submit(lab.queue, jobs, "sick", HELD)
    if Trait.SKIPS not in lab.traits:
        # It is received, and put off.
        received = await take(lab.queue, HELD, lab.wait_seconds)
        for at in range(0, len(received), 10):
            await lab.queue.set_visibility([(one.receipt, 25.0) for one in received[at : at + 10]])
    await submit(lab.queue, jobs, "well", WELL)
    depth, nodes = await judged(lab.queue, jobs)
    assert (depth.visible, depth.in_flight, depth.delayed, depth.held) == (WELL, 0, 0, HELD)
    assert nodes == 1
    if Trait.SKIPS in lab.traits:
        depth, nodes = await judged(lab.queue, jobs, frozenset())
        assert (depth.visible, depth.held) == (HELD + WELL, 0)
        assert nodes is not None
        assert nodes > 1, "as soon as the breaker is closed they are work"


async def test_what_waits_in_a_queue_of_the_types_own_is_held_as_well(lab: QueueLab) -> None:
    jobs, queue = MemoryJobs(), RoutedQueue(lab.dead, {"sick": lab.queue})
    await submit(queue, jobs, "sick", HELD)
    await submit(queue, jobs, "well", WELL)
    depth, nodes = await judged(queue, jobs)
    assert (depth.visible, depth.held, nodes) == (WELL, HELD, 1)


async def test_while_the_database_is_away_it_is_the_queues_own(lab: QueueLab) -> None:
    weather = Weather()
    jobs = MemoryJobs(weather)
    await submit(lab.queue, jobs, "sick", 3)
    weather.fail("jobs.loads", UnavailableError("database", "away"))
    async with open_background() as nursery:
        depth = await WorkableQueue(lab.queue, jobs, lambda: frozenset({"sick"}), nursery).depth()
    assert (depth.visible, depth.held) == (3, 0)

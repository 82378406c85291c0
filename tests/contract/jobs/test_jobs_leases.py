"""What one node does for all: one at a time, and another one once that node is gone."""

import trio

from reportd.ports import Jobs

LONG = 3600.0


async def test_one_node_leads_and_goes_on_to(jobs: Jobs, other_node: Jobs) -> None:
    assert await jobs.acquire_lease("sweep", "one", LONG)
    assert not await other_node.acquire_lease("sweep", "two", LONG)
    assert await jobs.acquire_lease("sweep", "one", LONG)


async def test_each_work_has_a_leader_of_its_own(jobs: Jobs, other_node: Jobs) -> None:
    assert await jobs.acquire_lease("sweep", "one", LONG)
    assert await other_node.acquire_lease("outbox", "two", LONG)


async def test_a_node_that_is_gone_is_followed_by_another(jobs: Jobs, other_node: Jobs) -> None:
    assert await jobs.acquire_lease("sweep", "one", 0.05)
    await trio.sleep(0.1)
    assert await other_node.acquire_lease("sweep", "two", LONG)
    assert not await jobs.acquire_lease("sweep", "one", LONG)


async def test_of_many_that_ask_at_once_one_leads(jobs: Jobs, other_node: Jobs) -> None:
    leaders: list[str] = []

    async def ask(store: Jobs, node: str) -> None:
        if await store.acquire_lease("sweep", node, LONG):
            leaders.append(node)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, jobs, f"a{number}")
            nursery.start_soon(ask, other_node, f"b{number}")
    assert len(leaders) == 1

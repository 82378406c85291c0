"""Signs of life: the last one of each node counts, until the node leaves or is forgotten."""

from collections.abc import AsyncIterator

import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.fleet import SqlFleet
from reportd.ports import Fleet
from tests.fakes import MemoryJobs
from tests.fakes.fleet import MemoryFleet

TOLD = {"slots": 4, "trouble": "“茶”\n", "browsers": [{"pid": 7, "memory_mib": 210.5}], "figures": None}


@pytest.fixture
async def fleets(store: str | MemoryJobs) -> AsyncIterator[tuple[Fleet, Fleet]]:
    """One fleet, as two nodes have it."""
    if isinstance(store, MemoryJobs):
        fake = MemoryFleet()
        yield fake, fake
        return
    async with open_database(store) as one, open_database(store) as other:
        yield SqlFleet(one), SqlFleet(other)


async def names(fleet: Fleet) -> list[str]:
    return [sign.node for sign in await fleet.heartbeats()]


async def test_nobody_is_there_at_first(fleets: tuple[Fleet, Fleet]) -> None:
    assert await fleets[0].heartbeats() == []
    await fleets[0].leave("n1")
    await fleets[0].forget(0.0)


async def test_what_a_node_tells_is_heard_by_the_others(fleets: tuple[Fleet, Fleet]) -> None:
    await fleets[0].report("n2", TOLD)
    await fleets[1].report("n1", {})
    first, second = await fleets[1].heartbeats()
    assert (first.node, first.told, second.node, second.told) == ("n1", {}, "n2", TOLD)
    assert all(0.0 <= sign.age_seconds < 10.0 for sign in (first, second))


async def test_the_last_sign_takes_the_place_of_the_one_before(fleets: tuple[Fleet, Fleet]) -> None:
    await fleets[0].report("n1", {"slots": 1})
    (before,) = await fleets[0].heartbeats()
    await trio.sleep(0.02)
    await fleets[0].report("n1", {"slots": 2})
    (sign,) = await fleets[1].heartbeats()
    assert sign.told == {"slots": 2}
    assert sign.seen_at > before.seen_at


async def test_age_grows_and_the_time_of_a_sign_does_not(fleets: tuple[Fleet, Fleet]) -> None:
    await fleets[0].report("n1", {})
    (before,) = await fleets[0].heartbeats()
    await trio.sleep(0.02)
    (later,) = await fleets[1].heartbeats()
    assert later.seen_at == before.seen_at
    assert later.age_seconds > before.age_seconds


async def test_who_leaves_is_not_there_any_more(fleets: tuple[Fleet, Fleet]) -> None:
    for node in ("n1", "n2"):
        await fleets[0].report(node, {})
    await fleets[0].leave("n1")
    assert await names(fleets[1]) == ["n2"]


async def test_who_gives_no_sign_is_forgotten_in_the_end(fleets: tuple[Fleet, Fleet]) -> None:
    await fleets[0].report("n1", {})
    await trio.sleep(0.05)
    await fleets[0].report("n2", {})
    (first, _) = await fleets[0].heartbeats()
    await fleets[1].forget(60.0)
    assert await names(fleets[0]) == ["n1", "n2"]
    await fleets[1].forget(first.age_seconds - 0.02)
    assert "n1" not in await names(fleets[0])

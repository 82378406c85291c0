"""EndedSession logins: known to all nodes until their time is over, and never more than so many."""

from collections.abc import AsyncIterator

import pytest

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores import sessions
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.ports import EndedSession, EndedSessions
from tests.fakes import MemoryJobs
from tests.fakes import sessions as fake_sessions
from tests.fakes.sessions import MemoryEndedSessions

NOW = 1.8e9


@pytest.fixture
async def nodes(store: str | MemoryJobs) -> AsyncIterator[tuple[EndedSessions, EndedSessions]]:
    """One record, as two nodes have it."""
    if isinstance(store, MemoryJobs):
        fake = MemoryEndedSessions()
        yield fake, fake
        return
    async with open_database(store) as one, open_database(store) as other:
        yield SqlEndedSessions(one), SqlEndedSessions(other)


async def test_what_one_node_ends_all_know_until_its_time(nodes: tuple[EndedSessions, EndedSessions]) -> None:
    assert await nodes[0].ended(NOW) == []
    await nodes[0].end("ada", "s1", NOW, NOW + 10)
    await nodes[1].end("bob.l@x", "s1", NOW + 1, NOW + 11)
    both = [EndedSession("ada", "s1", NOW), EndedSession("bob.l@x", "s1", NOW + 1)]
    assert await nodes[0].ended(NOW + 9) == await nodes[1].ended(NOW + 9) == both
    assert await nodes[0].ended(NOW + 10) == both[1:]
    assert await nodes[1].ended(NOW + 11) == []


async def test_ended_twice_is_ended_once(nodes: tuple[EndedSessions, EndedSessions]) -> None:
    for node in nodes:
        await node.end("ada", "s1", NOW, NOW + 10)
    assert await nodes[0].ended(NOW) == [EndedSession("ada", "s1", NOW)]


async def test_what_is_over_is_removed(nodes: tuple[EndedSessions, EndedSessions]) -> None:
    await nodes[0].end("ada", "s1", NOW, NOW + 10)
    await nodes[0].end("ada", "s2", NOW + 10, NOW + 20)
    assert await nodes[1].ended(NOW) == [EndedSession("ada", "s2", NOW + 10)]


async def test_too_many_of_a_token_end_all_of_it(
    nodes: tuple[EndedSessions, EndedSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sessions, fake_sessions):
        monkeypatch.setattr(module, "MAX_OF_TOKEN", 3)
    await nodes[0].end("bob", "s", NOW, NOW + 100)
    for number in range(4):
        await nodes[number % 2].end("ada", f"s{number}", NOW + number, NOW + 100)
    assert await nodes[0].ended(NOW) == [EndedSession("ada", "", NOW + 3), EndedSession("bob", "s", NOW)]
    await nodes[0].end("ada", "s9", NOW + 9, NOW + 100)
    assert EndedSession("ada", "s9", NOW + 9) in await nodes[1].ended(NOW)

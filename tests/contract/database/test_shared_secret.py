"""The secrets that nodes make and share: the first makes one, and it is the same for all, for good."""

import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.secrets import shared_secret


async def test_all_nodes_have_the_same_however_many_ask_at_once(database_url: str) -> None:
    found: list[bytes] = []

    async def node() -> None:
        async with open_database(database_url) as database:
            found.append(await shared_secret(database, "sessions"))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(node)
    await node()
    assert len(found) == 5
    assert len(set(found)) == 1
    assert len(found[0]) == 32


async def test_each_purpose_has_its_own(database_url: str) -> None:
    async with open_database(database_url) as database:
        assert await shared_secret(database, "one") != await shared_secret(database, "two")

"""What is known of each cause on each channel: changed by one node at a time, and found when it is due."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.alerts import SqlAlerts
from reportd.core.alerts.incidents import Incident, Kind
from reportd.ports import AlertStore
from tests.contract.jobs.jobs_lab import NOON
from tests.contract.records.outbox_lab import Clock
from tests.fakes import MemoryJobs
from tests.fakes.alerts import MemoryAlerts

INCIDENT = Incident(
    kind=Kind.QUARANTINED,
    report_type="sales",
    detail="the page has no chart 茶",
    since=NOON,
    last_at=NOON + 1,
    total=5_000_000_000,
    untold=2,
    untold_since=NOON + 0.5,
    told_at=None,
    due_at=NOON + 100,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stores(store: str | MemoryJobs, clock: Clock) -> AsyncIterator[tuple[AlertStore, AlertStore]]:
    """The same store, as two nodes see it."""
    if isinstance(store, MemoryJobs):
        memory = MemoryAlerts(clock=clock)
        yield memory, memory
        return
    async with open_database(store) as one, open_database(store) as other:
        yield SqlAlerts(one, clock), SqlAlerts(other, clock)


async def keep(store: AlertStore, signature: str, incident: Incident | None, channel: str = "slack") -> None:
    await store.change(channel, signature, lambda _kept, _now: incident)


async def kept(store: AlertStore, signature: str, channel: str = "slack") -> Incident | None:
    return await store.change(channel, signature, lambda incident, _: incident)


async def test_what_is_kept_is_found_by_every_node(stores: tuple[AlertStore, AlertStore]) -> None:
    here, there = stores
    assert await kept(here, "a") is None
    await keep(here, "a", INCIDENT)
    assert await kept(there, "a") == INCIDENT
    changed = replace(
        INCIDENT,
        told_at=NOON + 5,
        announced=True,
        over=True,
        attempts=3,
        retry_at=NOON + 60,
        teller="f" * 32,
        due_at=float("inf"),
    )
    await keep(there, "a", changed)
    assert await kept(here, "a") == changed
    await keep(here, "a", None)
    assert await kept(there, "a") is None


async def test_the_decision_knows_the_time_of_the_store(stores: tuple[AlertStore, AlertStore], clock: Clock) -> None:
    times: list[float] = []

    def look(incident: Incident | None, now: float) -> Incident | None:
        times.append(now)
        return incident

    await stores[0].change("slack", "a", look)
    clock.advance(7)
    await stores[1].change("slack", "a", look)
    assert times == [NOON + 100, NOON + 107]


async def test_channels_and_causes_are_apart(stores: tuple[AlertStore, AlertStore]) -> None:
    here, _ = stores
    await keep(here, "a", INCIDENT)
    assert await kept(here, "a", "webhook") is None
    assert await kept(here, "b") is None


async def test_any_text_can_be_a_cause(stores: tuple[AlertStore, AlertStore]) -> None:
    here, there = stores
    for signature in ("", "a\0b", "茶" * 216, "x'; --", "%_"):
        await keep(here, signature, INCIDENT)
        assert await kept(there, signature) == INCIDENT, signature


async def test_what_is_due_is_found_the_longest_overdue_first(
    stores: tuple[AlertStore, AlertStore], clock: Clock
) -> None:
    here, there = stores
    assert await here.due("slack", 9) == ([], None)
    for signature, due_at in (("c", NOON + 300), ("a", NOON + 210), ("b", NOON + 200), ("never", float("inf"))):
        await keep(here, signature, replace(INCIDENT, due_at=due_at))
    await keep(here, "other", replace(INCIDENT, due_at=0.0), "webhook")
    assert await there.due("slack", 9) == ([], 100.0)
    clock.advance(110)
    assert await there.due("slack", 9) == (["b", "a"], 0.0)
    assert await there.due("slack", 1) == (["b"], 0.0)


async def test_nobody_is_in_between(stores: tuple[AlertStore, AlertStore]) -> None:
    """Also while there is nothing yet that could be locked."""

    def count(incident: Incident | None, _: float) -> Incident:
        return replace(incident or INCIDENT, total=(incident.total if incident else 0) + 1)

    async def add(store: AlertStore) -> None:
        for _ in range(10):
            await store.change("slack", "a", count)

    async with trio.open_nursery() as nursery:
        for store in stores * 3:
            nursery.start_soon(add, store)
    incident = await kept(stores[0], "a")
    assert incident is not None
    assert incident.total == 60

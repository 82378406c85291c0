"""Several queues as one: routing of messages and receipts, and the effect of one queue's failure on the others."""

from typing import Any

import pytest

from reportd.adapters.routed_queue import RoutedQueue
from reportd.ports import Outgoing, UnavailableError
from tests.fakes import MemoryQueue, Weather

pytestmark = pytest.mark.usefixtures("autojump_clock")


def message(report_type: str) -> Outgoing:
    return Outgoing(report_type, report_type, report_type, "user")


def queues(**own: MemoryQueue) -> tuple[RoutedQueue, MemoryQueue]:
    main = MemoryQueue()
    return RoutedQueue(main, own), main


async def test_a_type_with_a_queue_of_its_own_uses_it() -> None:
    heavy = MemoryQueue()
    routed, main = queues(heavy=heavy, heavier=heavy)
    assert await routed.send([message("light"), message("heavy"), message("heavier")]) == [None] * 3
    assert [m.sent.body for m in main.messages] == ["light"]
    assert [m.sent.body for m in heavy.messages] == ["heavy", "heavier"]
    assert (await routed.depth()).visible == 3


async def test_receipts_lead_back_to_their_queue() -> None:
    heavy = MemoryQueue()
    routed, main = queues(heavy=heavy)
    await routed.send([message("light"), message("heavy")])
    received: list[Any] = []
    while len(received) < 2:
        received += await routed.receive(10, 1.0)
    assert {m.body for m in received} == {"light", "heavy"}
    assert await routed.set_visibility([(m.receipt, 60.0) for m in received]) == [None, None]
    assert await routed.delete([m.receipt for m in received]) == [None, None]
    assert main.messages == heavy.messages == []


async def test_no_more_are_received_than_asked_for_and_none_is_stranded() -> None:
    heavy = MemoryQueue()
    routed, main = queues(heavy=heavy)
    await routed.send([message(kind) for kind in ("light", "heavy") for _ in range(3)])
    received = await routed.receive(2, 1.0)
    assert len(received) == 2
    assert len(main.in_flight) + len(heavy.in_flight) == 2


async def test_a_queue_whose_types_rest_is_not_asked() -> None:
    weather = Weather()
    heavy = MemoryQueue(weather)
    routed, _ = queues(heavy=heavy)
    await routed.send([message("heavy")])
    calls = len(weather.calls)
    assert await routed.receive(10, 1.0, {"heavy": 0}) == []
    assert len(weather.calls) == calls


async def test_a_queue_that_is_away_fails_its_own_entries_only() -> None:
    weather = Weather()
    routed, main = queues(heavy=MemoryQueue(weather, "heavy"))
    weather.away("heavy", 100.0)
    light, heavy = await routed.send([message("light"), message("heavy")])
    assert light is None
    assert isinstance(heavy, UnavailableError)
    assert [m.body for m in await routed.receive(10, 1.0)] == ["light"]
    assert len(main.in_flight) == 1
    with pytest.raises(UnavailableError):
        await routed.receive(10, 1.0)

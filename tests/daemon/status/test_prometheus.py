"""A scrape: its values, its cost for the parts, and what remains when a part is unavailable."""

from collections import Counter
from dataclasses import replace

import pytest
import trio

from reportd.adapters.routed_queue import RoutedQueue
from reportd.adapters.sqs import SqsQueue
from reportd.adapters.sqs.attributes import QueueAttributes
from reportd.app import backends
from reportd.core.breaker.breaker import BreakerState
from reportd.ports import Depth
from reportd.status.prometheus import PATIENCE_SECONDS
from tests.daemon.node import World, job
from tests.exposed import open_scene
from tests.fakes import MemoryQueue


@pytest.mark.usefixtures("autojump_clock")
async def test_queues() -> None:
    world = World()
    await world.send(*(job(number) for number in range(1, 6)))
    first, second = await world.queue.receive(2, 0.0)
    await world.queue.set_visibility([(first.receipt, 0.0)])
    await trio.sleep(20.0)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    assert seen["reportd_queue_messages", ("queue", "main"), ("state", "visible")] == 4
    assert seen["reportd_queue_messages", ("queue", "main"), ("state", "in_flight")] == 1
    assert seen["reportd_queue_messages", ("queue", "dead"), ("state", "visible")] == 0
    assert seen["reportd_queue_oldest_message_age_seconds", ("queue", "main")] == pytest.approx(20.0)
    assert seen["reportd_queue_oldest_message_age_seconds", ("queue", "dead")] == 0
    assert seen[("reportd_backlog_per_slot",)] == 1
    assert seen[("reportd_backlog_seconds",)] == 1
    assert seen[("reportd_nodes_wanted",)] == 1
    assert second.receipt


@pytest.mark.usefixtures("autojump_clock")
async def test_each_message_is_in_the_count_of_its_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async def depth() -> Depth:
        return Depth(visible=1, in_flight=2, delayed=3, held=4)

    world = World()
    monkeypatch.setattr(world.queue, "depth", depth)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    states = ("visible", "in_flight", "delayed", "held")
    assert [seen["reportd_queue_messages", ("queue", "main"), ("state", state)] for state in states] == [1, 2, 3, 4]


@pytest.mark.usefixtures("autojump_clock")
async def test_pool_breakers_and_readiness() -> None:
    world = World()
    async with open_scene(world) as scene:
        seen = await scene.scrape()
        assert seen[("reportd_ready",)] == 1
        scene.parts["queue"] = (False, "away")
        troubled = await scene.scrape()
    assert (seen[("reportd_pool_slots",)], seen[("reportd_pool_busy_slots",)]) == (4, 2)
    assert (seen[("reportd_pool_waiting_jobs",)], seen[("reportd_messages_held",)]) == (1, 3)
    assert (seen[("reportd_browsers",)], seen[("reportd_browsers_memory_bytes",)]) == (2, 150 * 1024 * 1024)
    states = {name[1:]: value for name, value in seen.items() if name[0] == "reportd_breaker_state"}
    assert len(states) == 2 * len(BreakerState), "a breaker of a type that is not configured makes no series"
    assert {labels for labels, value in states.items() if value} == {
        (("report_type", "activity"), ("state", "closed")),
        (("report_type", "sales"), ("state", "half_open")),
    }
    assert troubled[("reportd_ready",)] == 0
    assert troubled["reportd_part_ready", ("part", "queue")] == 0
    assert troubled["reportd_part_ready", ("part", "database")] == 1


@pytest.mark.usefixtures("autojump_clock")
async def test_depths_are_asked_for_once_in_a_while_however_often_it_is_scraped() -> None:
    world = World()
    async with open_scene(world) as scene:
        for _ in range(12):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(scene.scrape)
            await trio.sleep(5.0)
    assert Counter(world.weather.calls) == {"queue.depth": 2, "dead.depth": 2, "jobs.counts": 2}


@pytest.mark.usefixtures("autojump_clock")
async def test_a_queue_that_is_away_is_left_out_and_the_rest_is_there() -> None:
    world = World()
    world.weather.away("queue", 3600.0)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    queues = {dict(name[1:])["queue"] for name in seen if name[0].startswith("reportd_queue")}
    assert queues == {"dead"}
    assert ("reportd_backlog_per_slot",) not in seen
    assert seen[("reportd_pool_slots",)] == 4


@pytest.mark.usefixtures("autojump_clock")
async def test_without_the_database_nobody_knows_how_many_nodes_are_wanted() -> None:
    world = World()
    world.weather.away("jobs", 3600.0)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    assert ("reportd_nodes_wanted",) not in seen
    assert seen[("reportd_backlog_per_slot",)] == 0


@pytest.mark.usefixtures("autojump_clock")
async def test_queues_that_hang_hold_up_no_scrape() -> None:
    world = World()

    async def hang(_call: str, _when: str) -> None:
        await trio.sleep_forever()

    world.weather.hook = hang
    async with open_scene(world) as scene:
        begun = trio.current_time()
        for _ in range(10):
            seen = await scene.scrape()
        assert trio.current_time() - begun <= PATIENCE_SECONDS + 0.001
    assert not any(name[0].startswith("reportd_queue") for name in seen)
    assert seen[("reportd_ready",)] == 1


@pytest.mark.usefixtures("autojump_clock")
async def test_an_age_that_nobody_tells_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    deep = Depth(visible=5, in_flight=0, delayed=0, oldest_at=None)

    async def depth() -> Depth:
        return deep

    monkeypatch.setattr(world.queue, "depth", depth)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    assert ("reportd_queue_oldest_message_age_seconds", ("queue", "main")) not in seen
    deep = replace(deep, visible=0)
    async with open_scene(world) as scene:
        seen = await scene.scrape()
    assert seen["reportd_queue_oldest_message_age_seconds", ("queue", "main")] == 0


# --- requests to SQS ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
async def test_requests_to_sqs_by_queue_and_action() -> None:
    world = World()
    async with open_scene(world) as scene:
        assert not any(name[0].startswith("reportd_sqs") for name in await scene.scrape())
        scene.requests = {"reports": {"ReceiveMessage": 7}, "dead": {"SendMessageBatch": 1}}
        seen = await scene.scrape()
    assert seen["reportd_sqs_requests_total", ("action", "ReceiveMessage"), ("queue", "reports")] == 7
    assert seen["reportd_sqs_requests_total", ("action", "SendMessageBatch"), ("queue", "dead")] == 1


def sqs(url: str) -> SqsQueue:
    attributes = QueueAttributes(
        arn="", fifo=False, visibility_seconds=30, max_message_bytes=262144, retention_seconds=345600
    )
    return SqsQueue(None, url, attributes, 60.0, "task", 5.0, 0.0, 1)


async def test_every_queue_of_sqs_is_counted_and_those_of_one_name_together() -> None:
    main, heavy, dead = sqs("https://sqs.a/1/reports"), sqs("https://sqs.a/1/heavy"), sqs("https://sqs.b/2/reports")
    count = backends.sqs_requests(RoutedQueue(main, {"quarterly": heavy}), dead, MemoryQueue())
    main.requests["ReceiveMessage"] += 3
    heavy.requests["ReceiveMessage"] += 1
    dead.requests["SendMessageBatch"] += 2
    dead.requests["ReceiveMessage"] += 1
    assert count() == {"reports": {"ReceiveMessage": 4, "SendMessageBatch": 2}, "heavy": {"ReceiveMessage": 1}}

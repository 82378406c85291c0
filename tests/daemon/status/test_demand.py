"""A node's figures about waiting work, and their publication by one node at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import boto3
import pytest
import trio

from reportd.adapters.aws.cloudwatch import open_cloudwatch
from reportd.app import backends, policies
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.config.models import Scaling as ScalingKeys
from reportd.core.capacity.scaling import Demand, ScalingPolicy
from reportd.ports import Depth, UnavailableError
from reportd.status.demand import LOOK_PATIENCE_SECONDS, PUBLISH_SECONDS, Scaling
from tests.daemon.node import World, job
from tests.fakes import MemoryJobs, now
from tests.servers.aws import REGION, pretend_credentials
from tests.servers.faulty_proxy import answer, open_proxy

POLICY = ScalingPolicy(target_seconds=600.0, reaction_seconds=300.0, hold_seconds=300.0)
DEMAND = Demand(backlog=30, backlog_per_slot=7.5, backlog_seconds=75.0, render_seconds=10.0, running=4, nodes_wanted=3)


class Board:
    """Keeps what is published, or raises ``trouble``."""

    def __init__(self) -> None:
        self.published: list[tuple[float, Demand]] = []
        self.trouble: Exception | None = None

    async def publish(self, demand: Demand) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble is not None:
            raise self.trouble
        self.published.append((trio.current_time(), demand))


@asynccontextmanager
async def opened(jobs: MemoryJobs, policy: ScalingPolicy = POLICY) -> AsyncIterator[Scaling]:
    async with open_background() as nursery:
        yield Scaling(
            jobs=jobs,
            slots=lambda: 4,
            render_seconds=lambda: 10.0,
            policy=policy,
            nursery=nursery,
            fresh_seconds=1.0,
        )


def deep(backlog: int = 0) -> Callable[[], Awaitable[Depth]]:
    async def depth() -> Depth:
        await trio.lowlevel.checkpoint()
        return Depth(backlog, 0, 0)

    return depth


# --- what a node says ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
async def test_demand() -> None:
    world = World()
    for number in range(1, 5):
        await world.jobs.start(job(number), "another node", now())
    async with opened(world.jobs) as scaling:
        # More nodes would not start delayed jobs sooner.
        told = await scaling.demand(Depth(visible=300, in_flight=9, delayed=1000))
    assert told == Demand(
        backlog=300, backlog_per_slot=75.0, backlog_seconds=750.0, render_seconds=10.0, running=4, nodes_wanted=4
    )


@pytest.mark.usefixtures("autojump_clock")
async def test_that_fewer_nodes_are_wanted_is_said_late() -> None:
    async with opened(MemoryJobs()) as scaling:
        assert (await scaling.demand(Depth(1000, 0, 0))).nodes_wanted == 10
        await trio.sleep(299.0)
        assert (await scaling.demand(Depth(0, 0, 0))).nodes_wanted == 10
        await trio.sleep(2.0)
        assert (await scaling.demand(Depth(0, 0, 0))).nodes_wanted == 1


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("hangs", [False, True])
async def test_without_the_database_the_rest_is_said(*, hangs: bool) -> None:
    world = World()
    world.weather.away("jobs", 3600.0)
    if hangs:

        async def hang(_call: str, _when: str) -> None:
            await trio.sleep_forever()

        world.weather.hook = hang
    begun = trio.current_time()
    async with opened(world.jobs) as scaling:
        told = await scaling.demand(Depth(300, 0, 0))
    assert (told.running, told.nodes_wanted, told.backlog_per_slot) == (None, None, 75.0)
    assert trio.current_time() - begun <= LOOK_PATIENCE_SECONDS + 0.001


# --- publishing ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
async def test_one_node_at_a_time_publishes_and_another_follows_it() -> None:
    jobs = MemoryJobs()
    boards = [Board(), Board(), Board()]
    async with opened(jobs) as scaling, trio.open_nursery() as nursery:
        lives = [trio.CancelScope() for _ in boards]

        async def live(number: int) -> None:
            with lives[number]:
                await trio.sleep(number)
                await scaling.publish(deep(), boards[number], f"node-{number}")

        for number in range(3):
            nursery.start_soon(live, number)
        await trio.sleep(600.0)
        assert [len(board.published) for board in boards] == [10, 0, 0]
        lives[0].cancel()
        await trio.sleep(600.0)
        times = sorted(at for board in boards for at, _ in board.published)
        assert min(len(board.published) for board in boards[1:]) == 0, "still one at a time"
        assert len(times) >= 18
        assert max(after - before for before, after in pairwise(times)) <= 2.5 * PUBLISH_SECONDS
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(
    "trouble", [UnavailableError("cloudwatch", "throttled"), RuntimeError("that nobody foresaw")], ids=["away", "bug"]
)
async def test_a_publication_that_fails_is_followed_by_the_next(trouble: Exception) -> None:
    board = Board()
    board.trouble = trouble
    async with opened(MemoryJobs()) as scaling, trio.open_nursery() as nursery:
        nursery.start_soon(Supervisor().keep, "scaling", partial(scaling.publish, deep(), board, "node"))
        await trio.sleep(3.5 * PUBLISH_SECONDS)
        board.trouble = None
        await trio.sleep(PUBLISH_SECONDS)
        assert len(board.published) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("autojump_clock")
async def test_what_hangs_is_left_alone() -> None:
    board = Board()
    asked: list[float] = []

    async def depth() -> Depth:
        asked.append(trio.current_time())
        if len(asked) == 1:
            await trio.sleep_forever()
        return Depth(0, 0, 0)

    async with opened(MemoryJobs()) as scaling, trio.open_nursery() as nursery:
        nursery.start_soon(scaling.publish, depth, board, "node")
        await trio.sleep(2 * PUBLISH_SECONDS)
        assert len(board.published) == 1
        nursery.cancel_scope.cancel()


# --- CloudWatch ---------------------------------------------------------------------------------------------


@pytest.fixture
def server(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    pretend_credentials(monkeypatch)
    return moto


def seen(server: str, name: str, queue: str) -> list[dict[str, Any]]:
    """Return a metric of CloudWatch, by the minute."""
    client = boto3.client("cloudwatch", region_name=REGION, endpoint_url=server)
    moment = datetime.now(UTC)
    answer = client.get_metric_statistics(
        Namespace="reports/fleet",
        MetricName=name,
        Dimensions=[{"Name": "Queue", "Value": queue}],
        StartTime=moment - timedelta(minutes=10),
        EndTime=moment + timedelta(minutes=10),
        Period=60,
        Statistics=["Maximum"],
    )
    return list(answer["Datapoints"])


async def test_figures_arrive_in_cloudwatch(server: str) -> None:
    async with open_cloudwatch("reports/fleet", "jobs", region=REGION, endpoint_url=server) as board:
        await board.publish(DEMAND)
    told = {
        name: [(point["Maximum"], point["Unit"]) for point in seen(server, name, "jobs")]
        for name in (
            "Backlog",
            "BacklogHeld",
            "BacklogPerSlot",
            "BacklogSeconds",
            "RenderSeconds",
            "JobsRunning",
            "NodesWanted",
        )
    }
    assert told == {
        "Backlog": [(30.0, "Count")],
        "BacklogHeld": [(0.0, "Count")],
        "BacklogPerSlot": [(7.5, "Count")],
        "BacklogSeconds": [(75.0, "Seconds")],
        "RenderSeconds": [(10.0, "Seconds")],
        "JobsRunning": [(4.0, "Count")],
        "NodesWanted": [(3.0, "Count")],
    }


async def test_what_is_not_known_is_left_out(server: str) -> None:
    unknown = Demand(1, 0.25, 0.25, 1.0, running=None, nodes_wanted=None)
    async with open_cloudwatch("reports/fleet", "unknown", region=REGION, endpoint_url=server) as board:
        await board.publish(unknown)
    assert len(seen(server, "Backlog", "unknown")) == 1
    assert not seen(server, "NodesWanted", "unknown")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValue"])
async def test_what_cloudwatch_refuses_is_told_in_words(server: str, code: str) -> None:
    async with (
        open_proxy(server) as proxy,
        open_cloudwatch("reports/fleet", "jobs", region=REGION, endpoint_url=proxy.url) as board,
    ):
        proxy.plan("PutMetricData", answer(403, code, "no"))
        with pytest.raises(UnavailableError, match="cloudwatch: "):
            await board.publish(DEMAND)


async def test_a_daemon_publishes_only_when_it_is_told_where(server: str) -> None:
    async with backends.open_scaling_metrics(Config()) as board:
        assert board is None
    keys = ScalingKeys(cloudwatch_namespace="reports/fleet", region=REGION, endpoint_url=server)
    config = Config(scaling=keys, queue={"url": f"{server}/123456789012/told", "dead_letter_url": f"{server}/1/dead"})
    async with backends.open_scaling_metrics(config) as board:
        assert board is not None
        await board.publish(DEMAND)
    assert len(seen(server, "NodesWanted", "told")) == 1


async def test_every_key_arrives() -> None:
    keys = ScalingKeys(target_seconds=900.0, reaction_seconds=100.0, hold_seconds=60.0)
    assert policies.scaling_policy(Config(scaling=keys)) == ScalingPolicy(900.0, 100.0, 60.0)
    assert policies.scaling_policy(Config()) == ScalingPolicy()

"""The pool of a node grows with the backlog, as far as memory allows, and shrinks when it is idle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.app import policies
from reportd.browsers.autosize import CHECK_SECONDS, autosize_pool
from reportd.browsers.pool import GROW_SECONDS, Pool, PoolSettings, open_pool
from reportd.concurrency.nurseries import open_background
from reportd.config import Config
from reportd.config.models import Pool as PoolKeys
from reportd.core.capacity.scaling import SizePolicy
from reportd.ports import Depth, Received, UnavailableError
from reportd.telemetry.metrics import Metrics
from reportd.work.poller import Poller
from tests.daemon.node import World, job
from tests.exposed import samples
from tests.fakes import FakeLauncher, Turn
from tests.fakes.rendering import request_for

pytestmark = pytest.mark.usefixtures("autojump_clock")

POLICY = SizePolicy(least=1, most=3, pages_per_browser=2, browser_mib=1000.0, hold_seconds=60.0)


class Node:
    """A pool that is sized, with a given queue depth and free memory."""

    def __init__(self, pool: Pool, launcher: FakeLauncher, nursery: trio.Nursery) -> None:
        self.pool = pool
        self.launcher = launcher
        self.backlog = 0
        self.free_mib = 100_000.0
        self.away = False
        self.asked = 0
        self.changes: list[int] = []
        pool.on_resize = self.changes.append
        self._nursery = nursery
        self._jobs = 0

    async def depth(self) -> Depth:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.away:
            raise UnavailableError("queue", "away")
        return Depth(self.backlog, 0, 0)

    def give(self, jobs: int, seconds: float) -> None:
        """Start ``number`` renders that take ``seconds`` each."""
        for _ in range(jobs):
            self._jobs += 1
            name = str(self._jobs)
            self.launcher.turns[name] = [Turn(seconds)]
            self._nursery.start_soon(self._render, name)

    async def _render(self, name: str) -> None:
        async with self.pool.slot() as slot:
            await slot.render(request_for(name, timeout_seconds=10_000.0), dedicated_browser=False)


@asynccontextmanager
async def kept(policy: SizePolicy = POLICY, meter: Metrics | None = None) -> AsyncIterator[Node]:
    launcher = FakeLauncher()
    settings = PoolSettings(browsers=policy.least, pages_per_browser=policy.pages_per_browser)
    async with open_background() as nursery, open_pool(launcher, settings, meter or Metrics({})) as pool:
        node = Node(pool, launcher, nursery)
        nursery.start_soon(autosize_pool, pool, node.depth, policy, lambda: node.free_mib)
        yield node
        nursery.cancel_scope.cancel()


async def test_it_grows_while_more_waits_than_it_can_take_and_shrinks_when_that_is_done() -> None:
    async with kept() as node:
        node.backlog = 50
        node.give(20, 30.0)
        await trio.sleep(3 * CHECK_SECONDS + 5.0)
        assert (node.pool.size, node.pool.slots, len(node.launcher.running)) == (3, 6, 3)
        await trio.sleep(20.0)
        assert node.launcher.rendering == 6
        node.backlog = 0
        await trio.sleep(90.0 + POLICY.hold_seconds)
        assert node.launcher.rendering == 0
        await trio.sleep(2 * POLICY.hold_seconds)
        assert (node.pool.size, node.pool.slots, len(node.launcher.running)) == (1, 2, 1)
        assert node.pool.state().crashed == 0
        assert node.changes == [2, 2, -2, -2]


async def test_slots_come_with_a_warm_browser_and_not_before() -> None:
    async with kept() as node:
        node.launcher.start_seconds = 20.0
        node.backlog = 50
        node.give(10, 100.0)
        await trio.sleep(CHECK_SECONDS + 19.0)
        assert (node.pool.slots, node.launcher.rendering) == (2, 2)
        await trio.sleep(2.0)
        assert (node.pool.slots, node.launcher.rendering) == (4, 4)


async def test_a_browser_that_cannot_be_had_is_done_without() -> None:
    async with kept() as node:
        node.launcher.failing_starts = 10**6
        node.backlog = 50
        node.give(2, 1000.0)
        await trio.sleep(CHECK_SECONDS + GROW_SECONDS + 1.0)
        assert node.pool.slots == 2
        assert node.changes == []
        node.launcher.failing_starts = 0
        await trio.sleep(60.0)
        assert node.pool.slots > 2


async def test_it_does_not_grow_where_memory_is_short_and_closes_one_when_it_runs_out() -> None:
    async with kept() as node:
        node.free_mib = 900.0
        node.backlog = 50
        node.give(20, 40.0)
        await trio.sleep(10 * CHECK_SECONDS)
        assert node.pool.size == 1
        node.free_mib = 1000.0
        while node.pool.size == 1:
            await trio.sleep(0.1)
        node.free_mib = 400.0
        await trio.sleep(CHECK_SECONDS + 1.0)
        assert node.pool.slots == 2, "no new one begins"
        assert node.launcher.rendering > 2, "and nothing is cut off"
        await trio.sleep(40.0)
        assert (node.launcher.rendering, len(node.launcher.running)) == (2, 1)


async def test_a_queue_that_is_away_is_no_reason_to_grow() -> None:
    async with kept() as node:
        node.away = True
        node.backlog = 50
        node.give(10, 100.0)
        await trio.sleep(6 * CHECK_SECONDS)
        assert node.pool.size == 1
        node.away = False
        await trio.sleep(2 * CHECK_SECONDS)
        assert node.pool.size > 1


async def test_the_queue_is_not_asked_while_slots_are_free() -> None:
    async with kept() as node:
        node.give(1, 500.0)
        await trio.sleep(400.0)
        assert node.asked == 0


async def test_without_a_choice_nothing_is_looked_at() -> None:
    always_two = SizePolicy(least=2, most=2, pages_per_browser=2, browser_mib=1000.0)
    async with kept(always_two) as node:
        with trio.fail_after(1.0):
            await autosize_pool(node.pool, node.depth, always_two)
        assert node.pool.slots == 4


async def test_a_browser_too_many_is_closed_and_not_counted_as_recycled() -> None:
    metrics = Metrics({})
    async with kept(meter=metrics) as node:
        await node.pool.resize(3)
        await node.pool.resize(1)
        await trio.sleep(5.0)
        assert [state.retiring for state in node.pool.state().browsers] == [False]
    assert samples(metrics.exposition())[("reportd_browsers_recycled_total",)] == 0


async def test_the_poller_holds_as_many_messages_as_there_are_places() -> None:
    world = World()
    await world.send(*(job(number) for number in range(1, 30)))
    held: list[Received] = []

    async def hold(message: Received) -> None:
        held.append(message)
        await trio.sleep_forever()

    async with kept() as node, open_background() as background:
        poller = Poller(world.queue, hold, node.pool.slots + 2)
        node.pool.on_resize = poller.change_capacity
        background.start_soon(poller.run)
        await trio.sleep(30.0)
        assert len(held) == 2 + 2
        await node.pool.resize(3)
        await trio.sleep(30.0)
        assert len(held) == 6 + 2
        background.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("keys", "least", "start", "most"),
    [
        ({}, 4, 4, 4),
        ({"browsers": 2}, 2, 2, 2),
        ({"browsers_min": 1, "browsers_max": 8}, 1, 4, 8),
        ({"browsers_min": 6}, 6, 6, 6),
        ({"browsers_max": 2}, 2, 2, 2),
        ({"browsers_max": 8}, 4, 4, 8),
        ({"browsers": 3, "browsers_min": 1}, 1, 3, 3),
    ],
)
def test_bounds_are_the_usual_number_unless_they_are_given(
    keys: dict[str, int], least: int, start: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    config = Config(pool=PoolKeys(**keys, recycle_above_mib=700))
    policy = policies.size_policy(config)
    assert (policy.least, policy.most) == (least, most)
    assert (policy.pages_per_browser, policy.browser_mib) == (2, 700.0)
    assert policies.pool_settings(config).browsers == start

"""A page that waits gives its slot to another job; a page that works keeps it; no page is printed without one."""

import pytest
import trio

from reportd.browsers.pool import Pool, PoolSettings, open_pool
from reportd.core.faults import FaultKind
from reportd.ports import Pdf
from tests.daemon.browsers.test_pool import render
from tests.fakes.browsers import FakeLauncher, Turn
from tests.fakes.rendering import pdf_of

pytestmark = pytest.mark.usefixtures("autojump_clock")

SETTINGS = PoolSettings(stall_seconds=2.0, max_stalled=2)


async def ends(pool: Pool, launcher: FakeLauncher, turns: dict[str, Turn], seconds: float = 60.0) -> dict[str, float]:
    """Start all jobs at once, in this order. Return after how many seconds each ended."""
    begun = trio.current_time()
    ended: dict[str, float] = {}

    async def run(name: str) -> None:
        assert await render(pool, name, seconds=seconds) in (pdf_of(name), FaultKind.TIMEOUT)
        ended[name] = round(trio.current_time() - begun, 1)

    async with trio.open_nursery() as nursery:
        for name, turn in turns.items():
            launcher.turns[name] = [turn]
            nursery.start_soon(run, name)
            await trio.sleep(0.001)
    return ended


async def test_while_pages_wait_others_are_rendered_in_their_place() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, SETTINGS) as pool:
        hanging = {name: Turn(is_idle=30.0) for name in ("h1", "h2")}
        working = {str(number): Turn(1.0) for number in range(20)}
        ended = await ends(pool, launcher, hanging | working)
        # Two slots, twenty jobs of 1 s: they lose the time to detect that the first two stall.
        assert max(ended[name] for name in working) < 10 * 1.1 + 3.5
        assert ended["h1"] >= 31.0
        assert launcher.most_rendering == 2
        await trio.sleep(5.0)
        state = pool.state()
        assert (state.stalled, state.busy) == (0, 0)
        # The extra pages are closed again.
        assert len(launcher.browsers[0].pages) == 2


async def test_a_page_that_works_keeps_its_slot() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, SETTINGS) as pool:
        ended = await ends(pool, launcher, {"s1": Turn(20.0), "s2": Turn(20.0), "next": Turn(1.0)})
        assert ended["next"] >= 21.0
        assert pool.state().stalled == 0


async def test_no_more_wait_in_pages_than_may() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, SETTINGS) as pool, trio.open_nursery() as nursery:
        for name in ("h1", "h2", "h3", "h4", "h5"):
            launcher.turns[name] = [Turn(is_idle=1000.0)]
            nursery.start_soon(render, pool, name)
        await trio.sleep(15.0)
        state = pool.state()
        assert (state.stalled, state.busy, state.waiting) == (2, 2, 1)
        assert len(launcher.browsers[0].pages) == 4
        nursery.cancel_scope.cancel()
    assert pool.state().stalled == 0


async def test_what_is_ready_is_printed_before_what_has_not_begun_but_in_a_slot() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(pages_per_browser=1, stall_seconds=2.0)) as pool:
        turns = {"waits": Turn(1.0, is_idle=4.5)} | {str(number): Turn(2.0) for number in range(5)}
        ended = await ends(pool, launcher, turns)
        assert launcher.most_rendering == 1
        order = sorted(ended, key=lambda name: ended[name])
        # It is ready while the second job is rendered, and gets the next slot.
        assert order.index("waits") == 2


async def test_a_page_that_waits_is_judged_by_its_deadline_like_any_other() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, SETTINGS) as pool:
        ended = await ends(pool, launcher, {"h": Turn(is_idle=1000.0)}, seconds=20.0)
        assert ended == {"h": 20.0}
        assert (pool.state().stalled, pool.state().busy) == (0, 0)
        assert await render(pool, "next") == pdf_of("next")


async def test_who_comes_back_too_late_for_a_slot_has_timed_out_and_holds_none() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(pages_per_browser=1, stall_seconds=2.0)) as pool:
        ended = await ends(pool, launcher, {"h": Turn(is_idle=9.0), "long": Turn(50.0)}, seconds=12.0)
        assert ended["h"] == 12.0
        await trio.sleep(60.0)
        assert (pool.state().stalled, pool.state().busy) == (0, 0)
        assert isinstance(await render(pool, "next"), Pdf)


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_the_listener_hears_of_every_stall_twice(*, dedicated_browser: bool) -> None:
    launcher = FakeLauncher()
    heard: list[tuple[str, int]] = []
    async with open_pool(launcher, SETTINGS) as pool:
        pool.on_stall = lambda report_type, change: heard.append((report_type, change))
        launcher.turns["h"] = [Turn(is_idle=10.0)]
        assert await render(pool, "h", dedicated_browser=dedicated_browser) == pdf_of("h")
        assert heard == [("report", 1), ("report", -1)]
        launcher.turns["dies"] = [Turn(is_idle=5.0, kills=True)]
        assert await render(pool, "dies", dedicated_browser=dedicated_browser) is FaultKind.BROWSER_LOST
        assert heard == [("report", 1), ("report", -1)] * 2
        await trio.sleep(10.0)
        assert await render(pool, "next") == pdf_of("next")
        assert pool.state().busy == 0

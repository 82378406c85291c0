"""Browsers of a running pool die, fail to start, and are replaced after many jobs or over their memory limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from reportd.browsers.pool import Pool, PoolSettings, open_pool
from reportd.browsers.supply import OVER_LIMIT_SECONDS, PAGE_SECONDS
from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import BrowserError, Pdf
from tests.fakes import FakeBrowser, FakeLauncher, Turn
from tests.fakes.browsers import DEATH_SECONDS, FOREVER, FakePage
from tests.fakes.rendering import pdf_of, request_for

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def render(pool: Pool, name: str, seconds: float = 60.0) -> Pdf | FaultKind:
    async with pool.slot() as slot:
        try:
            return await slot.render(request_for(name, timeout_seconds=seconds), dedicated_browser=False)
        except FaultError as error:
            return error.fault.kind


async def render_all(pool: Pool, count: int) -> list[Pdf | FaultKind]:
    results: list[Pdf | FaultKind] = []

    async def note(number: int) -> None:
        results.append(await render(pool, str(number)))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(note, number)
    return results


# --- starting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["failing_starts", "failing_pages"])
async def test_without_a_first_browser_there_is_no_pool(fails: str) -> None:
    launcher = FakeLauncher()
    setattr(launcher, fails, 1)
    with pytest.raises(BrowserError, match="no "):
        async with open_pool(launcher, PoolSettings()):
            pytest.fail("there is none")
    assert not launcher.running


async def test_a_first_page_that_never_comes_is_given_up() -> None:
    launcher = FakeLauncher()
    launcher.page_seconds = FOREVER
    with pytest.raises(BrowserError, match="no page within 20 s"):
        async with open_pool(launcher, PoolSettings()):
            pytest.fail("there is none")
    assert trio.current_time() == pytest.approx(launcher.start_seconds + PAGE_SECONDS + launcher.end_seconds)
    assert not launcher.running


async def test_a_browser_that_cannot_be_started_is_tried_again_after_growing_waits() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings()) as pool:
        launcher.start_seconds = 0.0
        launcher.failing_starts = 9
        launcher.browsers[0].die()
        await trio.sleep(0.7)
        assert (pool.state().crashed, pool.state().trouble, pool.state().browsers) == (1, "no browser today", ())
        begun = trio.current_time()
        assert await render(pool, "a", 1000.0) == pdf_of("a")
        # 0.5, 1, 2, 4, 8, 16, then 30 at most
        waited = trio.current_time() - begun
        assert waited == pytest.approx(0.5 + 1 + 2 + 4 + 8 + 16 + 30 + 30 + 30 + 0.5, abs=2.0)
        assert (pool.state().trouble, len(pool.state().browsers)) == ("", 1)
        # The next failure starts with a short wait again.
        launcher.failing_starts = 1
        launcher.browsers[-1].die()
        begun = trio.current_time()
        assert await render(pool, "b") is FaultKind.BROWSER_LOST or await render(pool, "b") == pdf_of("b")
        assert await render(pool, "b") == pdf_of("b")
        assert trio.current_time() - begun < 6.0


async def test_in_trouble_the_browsers_that_are_left_go_on() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(browsers=2)) as pool:
        launcher.failing_starts = 10**6
        launcher.browsers[0].die()
        await trio.sleep(10.0)
        assert all(isinstance(result, Pdf) for result in await render_all(pool, 20))
        assert pool.state().trouble
        assert len(pool.state().browsers) == 1


# --- dying --------------------------------------------------------------------------------------------------


async def test_every_job_on_a_browser_that_dies_is_told_and_a_new_one_comes() -> None:
    launcher = FakeLauncher()
    launcher.turns["0"] = [Turn(0.9, kills=True)]
    async with open_pool(launcher, PoolSettings(browsers=1, pages_per_browser=4)) as pool:
        await trio.sleep(1.0)
        results = await render_all(pool, 4)
        assert results == [FaultKind.BROWSER_LOST] * 4
        await trio.sleep(0.5)
        assert pool.state().crashed == 1
        assert all(isinstance(result, Pdf) for result in await render_all(pool, 8))
        assert [browser.pid for browser in launcher.running] == [2]
        assert (pool.state().busy, pool.state().waiting, pool.state().browsers[0].busy) == (0, 0, 0)


async def test_jobs_on_the_other_browser_do_not_notice() -> None:
    launcher = FakeLauncher()
    for number in range(4):
        launcher.turns[str(number)] = [Turn(20.0)]
    async with open_pool(launcher, PoolSettings(browsers=2)) as pool:
        await trio.sleep(1.0)
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await trio.sleep(5.0)
                launcher.browsers[0].die()

            nursery.start_soon(kill)
            results = await render_all(pool, 4)
        assert [isinstance(result, Pdf) for result in results] == [False, False, True, True]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_browser_that_gives_no_more_pages_retires(*, busy: bool) -> None:
    launcher = FakeLauncher()
    launcher.turns["long"] = [Turn(50.0)]
    async with open_pool(launcher, PoolSettings()) as pool, trio.open_nursery() as nursery:
        await trio.sleep(1.0)
        if busy:
            nursery.start_soon(render, pool, "long")
            await trio.sleep(1.0)
        launcher.failing_scrubs = 1
        launcher.failing_pages = 1
        assert await render(pool, "a") == pdf_of("a")
        await trio.sleep(5.0)
        assert [state.pid for state in pool.state().browsers if not state.retiring] == [2]
        assert launcher.browsers[0].running is busy
        assert pool.state().crashed == 0
        await trio.sleep(60.0)
        assert [browser.pid for browser in launcher.running] == [2]


async def test_a_page_that_says_what_nobody_foresaw_costs_no_other_job(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = FakeLauncher()
    launcher.turns["long"] = [Turn(20.0)]

    async def nonsense(_: FakePage) -> bool:
        monkeypatch.undo()
        raise KeyError("targetId")

    async with open_pool(launcher, PoolSettings()) as pool, trio.open_nursery() as nursery:
        done: list[object] = []

        async def long() -> None:
            done.append(await render(pool, "long"))

        nursery.start_soon(long)
        await trio.sleep(1.0)
        monkeypatch.setattr(FakePage, "scrub", nonsense)
        assert await render(pool, "a") == pdf_of("a")
        await trio.sleep(5.0)
        assert [state.pid for state in pool.state().browsers if not state.retiring] == [2]
        assert await render(pool, "b") == pdf_of("b")
        await trio.sleep(30.0)
        assert done == [pdf_of("long")]


async def test_a_browser_that_says_what_nobody_foresaw_costs_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = FakeLauncher()

    def nonsense(_: FakeBrowser) -> float:
        monkeypatch.undo()
        raise KeyError("processInfo")

    async with open_pool(launcher, PoolSettings()) as pool:
        assert await render(pool, "a") == pdf_of("a")
        monkeypatch.setattr(FakeBrowser, "memory_mib", nonsense)
        await trio.sleep(5.0)
        assert await render(pool, "b") == pdf_of("b")
        assert [browser.pid for browser in launcher.running] == [2]

        def no_start(**_: bool) -> Any:
            monkeypatch.undo()
            raise KeyError("sessionId")

        monkeypatch.setattr(launcher, "launch", no_start)
        launcher.browsers[1].died.set()
        await trio.sleep(2.0)
        assert [browser.pid for browser in launcher.running] == [3]
        assert await render(pool, "c") == pdf_of("c")


async def test_a_page_that_never_comes_is_given_up_with_its_browser() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(pages_per_browser=1)) as pool:
        launcher.failing_scrubs = 1
        launcher.page_seconds = FOREVER
        await render(pool, "a")
        await trio.sleep(1.0)
        launcher.page_seconds = 0.1
        begun = trio.current_time()
        assert await render(pool, "b") == pdf_of("b")
        assert trio.current_time() - begun < PAGE_SECONDS + 3.0
        assert launcher.browsers[1].renders == ["b"]


# --- being replaced -----------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(launcher: FakeLauncher, settings: PoolSettings) -> AsyncIterator[Pool]:
    """Check that at every moment as many browsers as wanted can take a job."""

    def could(browser: FakeBrowser) -> bool:
        return browser.running and not browser.died.is_set() and bool(browser.pages)

    async def watch() -> None:
        while True:
            assert sum(could(browser) for browser in launcher.browsers) >= settings.browsers
            await trio.sleep(0.03)

    async with open_pool(launcher, settings) as pool, open_background() as nursery:
        nursery.start_soon(watch)
        yield pool


@pytest.mark.parametrize("browsers", [1, 2])
async def test_after_so_many_jobs_a_browser_is_replaced_and_nobody_waits(browsers: int) -> None:
    launcher = FakeLauncher()
    settings = PoolSettings(browsers=browsers, pages_per_browser=2, recycle_after_jobs=10)
    async with watched(launcher, settings) as pool:
        results = await render_all(pool, 100)
        assert all(isinstance(result, Pdf) for result in results)
        assert pool.state().crashed == 0
        await trio.sleep(5.0)
    # It takes jobs until its replacement is warm, which is after one or two more.
    assert all(10 <= len(browser.renders) <= 15 for browser in launcher.browsers[:-browsers])
    assert len(launcher.browsers) >= 6


async def test_a_long_job_keeps_its_browser_although_the_replacement_is_there() -> None:
    launcher = FakeLauncher()
    launcher.turns["long"] = [Turn(50.0)]
    async with watched(launcher, PoolSettings(recycle_after_jobs=3)) as pool, trio.open_nursery() as nursery:
        await trio.sleep(1.0)
        ended: list[Pdf | FaultKind] = []

        async def long() -> None:
            ended.append(await render(pool, "long"))

        nursery.start_soon(long)
        await trio.sleep(0.5)
        await render_all(pool, 10)
        assert next((state.pid, state.busy) for state in pool.state().browsers if state.retiring) == (1, 1)
        assert 2 <= len(launcher.running) <= 3
        await trio.sleep(60.0)
        assert ended == [pdf_of("long")]
        assert len(launcher.running) == 1


async def test_a_browser_that_has_grown_fat_is_replaced() -> None:
    launcher = FakeLauncher()
    async with watched(launcher, PoolSettings(recycle_above_mib=500.0)) as pool:
        await render(pool, "a")
        launcher.browsers[0].mib = 500.0
        await trio.sleep(10.0)
        assert pool.state().browsers[0].memory_mib == 500.0
        assert len(launcher.browsers) == 1
        launcher.browsers[0].mib = 501.0
        await trio.sleep(OVER_LIMIT_SECONDS + 10.0)
        assert [browser.pid for browser in launcher.running] == [2]
        assert pool.state().crashed == 0


async def test_a_browser_may_be_heavy_for_as_long_as_something_large_takes() -> None:
    launcher = FakeLauncher()
    async with watched(launcher, PoolSettings(recycle_above_mib=500.0)) as pool:
        await render(pool, "a")
        for _ in range(20):
            launcher.browsers[0].mib = 2000.0
            await trio.sleep(OVER_LIMIT_SECONDS - 10.0)
            launcher.browsers[0].mib = 400.0
            await trio.sleep(3.0)
        assert len(launcher.browsers) == 1


async def test_a_limit_below_what_an_idle_browser_needs_does_not_replace_it_over_and_over() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(recycle_above_mib=50.0)) as pool:
        await trio.sleep(600.0)
        assert len(launcher.browsers) == 1
        assert await render(pool, "a") == pdf_of("a")
        await trio.sleep(600.0)
        assert len(launcher.browsers) == 2


async def test_a_browser_that_should_retire_goes_on_while_no_other_can_be_had() -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(recycle_after_jobs=5)) as pool:
        launcher.failing_starts = 5
        assert all(isinstance(result, Pdf) for result in await render_all(pool, 20))
        assert len(launcher.browsers[0].renders) == 20
        assert pool.state().browsers[0].retiring
        await trio.sleep(60.0)
        assert [browser.pid for browser in launcher.running] != [1]


@pytest.mark.parametrize("pages", [2, 3, 4])
async def test_a_page_that_was_just_lent_is_not_taken_away_by_retirement(pages: int) -> None:
    """The job has the page but has not woken up yet when the replacement comes.

    Jobs end, pages are lent and browsers get ready at the same instant here, in the order that trio chooses.
    """
    launcher = FakeLauncher()
    assert (launcher.start_seconds, launcher.page_seconds) == (Turn().seconds, launcher.scrub_seconds)
    async with open_pool(launcher, PoolSettings(pages_per_browser=pages, recycle_after_jobs=2)) as pool:
        results = await render_all(pool, 300)
        assert [result for result in results if not isinstance(result, Pdf)] == []
        assert pool.state().crashed == 0


async def test_the_first_page_of_a_browser_is_not_lost_to_a_job_called_off_at_that_instant() -> None:
    """The page is offered a moment before its browser belongs to the pool; the order is trio's."""
    launcher = FakeLauncher()
    launcher.page_seconds = 0.0
    async with open_pool(launcher, PoolSettings(pages_per_browser=1)) as pool:
        for _ in range(20):
            launcher.browsers[-1].die()
            await trio.sleep(DEATH_SECONDS)
            await trio.sleep(launcher.start_seconds)
            for _ in range(10):
                await render(pool, "called off", 0.0)
            assert await render(pool, "a", 5.0) == pdf_of("a")

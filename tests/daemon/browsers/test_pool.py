"""Slots and pages: their number, their order, their timeouts, and what a job leaves behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from reportd.browsers.pool import Pool, PoolSettings, open_pool
from reportd.browsers.supply import BrowserState
from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.ports import Pdf
from tests.fakes import FakeLauncher, Turn
from tests.fakes.browsers import FOREVER
from tests.fakes.rendering import pdf_of, request_for
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")


@asynccontextmanager
async def pool_of(launcher: FakeLauncher, browsers: int = 1, pages: int = 2) -> AsyncIterator[Pool]:
    """Open a pool, and check at its end that nothing of it is left."""
    async with open_pool(launcher, PoolSettings(browsers=browsers, pages_per_browser=pages)) as pool:
        yield pool
    assert not launcher.running
    assert launcher.rendering == 0


async def render(
    pool: Pool, name: str, *, seconds: float = 60.0, isolation: str = "page", dedicated_browser: bool = False
) -> Pdf | FaultKind:
    async with pool.slot() as slot:
        try:
            return await slot.render(
                request_for(name, timeout_seconds=seconds, isolation=isolation), dedicated_browser=dedicated_browser
            )
        except FaultError as error:
            return error.fault.kind


# --- bounds and figures -------------------------------------------------------------------------------------


async def test_there_is_a_warm_page_before_anybody_asks() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher) as pool:
        assert trio.current_time() == 1.1  # the browser, and one page of it
        assert await render(pool, "a") == pdf_of("a")
        assert trio.current_time() == 2.1


@pytest.mark.parametrize(("browsers", "pages"), [(1, 1), (1, 2), (2, 2), (3, 1)])
async def test_no_more_renders_at_once_than_there_are_slots(browsers: int, pages: int) -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher, browsers, pages) as pool:
        assert pool.slots == browsers * pages
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(render, pool, str(number))
        assert launcher.most_rendering == pool.slots
        assert sum(len(browser.renders) for browser in launcher.browsers) == 30
        assert len(launcher.browsers) == browsers


async def test_the_figures_are_right_at_every_moment() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher) as pool, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(render, pool, str(number))
        await trio.sleep(0.5)
        state = pool.state()
        assert (state.slots, state.busy, state.waiting, state.crashed, state.trouble) == (2, 2, 3, 0, "")
        assert state.browsers == (BrowserState(pid=1, jobs=0, busy=2, memory_mib=100.0, retiring=False),)
        await trio.sleep(2.5)
        state = pool.state()
        assert (state.busy, state.waiting) == (1, 0)
        assert (state.browsers[0].jobs, state.browsers[0].busy) == (4, 1)
        await trio.sleep(1.0)
        state = pool.state()
        assert (state.busy, state.waiting, state.browsers[0].jobs, state.browsers[0].busy) == (0, 0, 5, 0)


async def test_a_slot_without_a_render_holds_no_page() -> None:
    """A job's start is recorded after it has a slot and before it has a page."""
    launcher = FakeLauncher()
    async with pool_of(launcher, pages=1) as pool, pool.slot() as slot:
        await trio.sleep(10.0)
        assert (pool.state().busy, pool.state().browsers[0].busy) == (1, 0)
        assert await slot.render(request_for("a"), dedicated_browser=False) == pdf_of("a")


@pytest.mark.parametrize("isolation", ["page", "context"])
async def test_a_job_called_off_in_the_instant_it_gets_its_page_gives_it_back(isolation: str) -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher, pages=1) as pool:
        for number in range(5):
            assert await render(pool, str(number), seconds=0.0, isolation=isolation) is FaultKind.BROWSER_UNAVAILABLE
        assert pool.state().browsers[0].busy == 0
        assert await render(pool, "a", seconds=1.5, isolation=isolation) == pdf_of("a")
        assert launcher.browsers[0].renders == ["a"]


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_what_a_page_says_of_its_progress_reaches_who_asked_for_the_render(*, dedicated_browser: bool) -> None:
    launcher, heard = FakeLauncher(), list[float]()
    launcher.turns["a"] = [Turn(progress=0.5)]
    async with pool_of(launcher) as pool, pool.slot() as slot:
        await slot.render(request_for("a"), dedicated_browser=dedicated_browser, on_progress=heard.append)
    assert heard == [0.5]


# --- timeouts -----------------------------------------------------------------------------------------------


async def test_a_page_that_never_answers_is_left_at_the_deadline() -> None:
    launcher = FakeLauncher()
    launcher.turns["hangs"] = [Turn(FOREVER)]
    async with pool_of(launcher, pages=1) as pool:
        begun = trio.current_time()
        async with pool.slot() as slot:
            with pytest.raises(FaultError) as caught:
                await slot.render(request_for("hangs", timeout_seconds=7.0), dedicated_browser=False)
        assert trio.current_time() - begun == pytest.approx(7.0)
        assert caught.value.fault.kind is FaultKind.TIMEOUT
        assert mentions(caught.value.fault.detail, "within 7 s", "printing")
        assert await render(pool, "next") == pdf_of("next")
        assert launcher.browsers[0].pages_made == 2


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_what_a_page_still_waited_for_at_the_deadline_is_told(*, dedicated_browser: bool) -> None:
    launcher = FakeLauncher()
    launcher.pending = "https://reports.test/logo.png"
    launcher.turns["waits"] = [Turn(is_idle=FOREVER)]
    async with pool_of(launcher, pages=1) as pool, pool.slot() as slot:
        with pytest.raises(FaultError) as caught:
            await slot.render(request_for("waits", timeout_seconds=7.0), dedicated_browser=dedicated_browser)
    assert caught.value.fault.detail == "not done within 7 s, while printing; pending: https://reports.test/logo.png"


async def test_a_cancelled_job_is_not_asked_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = FakeLauncher()
    launcher.turns["waits"] = [Turn(is_idle=FOREVER)]
    asked: list[object] = []
    monkeypatch.setattr("tests.fakes.browsers.FakePage.pending", asked.append)
    async with pool_of(launcher, pages=1) as pool, pool.slot() as slot:
        with trio.move_on_after(3.0):
            await slot.render(request_for("waits", timeout_seconds=7.0), dedicated_browser=False)
    assert asked == []


async def fault_with_evidence(launcher: FakeLauncher, turn: Turn, *, dedicated_browser: bool = False) -> FaultError:
    """What becomes of a job that may take 7 s, and whose type wants evidence."""
    launcher.turns["a"] = [turn]
    request = request_for("a", timeout_seconds=7.0)
    request = replace(request, options=replace(request.options, evidence=True))
    async with pool_of(launcher) as pool, pool.slot() as slot:
        with pytest.raises(FaultError) as caught:
            await slot.render(request, dedicated_browser=dedicated_browser)
    return caught.value


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_a_fault_comes_with_evidence(*, dedicated_browser: bool) -> None:
    turn = Turn(1.0, fault=FaultKind.SCRIPT_ERROR)
    error = await fault_with_evidence(FakeLauncher(), turn, dedicated_browser=dedicated_browser)
    assert error.fault.kind is FaultKind.SCRIPT_ERROR
    assert error.evidence == Evidence(b"jpeg", ("log: hello",), (), "printing")


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_a_timeout_comes_with_evidence_of_what_was_pending(*, dedicated_browser: bool) -> None:
    launcher = FakeLauncher()
    launcher.pending = "/logo.png"
    error = await fault_with_evidence(launcher, Turn(FOREVER, is_idle=60.0), dedicated_browser=dedicated_browser)
    assert error.fault.kind is FaultKind.TIMEOUT
    assert error.evidence is not None
    assert error.evidence.activity == "printing; pending: /logo.png"


async def test_a_browser_that_died_leaves_the_evidence_collected_so_far() -> None:
    error = await fault_with_evidence(FakeLauncher(), Turn(1.0, kills=True))
    assert error.fault.kind is FaultKind.BROWSER_LOST
    assert error.evidence is not None


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_a_fault_just_before_the_deadline_stays_that_fault(*, dedicated_browser: bool) -> None:
    # A browser of its own takes 1.1 s to start.
    turn = Turn(5.8 if dedicated_browser else 6.9, fault=FaultKind.SCRIPT_ERROR)
    error = await fault_with_evidence(FakeLauncher(), turn, dedicated_browser=dedicated_browser)
    assert error.fault.kind is FaultKind.SCRIPT_ERROR
    assert error.evidence is not None


async def test_no_evidence_is_collected_where_nobody_wants_it() -> None:
    launcher = FakeLauncher()
    launcher.turns["a"] = [Turn(1.0, fault=FaultKind.SCRIPT_ERROR), Turn(FOREVER)]
    async with pool_of(launcher) as pool:
        assert await render(pool, "a") is FaultKind.SCRIPT_ERROR
        assert await render(pool, "a", seconds=7.0) is FaultKind.TIMEOUT
    assert launcher.evidence_of == []


async def test_a_page_that_is_stuck_goes_with_its_browser_and_the_others_are_told() -> None:
    launcher = FakeLauncher()
    launcher.turns["stuck"] = [Turn(FOREVER, stuck=True)]
    launcher.turns["innocent"] = [Turn(20.0)]
    results: dict[str, Pdf | FaultKind] = {}
    async with pool_of(launcher) as pool:

        async def note(name: str, seconds: float) -> None:
            results[name] = await render(pool, name, seconds=seconds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "stuck", 5.0)
            nursery.start_soon(note, "innocent", 60.0)
        assert results == {"stuck": FaultKind.TIMEOUT, "innocent": FaultKind.BROWSER_LOST}
        assert await render(pool, "next") == pdf_of("next")
        assert pool.state().crashed == 1


async def test_waiting_for_a_page_counts_towards_the_deadline_but_not_against_the_job() -> None:
    launcher = FakeLauncher()
    launcher.turns["kills"] = [Turn(kills=True)]
    async with pool_of(launcher) as pool:
        launcher.failing_starts = 1000
        assert await render(pool, "kills") is FaultKind.BROWSER_LOST
        begun = trio.current_time()
        async with pool.slot() as slot:
            with pytest.raises(FaultError) as caught:
                await slot.render(request_for("a", timeout_seconds=10.0), dedicated_browser=False)
        assert trio.current_time() - begun == pytest.approx(10.0)
        assert caught.value.fault.kind is FaultKind.BROWSER_UNAVAILABLE
        assert not caught.value.fault.nature.counts
        assert mentions(caught.value.fault.detail, "within 10 s", "no browser today")


@pytest.mark.parametrize("dedicated_browser", [False, True])
async def test_a_fault_of_the_page_reaches_the_job_as_it_is(*, dedicated_browser: bool) -> None:
    launcher = FakeLauncher()
    launcher.turns["closes"] = [Turn(fault=FaultKind.PAGE_CLOSED)]
    launcher.turns["fails"] = [Turn(fault=FaultKind.SCRIPT_ERROR)]
    async with pool_of(launcher) as pool:
        assert await render(pool, "closes", dedicated_browser=dedicated_browser) is FaultKind.PAGE_CLOSED
        assert await render(pool, "fails", dedicated_browser=dedicated_browser) is FaultKind.SCRIPT_ERROR
        assert pool.state().crashed == 0


# --- reuse --------------------------------------------------------------------------------------------------


async def test_a_page_is_scrubbed_for_the_next_job_while_its_slot_is_free_already() -> None:
    launcher = FakeLauncher()
    launcher.scrub_seconds = 5.0
    async with pool_of(launcher, pages=1) as pool:
        await render(pool, "a")
        assert pool.state().busy == 0
        begun = trio.current_time()
        assert await render(pool, "b") == pdf_of("b")
        assert trio.current_time() - begun == pytest.approx(5.0 + 1.0)
        assert launcher.browsers[0].pages_made == 1


async def test_a_page_that_cannot_be_scrubbed_is_replaced() -> None:
    launcher = FakeLauncher()
    launcher.failing_scrubs = 1
    async with pool_of(launcher, pages=1) as pool:
        for name in "abc":
            assert await render(pool, name) == pdf_of(name)
        assert launcher.browsers[0].pages_made == 2
        assert len(launcher.browsers) == 1


async def test_a_page_on_which_a_job_failed_is_replaced() -> None:
    launcher = FakeLauncher()
    launcher.turns["a"] = [Turn(fault=FaultKind.SCRIPT_ERROR)]
    async with pool_of(launcher, pages=1) as pool:
        await render(pool, "a")
        assert await render(pool, "b") == pdf_of("b")
        assert launcher.browsers[0].pages_made == 2


# --- isolation ----------------------------------------------------------------------------------------------


async def test_isolated_by_context_every_job_has_a_new_page() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher, pages=1) as pool:
        await render(pool, "page")  # leaves a used page
        for number in range(3):
            assert await render(pool, str(number), isolation="context") == pdf_of(str(number))
        assert launcher.browsers[0].pages_made >= 1 + 3
        assert len(launcher.browsers) == 1


async def test_who_wants_a_new_page_takes_no_more_used_ones_away_than_needed() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher, pages=4) as pool:
        await trio.sleep(1.0)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(render, pool, str(number))
        await trio.sleep(1.0)
        await render(pool, "context", isolation="context")
        await trio.sleep(1.0)
        assert launcher.browsers[0].pages_made == 4 + 2  # one for the job, one to replace it


@pytest.mark.parametrize(("isolation", "dedicated_browser"), [("browser", False), ("container", False), ("page", True)])
async def test_a_browser_of_its_own_is_shared_with_nobody_and_ends_with_the_job(
    isolation: str, *, dedicated_browser: bool
) -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(render, pool, str(number))
                nursery.start_soon(
                    lambda n: render(pool, n, isolation=isolation, dedicated_browser=dedicated_browser), f"own {number}"
                )
        own = launcher.browsers[1:]
        assert sorted(name for browser in own for name in browser.renders) == [f"own {number}" for number in range(6)]
        assert all(len(browser.renders) == 1 for browser in own)
        assert [browser.contained for browser in own] == [isolation == "container"] * 6
        assert launcher.running == launcher.browsers[:1]
        assert launcher.most_rendering == 2
        assert pool.state().crashed == 0


async def test_alone_its_death_is_the_jobs_own() -> None:
    launcher = FakeLauncher()
    launcher.turns["kills"] = [Turn(kills=True)]
    launcher.turns["other"] = [Turn(10.0)]
    results: dict[str, Pdf | FaultKind] = {}
    async with pool_of(launcher) as pool:

        async def note(name: str, *, dedicated_browser: bool) -> None:
            results[name] = await render(pool, name, dedicated_browser=dedicated_browser)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: note("kills", dedicated_browser=True))
            nursery.start_soon(lambda: note("other", dedicated_browser=False))
        assert results == {"kills": FaultKind.BROWSER_LOST, "other": pdf_of("other")}


async def test_alone_without_a_browser_to_be_had() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher) as pool:
        launcher.failing_starts = 1
        assert await render(pool, "a", dedicated_browser=True) is FaultKind.BROWSER_UNAVAILABLE
        launcher.failing_pages = 1
        assert await render(pool, "a", dedicated_browser=True) is FaultKind.BROWSER_UNAVAILABLE
        assert await render(pool, "a", dedicated_browser=True) == pdf_of("a")


async def test_a_pdf_that_is_there_does_not_get_late_by_the_closing_of_its_browser() -> None:
    launcher = FakeLauncher()
    async with pool_of(launcher) as pool:
        launcher.end_seconds = 30.0
        assert await render(pool, "a", seconds=5.0, dedicated_browser=True) == pdf_of("a")


@pytest.mark.parametrize("after_seconds", [0.5, 1.05, 1.5, 2.3])
async def test_called_off_alone_it_leaves_neither_browser_nor_file(after_seconds: float, tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.spool = tmp_path
    async with pool_of(launcher) as pool:
        with trio.move_on_after(after_seconds):
            await render(pool, "a", dedicated_browser=True)
            pytest.fail("called off too late")
        assert len(launcher.running) == 1
    assert not list(await trio.Path(tmp_path).iterdir())


# --- shutdown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_seconds", [0.0, 0.5, 1.05, 1.5, 3.3])
async def test_it_ends_cleanly_together_with_its_jobs(after_seconds: float) -> None:
    launcher = FakeLauncher()
    launcher.turns["0"] = [Turn(FOREVER, stuck=True)]
    async with pool_of(launcher, 2, 2) as pool, open_background() as jobs:
        for number in range(8):
            jobs.start_soon(lambda n: render(pool, str(n), dedicated_browser=n % 3 == 1), number)
        await trio.sleep(after_seconds)


async def test_jobs_that_outlive_the_pool_are_told() -> None:
    launcher = FakeLauncher()
    ended: list[Pdf | FaultKind] = []
    async with trio.open_nursery() as jobs:

        async def note(name: str) -> None:
            launcher.turns[name] = [Turn(1000.0)]
            ended.append(await render(pool, name, seconds=20.0))

        async with pool_of(launcher) as pool:
            for name in "abc":
                jobs.start_soon(note, name)
            await trio.sleep(5.0)
        assert trio.current_time() < 10.0
    assert ended == [FaultKind.BROWSER_LOST, FaultKind.BROWSER_LOST, FaultKind.BROWSER_UNAVAILABLE]

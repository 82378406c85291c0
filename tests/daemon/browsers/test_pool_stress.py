"""Thousands of random jobs, browser deaths and cancellations; then every slot must still work.

Trio's scheduler chooses a random order, so a seed alone does not repeat a run. The invariants that the fakes check hold
in every order.
"""

import random

import pytest
import trio

from reportd.browsers.pool import Pool, PoolSettings, open_pool
from reportd.core.faults import FaultError, FaultKind
from tests.fakes import FakeLauncher, Turn
from tests.fakes.browsers import FOREVER
from tests.fakes.rendering import pdf_of, request_for

pytestmark = pytest.mark.usefixtures("autojump_clock")

JOBS = 1000
ISOLATIONS = ("page",) * 6 + ("context", "context", "browser")


def turn(chance: random.Random) -> Turn:
    """Return mostly a PDF; sometimes a fault, a hang, or the death of the browser."""
    seconds = chance.uniform(0.0, 3.0)
    lot = chance.random()
    if lot < 0.02:
        return Turn(seconds, kills=True)
    if lot < 0.03:
        return Turn(FOREVER, stuck=True)
    if lot < 0.05:
        return Turn(FOREVER)
    if lot < 0.10:
        return Turn(seconds, fault=chance.choice([FaultKind.SCRIPT_ERROR, FaultKind.PAGE_CLOSED]))
    return Turn(seconds)


class Stress:
    """Runs jobs in a pool and counts their outcomes."""

    def __init__(self, pool: Pool, launcher: FakeLauncher, chance: random.Random) -> None:
        self.done = 0
        self.faults = 0
        self.called_off = 0
        self._pool = pool
        self._launcher = launcher
        self._chance = chance

    async def job(self, name: str) -> None:
        chance, launcher = self._chance, self._launcher
        launcher.turns[name] = [turn(chance)]
        timeout = chance.choice([0.0, *[chance.uniform(0.0, 20.0)] * 9])  # 0: cancelled as soon as it has a page
        request = request_for(name, timeout_seconds=timeout, isolation=chance.choice(ISOLATIONS))
        patience = chance.choice([0.0, chance.uniform(0.0, 5.0), 1000.0, 1000.0])
        with trio.move_on_after(patience) as scope:
            async with self._pool.slot() as slot:
                try:
                    pdf = await slot.render(request, dedicated_browser=chance.random() < 0.05)
                    assert pdf == pdf_of(name)
                    self.done += 1
                except FaultError:
                    self.faults += 1
            return
        self.called_off += scope.cancelled_caught

    async def mischief(self) -> None:
        launcher, chance = self._launcher, self._chance
        while True:
            await trio.sleep(chance.uniform(0.0, 10.0))
            match chance.randrange(6):
                case 0:
                    launcher.failing_scrubs += 1
                case 1:
                    launcher.failing_pages += 1
                case 2:
                    launcher.failing_starts += 1
                case 3 if launcher.running:
                    chance.choice(launcher.running).die()
                case 4 if launcher.running:
                    chance.choice(launcher.running).mib = 2000.0
                case _:
                    launcher.scrub_seconds = chance.choice([0.0, 0.1, 1.0])

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.mischief)
            async with trio.open_nursery() as jobs:
                for number in range(JOBS):
                    jobs.start_soon(self.job, str(number))
                    await trio.sleep(self._chance.uniform(0.0, 1.2))
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_after_thousands_of_random_steps_every_slot_still_works(seed: int) -> None:
    launcher, chance = FakeLauncher(), random.Random(seed)
    settings = PoolSettings(browsers=2, pages_per_browser=2, recycle_after_jobs=20)
    async with open_pool(launcher, settings) as pool:
        stress = Stress(pool, launcher, chance)
        await stress.run()
        assert stress.done + stress.faults + stress.called_off == JOBS
        assert min(stress.done, stress.called_off) > JOBS / 10
        assert launcher.most_rendering <= settings.slots

        # When idle, all broken browsers are replaced, and nothing is left over.
        launcher.failing_starts = launcher.failing_pages = launcher.failing_scrubs = 0
        await trio.sleep(120.0)
        state = pool.state()
        assert (state.busy, state.waiting, state.trouble, len(state.browsers)) == (0, 0, "", 2)
        assert not any(browser.busy or browser.retiring for browser in state.browsers)
        assert len(launcher.running) == 2
        assert [len(browser.pages) for browser in launcher.running] == [2, 2]

        # All four slots at once, twice, for each way to lend a page.
        for isolation in ("page", "context", "page"):
            with trio.fail_after(2.0):
                async with trio.open_nursery() as nursery:
                    for number in range(4):
                        nursery.start_soon(self_check, pool, f"{isolation} {number}", isolation)
            await trio.sleep(2.0)
    assert not launcher.running


async def self_check(pool: Pool, name: str, isolation: str) -> None:
    async with pool.slot() as slot:
        request = request_for(name, timeout_seconds=2.0, isolation=isolation)
        assert await slot.render(request, dedicated_browser=False) == pdf_of(name)

"""The status page in a real browser: with and without our script, live updates, and hostile texts in jobs."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reportd.core.breaker.breaker import BreakerState
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobState
from reportd.core.status.snapshot import Snapshot
from tests.web.api.test_dead_letters import quarantined
from tests.web.busy import busy
from tests.web.payloads import PAYLOADS, poisoned
from tests.web.running import Running
from tests.web.serving import Served, serving
from tests.web.window import Window, open_browser, open_window
from tests.wording import mentions

pytestmark = pytest.mark.browser

SECONDS = 3.0
"""A change shows within a second on an idle machine."""


@asynccontextmanager
async def opened(running: Running, folder: Path) -> AsyncIterator[tuple[Window, Served]]:
    async with (
        serving(running) as served,
        open_browser(folder) as browser,
        open_window(browser, served.url) as window,
    ):
        yield window, served


def state(running: Running) -> BreakerState:
    return next(one.state for one in running.breakers.snapshot() if one.report_type == "sales_summary")


def show(running: Running, snapshot: Snapshot) -> None:
    async def seen() -> Snapshot:
        return snapshot

    running.snapshot = seen  # type: ignore[method-assign]


async def give(window: Window, order: str, reason: str = "") -> None:
    """Press a button, give a reason, confirm."""
    await window.click(f"[popovertarget={order}-sales_summary]")
    await window.until(f"document.querySelector('#{order}-sales_summary').matches(':popover-open')")
    if reason:
        await window.click(f"#{order}-sales_summary input")
        await window.type(reason)
    await window.follow(f"#{order}-sales_summary .do")


@pytest.mark.parametrize("scripts", [False, True])
async def test_each_button_does_what_it_says(running: Running, tmp_path: Path, *, scripts: bool) -> None:
    waiting, bad = await running.submit(), await running.submit()
    await running.quarantine(bad)
    async with opened(running, tmp_path) as (window, _):
        await window.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        await window.open("/")
        assert "All clear" in await window.text("#verdict")
        await give(window, "open", "its database moves")
        assert state(running) is BreakerState.FORCED_OPEN
        assert "held OPEN" in await window.text("#type-sales_summary")
        assert "its database moves, by local" in await window.text("#why-sales_summary")
        await give(window, "probe")
        assert state(running) is BreakerState.OPEN
        await give(window, "close")
        assert state(running) is BreakerState.CLOSED

        # Without confirmation nothing happens.
        await window.click("[popovertarget=open-sales_summary]")
        await window.click("#open-sales_summary [type=button]")
        await window.until("!document.querySelector(':popover-open')")
        assert state(running) is BreakerState.CLOSED

        await window.follow(f"a[href='/jobs/{waiting}']")
        await window.click("[popovertarget=cancel]")
        await window.follow("#cancel .do")
        assert (await running.record(waiting)).state is JobState.CANCELLED
        assert "cancelled" in await window.text("h1")
        await window.open(f"/?q={bad}")
        await window.follow("#recent td a")
        await window.click("[popovertarget=retry]")
        await window.follow("#retry .do")
        assert (await running.record(bad)).state is JobState.QUEUED
        assert window.ran == []


@pytest.mark.parametrize("scripts", [False, True])
async def test_buttons_of_dead_letters(running: Running, tmp_path: Path, *, scripts: bool) -> None:
    one, two, three = [await quarantined(running) for _ in range(3)]
    async with opened(running, tmp_path) as (window, _):
        await window.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        await window.open("/")
        assert "3 timeout fault of its page" in await window.text("#letters")
        await window.click("summary")
        await window.follow(f"[id='letter-{one}'] button")
        assert (await running.record(one)).state is JobState.QUEUED
        await window.click("summary")
        await window.follow(f"[id='letter-{two}'] button + button")
        assert await running.letters.get(two) is None
        assert "1 timeout" in await window.text("#letters")
        await window.click("#letters [popovertarget^=drop]")
        await window.follow("#letters form[id^=drop] .do")
        assert await running.letters.get(three) is None
        assert "None." in await window.text("#letters")
        assert window.ran == []


async def test_searching_without_a_script(running: Running, tmp_path: Path) -> None:
    task_id, other = await running.submit(), await running.submit()
    async with opened(running, tmp_path) as (window, _):
        await window.call("Emulation.setScriptExecutionDisabled", value=True)
        await window.open("/")
        await window.click("[name=q]")
        await window.type(task_id)
        await window.follow(".search button")
        assert await window.shown("document.querySelectorAll('#recent tbody tr').length") == 1
        assert await window.shown("document.querySelector('[name=q]').value") == task_id
        await window.follow(".search a")
        assert other[:8] in await window.shown("document.querySelector('#recent').innerHTML")


async def test_what_happens_is_on_the_page_within_a_second(running: Running, tmp_path: Path) -> None:
    async with opened(running, tmp_path) as (window, _):
        await window.open("/")
        await window.until("document.querySelector('#link').textContent === 'live'")
        for _ in range(3):
            task_id = await running.submit()
            took_seconds = await window.until(f"document.querySelector('a[href=\"/jobs/{task_id}\"]')")
            print(f"on the page after {took_seconds:.2f} s")
            assert took_seconds < SECONDS
        assert window.ran == []


async def test_a_tab_in_the_background_warns(running: Running, tmp_path: Path) -> None:
    async with opened(running, tmp_path) as (window, _):
        await window.open("/")
        await window.until("document.querySelector('#link').textContent === 'live'")
        assert await window.shown("document.title") == "All clear · reportd"
        await running.client.post("/breakers/sales_summary/open")
        await window.until("document.title === '● 1 open · reportd'")
        assert await window.shown("document.querySelector('#icon').href.endsWith('/static/bad.svg')")
        await running.client.post("/breakers/sales_summary/close")
        await window.until("document.title === 'All clear · reportd'")
        assert await window.shown("document.querySelector('#icon').href.endsWith('/static/good.svg')")


async def test_an_update_leaves_alone_what_somebody_is_doing(running: Running, tmp_path: Path) -> None:
    now = busy(1.8e9)
    show(running, now)
    async with opened(running, tmp_path) as (window, _):
        await window.look(width=800)
        await window.open("/")
        await window.until("document.querySelector('#link').textContent === 'live'")
        await window.click("summary")
        await window.click("[popovertarget=close-user_activity]")
        await window.click("#close-user_activity input")
        await window.type("half a sen")
        await window.shown("window.first = document.querySelector('#type-user_activity'); scrollTo(0, 300); 0")
        # Every section changes, and the lists get new rows at the top.
        groups = now.letters or ()
        jobs = now.recent or ()
        newer = replace(jobs[0], task_id="99999999-2222-4333-8444-555555555555")
        waits = replace(now.types[1].load or pytest.fail("it has one"), waiting=99, untried=99)
        types = (now.types[0], replace(now.types[1], load=waits), *now.types[2:])
        letters = (
            replace(groups[0], id="g-" + "f" * 16),
            *(replace(one, quarantined=one.quarantined + 1) for one in groups),
        )
        show(running, replace(now, types=types, letters=letters, recent=(newer, *jobs[:-1]), nodes=now.nodes[:2]))
        await window.until("document.querySelector('#verdict').innerText.includes('99 waiting')")
        assert "99" in await window.text("#type-user_activity")
        assert await window.shown("document.querySelectorAll('.groups > li').length") == 4
        assert await window.shown("document.querySelectorAll('#recent tbody tr').length") == 25
        assert await window.shown("document.querySelectorAll('.nodes > li').length") == 2
        assert await window.shown("document.querySelector('#close-user_activity').matches(':popover-open')")
        assert await window.shown("document.activeElement.name + document.activeElement.value") == "reasonhalf a sen"
        assert await window.shown("document.querySelector('#group-g-0000000000000000 details').open")
        assert await window.shown("document.querySelectorAll('details[open]').length") == 1
        assert await window.shown("scrollY") == 300
        assert await window.shown("window.first === document.querySelector('#type-user_activity')")
        fresh = await window.shown("fetch('/').then((answer) => answer.text())")
        old, new = await window.shown(SHAPES.replace("FRESH", json.dumps(fresh)))
        assert old == new, "as if the page had been loaded anew"
        assert window.ran == []


SHAPES = """
(() => {
  const shape = (root) => [...root.querySelectorAll("*")]
    .filter((one) => one.localName !== "time")
    .map((one) => [one.localName, one.id, one.className, one.children.length ? "" : one.textContent]);
  const fresh = new DOMParser().parseFromString(FRESH, "text/html");
  return [shape(document.querySelector("main")), shape(fresh.querySelector("main"))];
})()
"""


async def test_durations_run_on_by_themselves(running: Running, tmp_path: Path) -> None:
    await running.submit()
    async with opened(running, tmp_path) as (window, _):
        await window.open("/")
        first = await window.shown("document.querySelector('#recent time').textContent")
        await window.until(f"document.querySelector('#recent time').textContent !== '{first}'")
        assert await window.shown("document.querySelector('#recent time').textContent.endsWith(' s')")


async def test_a_lost_connection_shows_and_comes_back(running: Running, tmp_path: Path) -> None:
    async with opened(running, tmp_path) as (window, served):
        await window.open("/")
        await window.until("document.querySelector('#link').className === 'live'")
        await served.end()
        await window.until("document.querySelector('#link').className === 'lost'")
        assert mentions(await window.text("#link"), "Connection lost", " at ")
        async with serving(running, f"127.0.0.1:{served.port}"):
            task_id = await running.submit()
            await window.until("document.querySelector('#link').className === 'live'")
            await window.until(f"document.querySelector('a[href=\"/jobs/{task_id}\"]')")


async def test_a_job_that_is_not_finished_is_followed(running: Running, tmp_path: Path) -> None:
    task_id = await running.submit()
    async with opened(running, tmp_path) as (window, _):
        await window.open(f"/jobs/{task_id}")
        assert "queued" in await window.text("h1")
        await running.succeed(task_id)
        await window.until("document.querySelector('h1').innerText.includes('succeeded')")
        assert "attempt 1 on test: succeeded" in await window.text(".steps")
        assert (await window.shown("document.title")).startswith("succeeded: ")


# Hostile texts in jobs


async def test_no_payload_runs(running: Running, tmp_path: Path) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "".join(PAYLOADS)[:1900])
    other = "99999999-2222-4333-8444-555555555555"
    parameters = {payload: payload for payload in PAYLOADS if "\0" not in payload}
    await running.jobs.add([Job(other, PAYLOADS[0], parameters, PAYLOADS[2], 1e9)])
    async with opened(running, tmp_path) as (window, served):
        for path in (f"/jobs/{task_id}", f"/jobs/{other}", f"/reports/{task_id}"):
            await window.open(path)
            assert window.ran == [], path
        for payload in PAYLOADS:
            show(running, poisoned(busy(1.8e9), payload))
            await window.open("/")
            assert await window.shown("document.scripts.length") == 1, payload[:80]
            assert window.ran == [], payload[:80]
        # The same through events.
        await window.until("document.querySelector('#link').textContent === 'live'")
        for payload in ("".join(PAYLOADS), PAYLOADS[0]):
            show(running, poisoned(busy(1.8e9), payload))
            await window.until("document.querySelector('#recent').innerText.includes('alert(1)')")
            assert await window.shown("document.querySelectorAll('main script, main img, main iframe').length") == 0
        assert window.ran == []
        assert {url.split("/")[2] for url in window.requested if not url.startswith("data:")} == {
            served.url.split("/")[2]
        }


# What it looks like


OVERFLOWING = """
[...document.querySelectorAll("main, header, main *")].filter((one) => one.checkVisibility() && !one.closest("svg"))
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    || one.getBoundingClientRect().right > (one.closest(".card") ?? document.body).getBoundingClientRect().right + 1)
  .map((one) => one.outerHTML.slice(0, 100))
"""


async def test_all_of_it_can_be_read_at_any_width(running: Running, tmp_path: Path) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "x" * 1000)
    night = busy(1.8e9)
    async with opened(running, tmp_path) as (window, _):
        await window.open(f"/jobs/{task_id}")
        for width in (320, 375, 1280):
            await window.look(width=width)
            assert await window.shown(OVERFLOWING) == [], width
        show(running, night)
        await window.open("/")
        for width in (320, 375, 600, 768, 900, 1000, 1100, 1200, 1280, 1600, 1800, 1920, 2560):
            await window.look(width=width)
            assert await window.shown(OVERFLOWING) == [], width


# What it costs


@pytest.mark.timed
async def test_it_is_painted_in_a_tenth_of_a_second(running: Running, tmp_path: Path) -> None:
    show(running, busy(1.8e9))
    async with opened(running, tmp_path) as (window, served):
        times = []
        for _ in range(5):
            await window.open("/")
            await window.until("performance.getEntriesByName('first-paint').length")
            times.append(await window.shown("performance.getEntriesByName('first-paint')[0].startTime"))
        print("first paint after", ", ".join(f"{time:.0f} ms" for time in times))
        assert min(times) < 100
        assert all(url.startswith(served.url) for url in window.requested)

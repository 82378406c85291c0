"""Whether a page waits or works, measured from outside while it is being rendered."""

from collections.abc import Iterator

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.ports import Ready
from tests.servers.chromium import Stage, on_stage, open_stage, request
from tests.servers.site import Request, open_site

pytestmark = pytest.mark.browser

NEVER = Ready("expression", "window.done")
SPIN = "for (;;);"

WAITING = {
    "an answer": "",
    "a condition": "<p>x",
    "data": "<script>fetch('/hangs').then(() => { window.done = true; })</script>",
    "a picture": "<img src=/hangs>",
    "a clock": "<p id=p>x<script>setInterval(() => { p.textContent = Math.random(); }, 100)</script>",
}
WORKING = {
    "a loop": f"<script>{SPIN}</script>",
    "a loop that begins late": f"<script>setTimeout(() => {{ {SPIN} }}, 100)</script>",
    "a worker": f"<script>new Worker(URL.createObjectURL(new Blob(['{SPIN}'])))</script>",
    "short tasks": "<script>const work = () => { for (const end = Date.now() + 30; Date.now() < end;);"
    " setTimeout(work, 1); }; work()</script>",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


async def hangs(_: Request, __: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(("what", "waits"), [*((what, True) for what in WAITING), *((what, False) for what in WORKING)])
@on_stage
async def test_a_page_that_waits_is_told_from_one_that_works(stage: Stage, what: str, *, waits: bool) -> None:
    async with open_site({"/hangs": hangs}) as site, stage.page() as page, open_background() as nursery:
        site.pages["/report"] = (WAITING | WORKING)[what] or hangs
        nursery.start_soon(page.render, request(url=site.url("/report"), ready=NEVER))
        while "wait" not in page.activity:
            await trio.sleep(0.01)
        # What it does to begin with is work.
        with trio.fail_after(20.0):
            await trio.sleep(0.5)
            while await page.is_idle() is not waits:
                await trio.sleep(0.2)
        assert [await page.is_idle() for _ in range(2)] == [waits] * 2

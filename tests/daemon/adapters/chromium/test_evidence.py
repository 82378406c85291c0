"""What is left of a failed render for an engineer to look at: as much as the page still gives."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from reportd.adapters.chromium.page.page import ChromiumPage
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import MAX_LINES, MAX_SCREENSHOT_BYTES, Evidence
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import Ready
from tests.servers.chromium import Stage, on_stage, open_stage, request
from tests.servers.site import Content, Reply, hang, open_site

pytestmark = pytest.mark.browser

NEVER = Ready("selector", "#never")
_LOOK = """
(async () => {
  const image = new Image();
  image.src = "data:image/jpeg;base64,%s";
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  return [image.width, image.height, ...canvas.getImageData(%d, %d, 1, 1).data.slice(0, 3)];
})()
"""
RED = "<style>body { margin: 0; background: #f00 }</style>"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


async def evidence(
    stage: Stage, content: str, *, seconds: float = 1.0, html: bool = False, **options: Any
) -> tuple[Evidence, FaultKind | None]:
    """The evidence of a page, without host and port, and its fault; of its timeout if it has none in time."""
    pages: dict[str, Content] = {"/report": content, "/gone.png": Reply(b"", status=404), "/hangs.png": hang}
    fault = None
    async with open_site(pages) as site, stage.page() as page:
        source: dict[str, Any] = {"html": content} if html else {"url": site.url("/report")}
        with trio.move_on_after(seconds):
            try:
                await page.render(request(**source, **{"evidence": True, **options}))
            except FaultError as error:
                fault = error.fault.kind
        began = trio.current_time()
        found = await page.evidence(page.activity)
        assert trio.current_time() - began < 1.5
        requests = tuple(line.replace(site.url(""), "") for line in found.requests)
        return Evidence(found.screenshot, found.console, requests, found.activity), fault


async def picture(stage: Stage, found: Evidence, x: int, y: int) -> tuple[int, int, bool]:
    """The width and height of the screenshot, and whether it is red at that point."""
    assert found.screenshot.startswith(b"\xff\xd8\xff"), "a JPEG"
    expression = _LOOK % (base64.b64encode(found.screenshot).decode(), x, y)
    async with stage.browser.page() as page:
        assert isinstance(page, ChromiumPage)
        answer = await page._page.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
    width, height, red, green, blue = answer["result"]["value"]
    return width, height, red > 240 and green < 20 and blue < 20


@on_stage
async def test_a_timeout_shows_the_page_its_console_and_its_requests(stage: Stage) -> None:
    found, fault = await evidence(
        stage,
        f"{RED}<img src=/gone.png><script>console.log('rows', 3, null, true, {{}}); console.warn('slow\\nservice');"
        "setTimeout(() => { throw new TypeError('no chart') })</script>",
        ready=NEVER,
        viewport=(400, 300),
    )
    assert fault is None
    assert await picture(stage, found, 200, 280) == (400, 300, True)
    assert found.console == (
        "log: rows 3 null true Object",
        "warning: slow service",
        "uncaught: TypeError: no chart",
    )
    assert found.requests == ("/gone.png answered 404",)
    assert found.activity == "waiting until the page is ready (selector #never)"


@on_stage
async def test_a_fault_shows_the_page_that_was_judged(stage: Stage) -> None:
    found, fault = await evidence(
        stage, f"{RED}<script>throw new Error('no rows')</script>", fail_on=frozenset({WarningKind.SCRIPTS})
    )
    assert fault is FaultKind.SCRIPT_ERROR
    assert found.console == ("uncaught: Error: no rows",)
    assert (await picture(stage, found, 100, 100))[2]


@on_stage
async def test_a_page_without_scripts_is_shown_too(stage: Stage) -> None:
    found, fault = await evidence(stage, f"{RED}<p>x", html=True, expect=Ready("text", "Revenue"))
    assert fault is not None
    assert (await picture(stage, found, 300, 300))[2]


@on_stage
async def test_pixels_are_css_pixels_and_a_tall_window_is_cut(stage: Stage) -> None:
    found, _ = await evidence(stage, RED, ready=NEVER, viewport=(300, 9000), device_scale_factor=2.0)
    assert await picture(stage, found, 299, 2399) == (300, 2400, True)


@on_stage
async def test_a_screenshot_that_is_too_large_is_not_kept_and_harms_nothing(stage: Stage) -> None:
    noise = """<body style="margin:0"><canvas width=1600 height=2400></canvas><script>
      const draw = document.querySelector("canvas").getContext("2d"), data = draw.createImageData(1600, 2400);
      const words = new Uint32Array(data.data.buffer);
      for (let n = 0; n < words.length; n++) words[n] = Math.random() * 2 ** 24 | 255 << 24;
      draw.putImageData(data, 0, 0); console.log("drawn");
    </script>"""
    found, _ = await evidence(stage, noise, ready=NEVER, viewport=(1600, 2400), seconds=3.0)
    assert found.console == ("log: drawn",)
    assert len(found.screenshot) <= MAX_SCREENSHOT_BYTES
    assert found.screenshot == b""


@on_stage
async def test_a_page_whose_scripts_never_pause_has_what_it_said_so_far(stage: Stage) -> None:
    found, _ = await evidence(stage, "<script>console.log('begun'); for (;;);</script>")
    assert (found.screenshot, found.console) == (b"", ("log: begun",))


@on_stage
async def test_a_page_that_crashed_has_what_it_said_so_far(stage: Stage) -> None:
    async with stage.browser.page() as page:
        assert isinstance(page, ChromiumPage)
        wanted = request(html=f"{RED}<script>console.log('begun')</script>", ready=NEVER, evidence=True)

        async def crash() -> None:
            await trio.sleep(0.3)
            page._page.send("Page.crash")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            with pytest.raises(FaultError) as caught:
                await page.render(wanted)
        assert caught.value.fault.kind is FaultKind.PAGE_CRASHED
        began = trio.current_time()
        assert await page.evidence("printing") == Evidence(b"", ("log: begun",), (), "printing")
        assert trio.current_time() - began < 0.5


@on_stage
async def test_a_page_that_floods_its_console_fills_no_memory(stage: Stage) -> None:
    page = "<script>for (let n = 0; n < 5000; n++) console.log(n, 'x'.repeat(2000))</script>"
    found, _ = await evidence(stage, page, ready=NEVER, seconds=5.0)
    assert len(found.console) == MAX_LINES
    assert found.console[-1].startswith("log: 4999 xxx")
    assert max(map(len, found.console)) <= 300


@on_stage
async def test_a_line_of_megabytes_ends_nothing(stage: Stage) -> None:
    page = f"{RED}<script>for (const size of [5e6, 1e5]) console.log('x'.repeat(size)); console.log('next')</script>"
    found, _ = await evidence(stage, page, ready=NEVER, seconds=2.0)
    assert found.console == ("log: next",)
    assert (await picture(stage, found, 100, 100))[2]


@on_stage
async def test_hostile_text_stays_text(stage: Stage) -> None:
    page = "<script>console.error('</bdi><script>alert(1)<\\/script>', Symbol('s'), 1n, [1], () => 1)</script>"
    found, _ = await evidence(stage, page, ready=NEVER)
    assert found.console == ("error: </bdi><script>alert(1)</script> Symbol(s) 1n Array(1) () => 1",)


@on_stage
async def test_without_the_option_nothing_is_collected(stage: Stage) -> None:
    found, _ = await evidence(stage, "<script>console.log('rows')</script>", ready=NEVER, evidence=False)
    assert found.console == ()

"""What a page still waited for when its time was up: each thing that can keep it from being printed is named."""

import re
from collections.abc import Iterator

import pytest
import trio

from reportd.ports import Ready
from tests.servers.chromium import Stage, on_stage, open_stage, request
from tests.servers.site import Content, Reply, hang, open_site, stream_for_ever

pytestmark = pytest.mark.browser

NEVER = Ready("selector", "#never")

UNDER_WAY = {
    "a picture": "<img src=/ok.png><img src='/hangs.png?token=secret'>",
    "a picture in a style": "<style>body { background: url(/hangs.png) }</style>x",
    "a style sheet": "<link rel=stylesheet href=/hangs.css>x",
    "an imported style sheet": "<style>@import '/hangs.css'</style>x",
    "a script": "<script src=/hangs.js></script>",
    "a module": "<script type=module src=/hangs.js></script>",
    "a font": "<style>@font-face { font-family: own; src: url(/hangs.woff2) } body { font-family: own }</style>x",
    "a frame": "<iframe src=/hangs.html></iframe>",
    "a picture in a frame": "<iframe src=/frame.html></iframe>",
    "data": "<script>fetch('/hangs.json')</script>x",
    "data that never ends": "<script>fetch('/endless').then((answer) => answer.text())</script>x",
    "data, the old way": "<script>const r = new XMLHttpRequest(); r.open('GET', '/hangs.json'); r.send()</script>x",
    "a picture, behind a timeline that the page has turned off": (
        "<script>performance.getEntriesByType = () => []; performance.setResourceTimingBufferSize(0)</script>"
        "<img src=/hangs.png>"
    ),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


async def pending(stage: Stage, content: str, ready: Ready = NEVER, *, seconds: float = 0.5) -> tuple[str, str]:
    """What the page was doing when its time was up, and what it waited for; without host and port."""
    pages: dict[str, Content] = {
        "/report": content,
        "/ok.png": Reply(b"", content_type="image/png"),
        "/frame.html": "<img src=/hangs.png>",
        "/endless": stream_for_ever,
    }
    async with open_site(pages) as site, stage.page() as page:
        site.otherwise = hang
        with trio.move_on_after(seconds):
            await page.render(request(url=site.url("/report"), ready=ready, max_page_bytes=2**40))
        doing = page.activity
        begun = trio.current_time()
        found = await page.pending()
        assert trio.current_time() - begun < 2
        return doing, found.replace(site.url(""), "")


@pytest.mark.parametrize("what", UNDER_WAY)
@on_stage
async def test_each_request_under_way_is_named(stage: Stage, what: str) -> None:
    _, found = await pending(stage, UNDER_WAY[what])
    in_it = re.search(r"/hangs\.\w+|/endless", UNDER_WAY[what])
    assert found == f"; pending: {in_it[0] if in_it else '/hangs.png'}"


@on_stage
async def test_only_the_first_few_of_many_are_named(stage: Stage) -> None:
    _, found = await pending(stage, "".join(f"<img src=/hangs/{number}.png>" for number in range(5)))
    # Which ones is open: requests of the same tenth of a millisecond have no order.
    assert re.fullmatch(r"; pending: (/hangs/\d\.png, ){2}/hangs/\d\.png and 2 more", found)


@pytest.mark.parametrize(
    ("script", "expression", "value"),
    [
        ("window.left = 3", "window.left === 0", "false"),
        ("", "window.left", "undefined"),
        ("window.state = 'waiting for ' + 'rows '.repeat(99)", "state === 'done' && state", "false"),
        ("window.rows = []", "rows.length", "0"),
        ("", "missing.rows", "it throws ReferenceError: missing is not defined"),
    ],
)
@on_stage
async def test_the_last_value_of_an_expression_is_told(stage: Stage, script: str, expression: str, value: str) -> None:
    doing, found = await pending(stage, f"<script>{script}</script>x", Ready("expression", expression))
    assert doing == f"waiting until the page is ready (expression {expression})"
    assert found == f"; last value: {value}"


@on_stage
async def test_a_page_whose_scripts_never_pause_is_told_as_that(stage: Stage) -> None:
    _, found = await pending(stage, "<script>for (;;);</script>")
    assert found == "; pending: its scripts, busy for 0.5 s more"


@on_stage
async def test_a_page_that_waits_for_nothing_that_can_be_named_adds_nothing(stage: Stage) -> None:
    assert await pending(stage, "<p>x") == ("waiting until the page is ready (selector #never)", "")


@on_stage
async def test_an_address_that_does_not_answer_is_named_already(stage: Stage) -> None:
    async with open_site({"/report": hang}) as site, stage.page() as page:
        with trio.move_on_after(0.3):
            await page.render(request(url=site.url("/report")))
        assert page.activity == f"waiting for {site.url('/report')} to answer"
        assert await page.pending() == ""

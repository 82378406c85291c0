"""When a page is printed, and how the job's options change it."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import trio
from pypdf import PdfReader

from reportd.adapters.chromium.page.headers import OwnHeaders
from reportd.core.faults import FaultKind
from reportd.core.pages.network import NetworkRule
from reportd.ports import Ready
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Content, Reply, after, open_site, redirect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


LATE = "<p id=out>early</p><script>%s</script>"
SHOW = "out.textContent = 'late'"
WAITS: list[tuple[str, Ready]] = [
    (f"setTimeout(() => {{ {SHOW}; out.className = 'done' }}, 150)", Ready("selector", "#out.done")),
    (
        f"setTimeout(() => {{ {SHOW}; document.body.append(document.createElement('hr')) }}, 150)",
        Ready("selector", "hr"),
    ),
    (f"{SHOW}; out.className = 'done'", Ready("selector", ".done")),
    (f"setTimeout(() => {{ {SHOW}; window.finished = 1 }}, 150)", Ready("expression", "window.finished // or not")),
    (f"setTimeout(() => {{ {SHOW}; window.finished = 1 }}, 150)", Ready("expression", "finished === 1")),
    (f"window.work = new Promise(done => setTimeout(() => {{ {SHOW}; done(1) }}, 150))", Ready("expression", "work")),
    (f"setTimeout(() => {{ {SHOW}; dispatchEvent(new Event('ready')) }}, 150)", Ready("event", "ready")),
    (f"{SHOW}; dispatchEvent(new Event('ready'))", Ready("event", "ready")),
    (f"{SHOW}; dispatchEvent(new CustomEvent('it\\'s \"ready\"'))", Ready("event", 'it\'s "ready"')),
    (f"document.addEventListener('DOMContentLoaded', () => {{ {SHOW} }})", Ready("event", "DOMContentLoaded")),
    (f"onload = () => {{ {SHOW} }}", Ready("load")),
    (f"onload = () => {{ {SHOW} }}", Ready("event", "load")),
    (f"fetch('data:,').then(() => {{ {SHOW} }})", Ready("networkidle")),
]


@pytest.mark.parametrize(("script", "ready"), WAITS)
@on_stage
async def test_the_page_is_printed_when_it_is_ready(stage: Stage, script: str, ready: Ready) -> None:
    html = LATE % script
    async with open_site({"/report": html}) as site, stage.page() as page:
        for wanted in (request(html=html, ready=ready), request(url=site.url("/report"), ready=ready)):
            assert text_of(await page.render(wanted)) == "late"
            assert await page.scrub()


NEVER = [
    Ready("event", "never"),
    Ready("selector", "#nothing"),
    Ready("expression", "false"),
    Ready("expression", "nothing.there"),
    Ready("expression", "new Promise(() => 0)"),
]


@pytest.mark.parametrize("ready", NEVER)
@on_stage
async def test_a_condition_that_never_holds_waits_for_the_deadline(stage: Stage, ready: Ready) -> None:
    async with stage.page() as page:
        for wanted in (request(html="<p>x", ready=ready), request(html="<p>ready</p>")):
            with trio.move_on_after(0.3) as deadline:
                await page.render(wanted)
            assert deadline.cancelled_caught == (wanted.options.ready is ready)
            assert await page.scrub()


@pytest.mark.parametrize("ready", [Ready("selector", "p[["), Ready("expression", "this is none")])
@on_stage
async def test_a_condition_that_makes_no_sense(stage: Stage, ready: Ready) -> None:
    async with stage.page() as page:
        with trio.move_on_after(0.5):
            fault = await fault_of(page, request(html="<p>x", ready=ready))
            assert fault is not None
            assert fault.kind is FaultKind.SCRIPT_ERROR
        assert await page.scrub()


@on_stage
async def test_load_waits_for_images_scripts_and_iframes(stage: Stage) -> None:
    pages: dict[str, Content] = {
        "/report": "<p>first <script src=/slow.js></script><iframe src=/slow></iframe>",
        "/slow.js": after(0.3, Reply("document.write('second ')", content_type="text/javascript")),
        "/slow": after(0.3, Reply("<script>parent.document.body.append('third')</script>")),
    }
    async with open_site(pages) as site, stage.page() as page:
        assert text_of(await page.render(request(url=site.url("/report")))) == "first second third"
        again = request(html=str(pages["/report"]).replace("/slow", site.url("/slow")), hosts=("127.0.0.1",))
        assert await page.scrub()
        assert "first second" in text_of(await page.render(again))


FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")
LATE_FONT = """
<style>@font-face { font-family: late; src: url(%s) } .late { font-family: late }</style>
<p id=text>text</p><script>onload = () => { text.className = 'late' }</script>
"""
PRINT_FONT = """
<style>@font-face { font-family: late; src: url(%s) } @media print { p { font-family: late } }</style><p>text</p>
"""


@pytest.mark.skipif(not FONT.exists(), reason="needs Debian's fonts-dejavu-core")
@pytest.mark.parametrize("html", [LATE_FONT, PRINT_FONT])
@on_stage
async def test_fonts_are_waited_for(stage: Stage, html: str) -> None:
    font = Reply(FONT.read_bytes(), content_type="font/ttf", headers={"Access-Control-Allow-Origin": "*"})  # noqa: ASYNC240
    async with open_site({"/font": after(0.4, font)}) as site, stage.page() as page:
        pdf = await page.render(request(html=html % site.url("/font"), hosts=("127.0.0.1",)))
        assert pdf.data is not None
        (sheet,) = PdfReader(BytesIO(pdf.data)).pages
        (used,) = sheet["/Resources"]["/Font"].values()  # type: ignore[index]
        assert used.get_object()["/BaseFont"].endswith("DejaVuSansMono")


@on_stage
async def test_images_that_are_loaded_when_they_come_into_sight_are_waited_for(stage: Stage) -> None:
    image = Reply(
        "<svg xmlns='http://www.w3.org/2000/svg'><text y='20'>image</text></svg>", content_type="image/svg+xml"
    )
    html = "<p style='height: 20000px'>text</p><img loading=lazy src=/image>"
    async with open_site({"/report": html, "/image": after(0.3, image)}) as site, stage.page() as page:
        assert text_of(await page.render(request(url=site.url("/report")))) == "text image"


@on_stage
async def test_network_idle_waits_for_what_is_fetched_after_the_load(stage: Stage) -> None:
    script = """
      onload = () => fetch('%s/a').then(() => fetch('%s/b')).then(r => r.text()).then(text => out.textContent = text)
    """
    slow = after(0.25, Reply("late", content_type="text/plain", headers={"Access-Control-Allow-Origin": "*"}))
    async with open_site({"/a": slow, "/b": slow}) as site, stage.page() as page:
        html = LATE % (script % (site.url(""), site.url("")))
        await trio.sleep(0.7)  # the empty page has been idle for as long as it takes
        wanted = request(html=html, hosts=("127.0.0.1",), ready=Ready("networkidle"))
        assert text_of(await page.render(wanted)) == "late"
        assert await page.scrub()
        site.pages["/report"] = html
        wanted = request(url=site.url("/report"), ready=Ready("networkidle"))
        assert text_of(await page.render(wanted)) == "late"


@on_stage
async def test_the_delay_comes_after_readiness(stage: Stage) -> None:
    html = LATE % f"onload = () => setTimeout(() => {{ {SHOW} }}, 200)"
    async with stage.page() as page:
        assert text_of(await page.render(request(html=html))) == "early"
        assert await page.scrub()
        assert text_of(await page.render(request(html=html, delay_seconds=0.4))) == "late"


LIVELY = """
<body><canvas id=canvas></canvas><div id=box style="width: 10px; transition: width 50ms"></div><script>
const seen = new Set();
const see = (what) => { seen.add(what); if (seen.size === 5) { out.textContent = 'all'; window.finished = true; } };
requestAnimationFrame(() => requestAnimationFrame(() => see('frame')));
new ResizeObserver(() => see('resize')).observe(box);
new IntersectionObserver(() => see('intersection')).observe(box);
box.ontransitionend = () => see('transition');
setTimeout(() => { box.style.width = '50px'; }, 20);
canvas.getContext('2d').fillRect(0, 0, 9, 9);
canvas.toBlob(() => see('blob'));
</script><p id=out>
"""


@on_stage
async def test_pages_live_as_on_a_screen(stage: Stage) -> None:
    """Charts are drawn in animation frames and sized by observers; some flags of Chromium break both."""
    async with stage.page() as page:
        wanted = request(html=LIVELY, ready=Ready("expression", "window.finished"))
        assert text_of(await page.render(wanted)) == "all"


# --- headers, cookies, media --------------------------------------------------------------------------------


@on_stage
async def test_headers_and_cookies_go_to_the_reports_own_origin_only(stage: Stage) -> None:
    secret: dict[str, Any] = {"headers": {"X-Key": "secret"}, "cookies": {"session": "secret", "b": "2"}}
    script = """
      <script>
      fetch('/fetched', {headers: {'X-Own': '1', 'x-key': 'mine'}});
      new Worker('/worker.js');
      </script>
    """
    async with (
        open_site(host="127.0.0.2") as third,
        open_site(host="127.0.0.3") as partner,
        open_site(host="127.0.0.4") as api,
        open_site() as site,
        stage.page() as page,
    ):
        site.pages["/report"] = script + "".join(
            f"<img src={where.url('/image')}><iframe src={where.url('/frame')}></iframe>"
            for where in (site, partner, third, api)
        )
        site.pages["/moved"] = redirect("/report")
        site.pages["/worker.js"] = Reply("1", content_type="text/javascript")
        own: dict[str, Any] = {"hosts": ("127.0.0.3", "127.0.0.4"), "header_hosts": NetworkRule.of(["127.0.0.4"])}
        wanted = request(url=site.url("/moved"), delay_seconds=0.2, allow_redirects=True, **own, **secret)
        assert await fault_of(page, wanted) is None
        assert third.connections == 0
        assert {asked.headers.get("x-key") for asked in (*site.requests, *api.requests)} == {"secret"}
        assert site.asked("/fetched")[0].headers["x-own"] == "1"
        assert {"/moved", "/report", "/image", "/frame", "/worker.js"} <= {asked.path for asked in site.requests}
        assert all("session=secret" in asked.headers["cookie"] for asked in site.requests)
        assert all("cookie" not in asked.headers for asked in (*partner.requests, *api.requests))
        assert {asked.path for asked in partner.requests} >= {"/image", "/frame"}
        assert all("x-key" not in asked.headers for asked in partner.requests)

        assert await page.scrub()
        site.requests.clear()
        assert await fault_of(page, request(url=site.url("/report"))) is None
        assert all(asked.headers.get("x-key") in (None, "mine") for asked in site.requests)
        assert all("cookie" not in asked.headers for asked in site.requests)


@on_stage
async def test_headers_turn_no_request_into_one_that_has_to_be_asked_for(stage: Stage) -> None:
    """Fonts are fetched with CORS. A custom header causes a preflight request, which CDNs refuse."""
    style = "<style>@font-face { font-family: f; src: url(%s) } p { font-family: f }</style><p>text"
    async with open_site(host="127.0.0.2") as cdn, open_site() as site, stage.page() as page:
        site.pages["/report"] = style % cdn.url("/font")
        cdn.pages["/font"] = Reply(b"no font", headers={"Access-Control-Allow-Origin": "*"})
        wanted = request(url=site.url("/report"), hosts=("127.0.0.2",), headers={"X-Key": "secret"})
        assert await fault_of(page, wanted) is None
        assert [asked.method for asked in cdn.requests] == ["GET"]
        assert await page.scrub()
        cdn.requests.clear()
        to_cdn = NetworkRule.of(["127.0.0.2"])
        assert await fault_of(page, replace(wanted, options=replace(wanted.options, header_hosts=to_cdn))) is None
        assert [(asked.method, asked.headers.get("x-key")) for asked in cdn.requests] == [("GET", "secret")]


@on_stage
async def test_a_redirect_takes_no_headers_to_another_origin(stage: Stage) -> None:
    async with open_site({"/": "<p>there"}, host="127.0.0.2") as other, open_site() as site, stage.page() as page:
        site.pages["/report"] = "<p>report<img src=/moved>"
        site.pages["/moved"] = redirect(other.url("/image"))
        wanted = request(url=site.url("/report"), hosts=("127.0.0.2",), headers={"Authorization": "Bearer secret"})
        assert await fault_of(page, wanted) is None
        assert site.asked("/moved")[0].headers["authorization"] == "Bearer secret"
        assert [asked.headers.get("authorization") for asked in other.requests] == [None]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://reports.test/x", True),
        ("https://reports.test:443/x", True),
        ("https://REPORTS.test/x", True),
        ("http://reports.test/x", False),
        ("https://reports.test:8443/x", False),
        ("https://evil.test/https://reports.test/", False),
        ("https://reports.test.evil.test/", False),
        ("https://reports.test@evil.test/", False),
        ("https://api.test/x", True),
        ("http://api.test/x", False),
        ("data:text/plain,x", False),
        ("blob:https://reports.test/x", False),
        ("", False),
    ],
)
def test_which_requests_get_the_headers(url: str, *, sent: bool) -> None:
    headers = OwnHeaders({"X-Key": "secret"}, "https://reports.test/report", NetworkRule.of(["api.test"]))
    assert headers.added_to(url, {}) == ({"X-Key": "secret"} if sent else {})


@on_stage
async def test_a_redirect_takes_no_headers_to_a_host_that_is_not_allowed(stage: Stage) -> None:
    async with open_site() as third, open_site({"/report": redirect(third.url("/"))}) as site, stage.page() as page:
        wanted = request(url=site.url("/report"), headers={"Authorization": "Bearer secret"}, cookies={"a": "b"})
        fault = await fault_of(page, wanted)
        assert fault is not None
        assert fault.kind is FaultKind.HOST_NOT_ALLOWED
        assert third.connections == 0


@on_stage
async def test_templates_send_headers_to_the_hosts_that_are_named_for_it(stage: Stage) -> None:
    async with open_site() as site, stage.page() as page:
        html = f"<img src={site.url('/image')}>"
        for header_hosts in ((), ("127.0.0.1",)):
            rule = NetworkRule.of(header_hosts)
            wanted = request(html=html, hosts=("127.0.0.1",), headers={"X-Key": "secret"}, header_hosts=rule)
            assert await fault_of(page, wanted) is None
            assert await page.scrub()
        assert [asked.headers.get("x-key") for asked in site.requests] == [None, "secret"]


MEDIA = (
    "<style>@media print { i { display: none } } @media screen { b { display: none } }</style><b>print</b><i>screen</i>"
)


@on_stage
async def test_media_type(stage: Stage) -> None:
    async with stage.page() as page:
        for media in ("print", "screen", "print"):
            assert text_of(await page.render(request(html=MEDIA, media=media))) == media
            assert await page.scrub()


# --- printing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"pageRanges": "7-9"},
        {"pageRanges": "x"},
        {"paperWidth": -1},
        {"marginLeft": 99},
        {"scale": 99},
        {"landscape": "yes"},
    ],
)
@on_stage
async def test_parameters_that_chromium_rejects(stage: Stage, parameters: dict[str, Any]) -> None:
    async with stage.page() as page:
        fault = await fault_of(page, request(html="<p>x", print_parameters=parameters))
        assert fault is not None
        assert fault.kind is FaultKind.PRINT_REJECTED
        assert "Page.printToPDF" in fault.detail
        assert await page.scrub()
        assert text_of(await page.render(request(html="<p>good"))) == "good"


@on_stage
async def test_header_and_footer_are_printed(stage: Stage) -> None:
    parameters = {
        "displayHeaderFooter": True,
        "headerTemplate": "<b style='font-size: 9px' class=title></b>",
        "footerTemplate": "<i style='font-size: 9px'>page <span class=pageNumber></span></i>",
        "marginTop": 1,
        "marginBottom": 1,
    }
    async with stage.page() as page:
        wanted = request(html="<title>The title</title><p>body", print_parameters=parameters)
        text = text_of(await page.render(wanted))
        assert "The title" in text
        assert "page 1" in text


@on_stage
async def test_a_redirect_to_elsewhere_names_no_more_of_the_page_than_its_origin(stage: Stage) -> None:
    """The page's URL holds the job's parameters."""
    async with open_site({"/": "<p>there"}, host="127.0.0.2") as other, open_site() as site, stage.page() as page:
        site.pages["/report"] = "<p>report<img src=/moved><iframe src=/moved></iframe><script src=/moved></script>"
        site.pages["/moved"] = redirect(other.url("/image"))
        for headers in ({}, {"X-Key": "secret"}):
            wanted = request(url=site.url("/report?p=secret"), hosts=("127.0.0.2",), headers=headers)
            assert await fault_of(page, wanted) is None
            assert await page.scrub()
        assert len(other.requests) >= 4
        assert {asked.headers.get("referer") for asked in other.requests} == {f"http://127.0.0.1:{site.port}/"}

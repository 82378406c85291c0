"""A PDF that is delivered is the report (I14): what is not the report fails, what is missing is a warning."""

from collections.abc import Iterator
from http import HTTPStatus
from io import BytesIO
from typing import Any

import pytest
import trio
from pypdf import PdfReader

from reportd.adapters.chromium.page.settle import STABLE_MS
from reportd.adapters.chromium.page.visit import LEAVING_SECONDS
from reportd.core.faults import FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import Page, Pdf, Ready
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Content, Reply, Site, after, hang, open_site

pytestmark = pytest.mark.browser

REPORT = "<!doctype html><title>report</title><p>the report"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def redirect(to: str) -> Reply:
    return Reply(status=HTTPStatus.FOUND, headers={"Location": to})


async def printed(page: Page, site: Site, **options: Any) -> Pdf:
    return await page.render(request(url=site.url("/report"), **options))


def warned(pdf: Pdf) -> list[tuple[str, str, int]]:
    """Kind, the end of the address, and count of each warning."""
    return [(w.kind, w.what.rpartition("/")[2], w.count) for w in pdf.warnings]


# --- is this the report at all? -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (redirect("/login"), FaultKind.REDIRECTED, "/login"),
        (Reply('{"error": "session expired"}', content_type="application/json"), FaultKind.NOT_A_REPORT, "json"),
        (Reply("session expired", content_type="text/plain"), FaultKind.NOT_A_REPORT, "text/plain"),
        (Reply(""), FaultKind.NOT_A_REPORT, "text/plain"),
        (Reply("<!doctype html>"), FaultKind.NOT_A_REPORT, "painted"),
        (Reply(" \n<html><body style='background:#fff'>&nbsp;"), FaultKind.NOT_A_REPORT, "painted"),
        (
            "<div id=root></div><script>root.append(rows.map(String))</script>",
            FaultKind.NOT_A_REPORT,
            "painted on any of its pages; a script failed: ReferenceError: rows is not defined",
        ),
        ("<meta http-equiv=refresh content='2;url=/elsewhere'>please wait", FaultKind.NAVIGATED_AWAY, "/elsewhere"),
        ("<script>location.href = '/elsewhere'</script>wait", FaultKind.NAVIGATED_AWAY, "/elsewhere"),
        ("<p>wait<script>setTimeout(() => location.reload(), 10)</script>", FaultKind.NAVIGATED_AWAY, "again"),
    ],
    ids=[
        "login",
        "json",
        "text",
        "empty",
        "no content",
        "blank",
        "broken script",
        "refresh",
        "script",
        "reloads for ever",
    ],
)
@on_stage
async def test_what_is_not_the_report_fails(stage: Stage, answer: Content, kind: FaultKind, words: str) -> None:
    async with open_site({"/report": answer, "/login": "<form>", "/elsewhere": "<p>x"}) as site, stage.page() as page:
        # A page that goes on for ever is ended by its second reload, so it has to have time for that.
        fault = await fault_of(page, request(url=site.url("/report"), delay_seconds=0.3 if words == "again" else 0))
        assert fault is not None
        assert fault.kind is kind
        assert words in fault.detail
        assert not fault.nature.retry
        assert fault.nature.counts_for_breaker


@on_stage
async def test_a_redirect_that_the_type_allows_is_followed(stage: Stage) -> None:
    pages: dict[str, Content] = {"/report": redirect("/new"), "/new": REPORT}
    async with open_site(pages) as site, stage.page() as page:
        for allowed in (True, ("/new",)):
            assert text_of(await printed(page, site, allow_redirects=allowed)) == "the report"
            assert await page.scrub()
        fault = await fault_of(page, request(url=site.url("/report"), allow_redirects=("/other",)))
        assert fault is not None
        assert fault.kind is FaultKind.REDIRECTED


@on_stage
async def test_a_slash_at_the_end_is_no_redirect(stage: Stage) -> None:
    async with open_site({"/report": redirect("/report/"), "/report/": REPORT}) as site, stage.page() as page:
        assert text_of(await printed(page, site)) == "the report"


@pytest.mark.parametrize("says", ["console.log(much)", "setTimeout(() => { throw new Error(much) })"])
@on_stage
async def test_a_page_that_says_much_is_printed(stage: Stage, says: str) -> None:
    talks = f"{REPORT}<script>const much = 'x'.repeat(5 * 2 ** 20); {says}</script>"
    async with open_site({"/report": talks}) as site, stage.page() as page:
        assert text_of(await printed(page, site)) == "the report"


ONCE = "<script>if (!sessionStorage.once) { sessionStorage.once = 1; location.reload(); }</script>"
WAITING = "<p>wait<meta http-equiv=refresh content=1>"


@on_stage
async def test_a_page_that_reloads_itself_once_is_printed(stage: Stage) -> None:
    once = f"{ONCE}<p>visit<script>document.body.append(performance.getEntriesByType('navigation')[0].type)</script>"
    async with open_site({"/report": once}) as site, stage.page() as page:
        assert text_of(await printed(page, site)) == "visit reload"
        assert len(site.asked("/report")) == 2


@on_stage
async def test_a_page_that_reloads_itself_when_it_was_ready_is_waited_for_again(stage: Stage) -> None:
    late_reload = ONCE.replace("location.reload()", "setTimeout(() => location.reload(), 100)")
    slow = "if (performance.navigation.type) document.write('<script src=/slow><\\/script>')"
    report = f"{late_reload}<p>half<script>{slow}</script><p>whole"
    async with open_site({"/report": report, "/slow": after(0.6, Reply())}) as site, stage.page() as page:
        assert text_of(await printed(page, site, delay_seconds=0.4)) == "half whole"
        assert len(site.asked("/report")) == 2


@pytest.mark.parametrize(
    "moves",
    [
        "location = '/none'",
        "document.forms[0].submit()",
        "location = '/hangs'; setTimeout(() => stop(), 50)",
        "location = '/hangs'; setTimeout(() => { location = '/none' }, 50)",
    ],
)
@on_stage
async def test_a_page_that_asks_for_a_document_which_never_comes_is_not_waited_for(stage: Stage, moves: str) -> None:
    later = f"onload = () => setTimeout(() => {{ {moves} }}, 20)"
    pages: dict[str, Content] = {
        "/report": f"<p>the report<form action=/none method=post></form><script>{later}</script>",
        "/none": Reply(status=HTTPStatus.NO_CONTENT),
        "/hangs": hang,
    }
    async with open_site(pages) as site, stage.page() as page:
        begun = trio.current_time()
        assert text_of(await printed(page, site, ready=Ready("stable"))) == "the report"
        assert trio.current_time() - begun < LEAVING_SECONDS / 2


@pytest.mark.parametrize("moves", ["location = '/none'", "location = '/hangs'; setTimeout(() => stop(), 50)"])
@on_stage
async def test_a_page_that_gives_itself_up_for_a_document_which_never_comes_fails(stage: Stage, moves: str) -> None:
    """Chromium reads no more of it, and sends it no load event."""
    pages: dict[str, Content] = {
        "/report": f"<p>half<script>{moves}</script><img src=/slow><p>whole",
        "/none": Reply(status=HTTPStatus.NO_CONTENT),
        "/hangs": hang,
        "/slow": after(0.2, Reply()),
    }
    async with open_site(pages) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report")))
        assert fault is not None
        assert fault.kind is FaultKind.NAVIGATED_AWAY
        assert "which never came" in fault.detail


@pytest.mark.parametrize("moves", ["location = '/slow'", "document.forms[0].submit()"])
@on_stage
async def test_a_page_that_moves_on_while_it_is_loaded_is_waited_for(stage: Stage, moves: str) -> None:
    """A form asks before the load of its own document ends, and its request begins after that."""
    pages: dict[str, Content] = {
        "/report": f"<p>wait<form action=/slow></form><script>onload = () => {{ {moves} }}</script>",
        "/slow": after(0.5, Reply(REPORT)),
    }
    async with open_site(pages) as site, stage.page() as page:
        assert text_of(await printed(page, site, allow_redirects=("/slow",))) == "the report"


@on_stage
async def test_a_refresh_whose_page_comes_late_is_followed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd.adapters.chromium.page.visit.LEAVING_SECONDS", 0.1)
    pages: dict[str, Content] = {"/report": "<p>wait<meta http-equiv=refresh content='0;url=/done'>"}
    async with open_site(pages | {"/done": after(0.5, Reply(REPORT))}) as site, stage.page() as page:
        assert text_of(await printed(page, site, allow_redirects=("/done",))) == "the report"


@on_stage
async def test_a_page_that_refreshes_itself_is_followed_until_it_is_the_report(stage: Stage) -> None:
    async with open_site({"/report": WAITING}) as site, stage.page() as page, trio.open_nursery() as nursery:

        async def finish() -> None:
            while len(site.asked("/report")) < 2:
                await trio.sleep(0.02)
            site.pages["/report"] = REPORT

        nursery.start_soon(finish)
        assert text_of(await printed(page, site)) == "the report"


@on_stage
async def test_a_page_may_refresh_itself_and_then_reload_once(stage: Stage) -> None:
    async with open_site({"/report": WAITING}) as site, stage.page() as page, trio.open_nursery() as nursery:

        async def finish() -> None:
            while not site.asked("/report"):
                await trio.sleep(0.02)
            site.pages["/report"] = f"{ONCE}<p>the report"

        nursery.start_soon(finish)
        assert text_of(await printed(page, site)) == "the report"
        assert len(site.asked("/report")) == 3


@on_stage
async def test_a_late_refresh_is_for_readers(stage: Stage) -> None:
    late = "<meta http-equiv=refresh content='900;url=/logout'><p>the report"
    async with open_site({"/report": late}) as site, stage.page() as page:
        assert text_of(await printed(page, site)) == "the report"


@on_stage
async def test_what_is_expected_is_judged_when_the_page_is_printed(stage: Stage) -> None:
    later = "<p id=sum>Total  1,234<p hidden>secret<script>setTimeout(() => p.append('late'), 5000)</script>"
    async with open_site({"/report": later}) as site, stage.page() as page:
        for expect in (Ready("selector", "#sum"), Ready("text", "Total 1,234")):
            assert text_of(await printed(page, site, expect=expect)).startswith("Total")
            assert await page.scrub()
        for expect in (Ready("selector", "#total"), Ready("text", "late"), Ready("text", "secret")):
            with trio.fail_after(4):
                fault = await fault_of(page, request(url=site.url("/report"), expect=expect))
            assert fault is not None
            assert fault.kind is FaultKind.EXPECTATION_FAILED
            assert expect.argument in fault.detail
            assert await page.scrub()


@on_stage
async def test_a_header_does_not_make_a_report_of_an_empty_page(stage: Stage) -> None:
    header = {"displayHeaderFooter": True, "headerTemplate": "<b style='font-size:9px'>ACME</b>", "marginTop": 1}
    async with stage.page() as page:
        fault = await fault_of(page, request(html="<div></div>", print_parameters=header))
        assert fault is not None
        assert fault.kind is FaultKind.NOT_A_REPORT
        assert await page.scrub()
        assert "the report" in text_of(await page.render(request(html=REPORT, print_parameters=header)))


@pytest.mark.parametrize(
    "content",
    [
        "<style>div { height: 9em; background: linear-gradient(red, blue) }</style><div></div>",
        "<style>div::before { content: 'the report' }</style><div></div>",
        "<x-app></x-app><script>document.body.firstChild.attachShadow({mode: 'closed'}).innerHTML = 'report'</script>",
        "<iframe srcdoc='<p>the report'></iframe>",
    ],
    ids=["background", "generated", "shadow", "frame"],
)
@on_stage
async def test_with_a_header_whatever_paints_is_a_report(stage: Stage, content: str) -> None:
    header = {"displayHeaderFooter": True, "headerTemplate": "<b></b>", "marginTop": 1, "printBackground": True}
    async with stage.page() as page:
        assert await fault_of(page, request(html=content, print_parameters=header)) is None


# --- is all of it there? ------------------------------------------------------------------------------------

PARTS = """
<link rel=stylesheet href=/style.css><img src=/logo.png><img src=/logo.png?again><script src=/chart.js></script>
<style>@font-face { font-family: Brand; src: url(/brand.woff2) }</style><p style="font-family: Brand">the report
"""


@on_stage
async def test_what_does_not_load_is_a_warning(stage: Stage) -> None:
    async with open_site({"/report": PARTS, "/style.css": Reply(status=500)}) as site, stage.page() as page:
        pdf = await printed(page, site)
        assert text_of(pdf) == "the report"
        assert sorted(warned(pdf)) == [
            ("fonts", "brand.woff2", 1),
            ("resources", "chart.js", 1),
            ("resources", "logo.png", 2),
            ("resources", "style.css", 1),
        ]
        assert {w.why for w in pdf.warnings if "style.css" in w.what} == {"answered 500"}
        assert {w.why for w in pdf.warnings if "logo" in w.what} == {"answered 404"}


@on_stage
async def test_a_frame_that_stays_empty_is_a_warning(stage: Stage) -> None:
    frames = "<iframe src=/denied></iframe><iframe src=http://other.test/></iframe>the report"
    denied = Reply("<p>x", headers={"X-Frame-Options": "DENY"})
    async with open_site({"/report": frames, "/denied": denied}) as site, stage.page() as page:
        pdf = await printed(page, site)
        assert {w.what: w.refused for w in pdf.warnings} == {site.url("/denied"): False, "http://other.test/": True}


@on_stage
async def test_a_login_form_in_place_of_a_part_is_a_warning(stage: Stage) -> None:
    parts = "<!doctype html><link rel=stylesheet href=/style><script type=module src=/app></script><p>the report"
    async with open_site({"/report": parts}) as site, stage.page() as page:
        site.otherwise = "<form>Log in"
        assert sorted(warned(await printed(page, site, delay_seconds=0.2))) == [
            ("resources", "app", 1),
            ("resources", "style", 1),
        ]


@on_stage
async def test_a_socket_that_is_refused_is_named(stage: Stage) -> None:
    socket = "<p>the report<script>new WebSocket('ws://other.test/live?token=secret')</script>"
    async with stage.page() as page:
        pdf = await page.render(request(html=socket, delay_seconds=0.3))
        assert [(w.what, w.refused) for w in pdf.warnings] == [("ws://other.test/live", True)]


@pytest.mark.parametrize("kind", [WarningKind.RESOURCES, WarningKind.FONTS])
@on_stage
async def test_fail_on_makes_a_failure_of_a_warning(stage: Stage, kind: WarningKind) -> None:
    async with open_site({"/report": PARTS}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report"), fail_on={kind}))
        assert fault is not None
        assert fault.kind is FaultKind.RESOURCE_FAILED
        assert "answered 404" in fault.detail


@on_stage
async def test_a_host_that_is_not_allowed_is_named_and_not_tried_again(stage: Stage) -> None:
    async with open_site({"/report": "<p>x<img src='http://127.0.0.2:9999/x.png'>"}) as site, stage.page() as page:
        (warning,) = (await printed(page, site)).warnings
        assert warning.refused
        assert "127.0.0.2" in warning.why
        assert await page.scrub()
        fault = await fault_of(page, request(url=site.url("/report"), fail_on={WarningKind.RESOURCES}))
        assert fault is not None
        assert fault.kind is FaultKind.HOST_NOT_ALLOWED
        assert not fault.nature.retry


@on_stage
async def test_what_a_script_throws_is_a_warning(stage: Stage) -> None:
    async with open_site({"/report": "<p>x<script>total()</script>"}) as site, stage.page() as page:
        (warning,) = (await printed(page, site)).warnings
        assert warning.kind is WarningKind.SCRIPTS
        assert "total is not defined" in warning.what


@on_stage
async def test_a_rejected_promise_that_is_handled_later_is_no_warning(stage: Stage) -> None:
    rejects = "const rows = Promise.reject(new Error('no rows')), other = Promise.reject(new Error('none'))"
    handles = "setTimeout(() => rows.catch(() => document.body.append('without rows')), 50)"
    async with open_site({"/report": f"<body><script>{rejects}; {handles}</script>"}) as site, stage.page() as page:
        pdf = await printed(page, site, ready=Ready("expression", "document.body.innerText"))
        assert text_of(pdf) == "without rows"
        assert [warning.what for warning in pdf.warnings] == ["Error: none"]


@on_stage
async def test_a_template_that_refers_to_a_file_beside_it_says_so(stage: Stage) -> None:
    html = "<link rel=stylesheet href=style.css><img src='logo.png?key=1'><img src='data:image/png;base64,AAAA'><p>x"
    async with stage.page() as page:
        pdf = await page.render(request(html=html))
        assert [w.what for w in pdf.warnings if "no address" in w.why] == ["style.css", "logo.png"]
        assert any("no image" in w.why for w in pdf.warnings)
        assert await page.scrub()
        assert await fault_of(page, request(html=html, fail_on={WarningKind.RESOURCES})) is not None
        assert await page.scrub()
        assert (await page.render(request(html="<p>x"))).warnings == ()


@on_stage
async def test_a_page_that_lies_about_its_images_is_printed(stage: Stage) -> None:
    lie = "{value: [{complete: true, naturalWidth: 0, width: 9, currentSrc: 'http://[secret'}]}"
    html = f"{REPORT}<script>Object.defineProperty(document, 'images', {lie})</script>"
    async with stage.page() as page:
        pdf = await page.render(request(html=html))
        assert [w.what for w in pdf.warnings] == ["http:…"]


COLUMNS = "<table><tr>" + "".join(f"<td>column{number}" for number in range(40)) + "</table>"


@on_stage
async def test_content_wider_than_the_paper_is_a_warning_or_scaled(stage: Stage) -> None:
    async with stage.page() as page:
        (warning,) = (await page.render(request(html=COLUMNS))).warnings
        assert warning.kind is WarningKind.CLIPPED
        assert "px wide" in warning.why
        assert await page.scrub()
        fitted = await page.render(request(html=COLUMNS, fit_width=True))
        assert fitted.warnings == ()
        assert "column39" in text_of(fitted)
        assert await page.scrub()
        # The floor of the scale: text that nobody can read is no report.
        (warning,) = (await page.render(request(html=COLUMNS + "<div style='width:9000px'>x", fit_width=True))).warnings
        assert warning.kind is WarningKind.CLIPPED
        fault = await fault_of(page, request(html=COLUMNS, fail_on={WarningKind.CLIPPED}))
        assert fault is not None
        assert fault.kind is FaultKind.CONTENT_CLIPPED


# --- is it drawn to its end? --------------------------------------------------------------------------------

DRAWING = """
<p id=out>0<canvas></canvas><script>
const begun = performance.now();
(function draw() {
  const share = Math.min(1, (performance.now() - begun) / 700);
  out.textContent = Math.round(share * 100);
  if (share < 1) requestAnimationFrame(draw);
})();
</script>
"""
NEVER_ENDS = DRAWING.replace("if (share < 1) ", "")
PAINTS_SLOWLY = """
<p id=out>0<script>
let count = 0;
const timer = setInterval(() => { out.textContent = ++count; if (count == 8) clearInterval(timer) }, 100);
</script>
"""


@pytest.mark.parametrize("html", [DRAWING, NEVER_ENDS], ids=["ends", "never ends"])
@on_stage
async def test_a_drawing_is_waited_for(stage: Stage, html: str) -> None:
    async with stage.page() as page:
        with trio.fail_after(8):
            assert text_of(await page.render(request(html=html))) == "100"


@on_stage
async def test_stable_waits_until_nothing_changes(stage: Stage) -> None:
    async with stage.page() as page:
        assert text_of(await page.render(request(html=PAINTS_SLOWLY, ready=Ready("stable")))) == "8"


@pytest.mark.parametrize("asks", ["fetch('/data').then(draw)", "x.onload = draw; x.open('GET', '/data'); x.send()"])
@on_stage
async def test_stable_waits_for_what_scripts_ask_for(stage: Stage, asks: str) -> None:
    html = f"""<p>wait<script>const x = new XMLHttpRequest(), p = document.querySelector('p');
    const draw = () => {{ p.textContent = 'the report' }}; {asks}</script>"""
    slow = after(3 * STABLE_MS / 1000, Reply("1"))
    async with open_site({"/report": html, "/data": slow}) as site, stage.page() as page:
        assert text_of(await printed(page, site, ready=Ready("stable"))) == "the report"


@on_stage
async def test_what_a_script_asks_for_in_vain_is_still_uncaught(stage: Stage) -> None:
    async with stage.page() as page:
        pdf = await page.render(request(html="<p>x<script>fetch('http://a.test')</script>", ready=Ready("stable")))
        assert [w.what for w in pdf.warnings if w.kind == "scripts"] == ["TypeError: Failed to fetch"]


@on_stage
async def test_what_is_loaded_in_view_is_printed(stage: Stage) -> None:
    html = """<div style="height:9000px">top</div><p id=p>below<script>
    new IntersectionObserver(([entry]) => { if (entry.isIntersecting) p.textContent = 'came into view' }).observe(p)
    </script>"""
    async with stage.page() as page:
        assert "came into view" in text_of(await page.render(request(html=html)))


# --- what it is laid out for --------------------------------------------------------------------------------

A5 = {
    "paperWidth": 5.8268,
    "paperHeight": 8.2677,
    **{f"margin{side}": 0.3937 for side in ("Left", "Right", "Top", "Bottom")},
}
WIDTH = "<p id=p><script>p.textContent = `${innerWidth} ${document.documentElement.clientWidth}`</script>"


@on_stage
async def test_the_window_is_the_paper_within_its_margins(stage: Stage) -> None:
    async with stage.page() as page:
        assert text_of(await page.render(request(html=WIDTH, print_parameters=A5))) == "483 483"
        assert await page.scrub()
        assert text_of(await page.render(request(html=WIDTH, print_parameters=A5 | {"landscape": True}))) == "718 718"
        assert await page.scrub()
        assert text_of(await page.render(request(html=WIDTH, viewport=(1280, 720)))) == "1280 1280"


@on_stage
async def test_no_job_inherits_the_surroundings_of_another(stage: Stage) -> None:
    """The page of an inert job is kept, and the next job's settings are its own."""
    media = "<style>p { display: none } @media (prefers-reduced-motion) { .r { display: block } }"
    media += "@media screen { .s { display: block } }</style>"
    html = media + "<b>x</b><p class=r>reduced<p class=s>screen"
    async with stage.browser.page() as page:
        for _ in range(2):
            other = request(html=html, reduced_motion=False, media="screen", viewport=(400, 300))
            assert text_of(await page.render(other)) == "x screen"
            assert await page.scrub()
            assert text_of(await page.render(request(html=html))) == "x reduced"
            assert await page.scrub()


PAPERS: dict[str, tuple[dict[str, bool], str, tuple[int, int]]] = {
    "none set": ({}, "a3", (842, 1191)),
    "format": ({"fixed_paper": True}, "a3", (420, 595)),
    "landscape": ({"fixed_paper": True, "landscape": True}, "a3", (595, 420)),
    "portrait": ({"fixed_paper": True}, "landscape", (420, 595)),
}


@pytest.mark.parametrize("case", PAPERS)
@on_stage
async def test_which_paper_wins(stage: Stage, case: str) -> None:
    options, size, expected = PAPERS[case]
    landscape = {"landscape": options.get("landscape", False), "preferCSSPageSize": True}
    wanted: dict[str, Any] = {"fixed_paper": options.get("fixed_paper", False), "print_parameters": A5 | landscape}
    async with stage.page() as page:
        pdf = await page.render(request(html=f"<style>@page {{ size: {size} }}</style><p>x", **wanted))
        assert sizes(pdf) == [expected]


@on_stage
async def test_a_sheet_as_high_as_its_content(stage: Stage) -> None:
    async with stage.page() as page:
        wanted: dict[str, Any] = {"content_height": True, "print_parameters": A5}
        for high in (300, 4000):
            pdf = await page.render(request(html=f"<body style='margin:0'><div style='height:{high}px'>x", **wanted))
            ((width, height),) = sizes(pdf)
            assert width == 420
            assert height == pytest.approx((high / 96 + 2 * 0.3937) * 72, abs=3)
            assert await page.scrub()


def sizes(pdf: Pdf) -> list[tuple[int, int]]:
    assert pdf.data is not None
    boxes = [page.mediabox for page in PdfReader(BytesIO(pdf.data)).pages]
    return [(round(float(box.width)), round(float(box.height))) for box in boxes]

"""Pages that misbehave: each ends with the right fault (I14), and harms neither its slot nor other pages."""

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.print_templates import unloadable
from reportd.ports import Page, Ready
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import (
    Content,
    Reply,
    hang,
    hang_in_body,
    hang_up,
    of_size,
    open_site,
    redirect,
    stream_for_ever,
)

pytestmark = pytest.mark.browser

ATTACHMENT = Reply("a,b", content_type="text/csv", headers={"Content-Disposition": "attachment; filename=report.csv"})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


async def assert_usable_again(page: Page) -> None:
    """The slot is usable again, or reports that it is not; its next print is correct."""
    if await page.scrub():
        pdf = await page.render(request(html="<title>Next</title><p>next job</p>"))
        assert text_of(pdf) == "next job"


# --- the main address ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "detail"),
    [
        (Reply("<p>gone", status=404), FaultKind.PAGE_STATUS, "answered 404"),
        (Reply("", status=404), FaultKind.PAGE_STATUS, "answered 404"),
        (Reply("", status=401, headers={"WWW-Authenticate": "Basic"}), FaultKind.PAGE_STATUS, "answered 401"),
        (Reply("<p>oh", status=500), FaultKind.PAGE_UNAVAILABLE, "answered 500"),
        (Reply("", status=503), FaultKind.PAGE_UNAVAILABLE, "answered 503"),
        (Reply("<p>slower", status=429), FaultKind.PAGE_UNAVAILABLE, "answered 429"),
        (Reply(status=204), FaultKind.PAGE_STATUS, "without a page"),
        (ATTACHMENT, FaultKind.DOWNLOAD, "a download"),
        (redirect("/report"), FaultKind.UNREACHABLE, "ERR_TOO_MANY_REDIRECTS"),
        (redirect("file:///etc/passwd"), FaultKind.UNREACHABLE, "ERR_UNSAFE_REDIRECT"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Reply) else None,
)
@on_stage
async def test_an_answer_that_is_no_page(stage: Stage, answer: Reply, kind: FaultKind, detail: str) -> None:
    async with open_site({"/report": answer}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report?secret=1")))
        assert fault is not None
        assert fault.kind is kind
        assert detail in fault.detail
        assert "secret" not in fault.detail
        await assert_usable_again(page)


@on_stage
async def test_a_status_that_the_type_accepts_is_printed(stage: Stage) -> None:
    async with open_site({"/report": Reply("<p>partial", status=404)}) as site, stage.page() as page:
        pdf = await page.render(request(url=site.url("/report"), fail_on_status=((500, 599),)))
        assert text_of(pdf) == "partial"


@on_stage
async def test_a_failed_status_does_not_wait_for_what_its_page_will_never_show(stage: Stage) -> None:
    async with open_site({"/report": Reply("<p>oh", status=500)}) as site, stage.page() as page:
        wanted = request(url=site.url("/report"), ready=Ready("selector", "#done"))
        with trio.fail_after(5):
            fault = await fault_of(page, wanted)
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_UNAVAILABLE


@pytest.mark.parametrize("status", [414, 431])
@on_stage
async def test_a_server_that_says_that_the_url_is_too_long(stage: Stage, status: int) -> None:
    async with open_site({"/report": Reply("", status=status)}) as site, stage.page() as page:
        url = site.url(f"/report?params={'x' * 70_000}")
        fault = await fault_of(page, request(url=url))
        assert fault is not None
        assert fault.kind is FaultKind.URL_TOO_LONG
        assert fault.detail == f"{site.url('/report')} answered {status}; the URL has {len(url)} characters"


@pytest.mark.parametrize(("chars", "kind"), [(20, FaultKind.UNREACHABLE), (750_000, FaultKind.URL_TOO_LONG)])
@on_stage
async def test_a_server_that_hangs_up_is_blamed_unless_the_url_is_long(
    stage: Stage, chars: int, kind: FaultKind
) -> None:
    async with open_site({"/report": hang_up}) as site, stage.page() as page:
        url = site.url(f"/report?params={'x' * chars}")
        fault = await fault_of(page, request(url=url))
        assert fault is not None
        assert fault.kind is kind
        assert (f"the URL has {len(url)} characters, most servers take 8192" in fault.detail) is (chars > 8192)
        assert "xxx" not in fault.detail
        await assert_usable_again(page)


@on_stage
async def test_nobody_listens_there(stage: Stage) -> None:
    async with open_site() as site:
        url = site.url("/report")
    async with stage.page() as page:
        fault = await fault_of(page, request(url=url))
        assert fault is not None
        assert fault.kind is FaultKind.UNREACHABLE
        assert "127.0.0.1: Connection refused" in fault.detail
        await assert_usable_again(page)


@pytest.mark.parametrize(
    ("content", "doing"),
    [
        (hang, "to answer"),
        (hang_in_body, "the page to load"),
        ("<script>for (;;);</script>", "the page to load"),
        ("<script>onload = () => { for (;;); }</script>", "the page to load"),
        ("<img src=/hangs>", "the page to load"),
        ("<iframe src=/loops></iframe>", "the page to load"),
        ("<p>never ready", "until the page is ready (selector #done)"),
    ],
)
@on_stage
async def test_a_page_that_hangs_is_taken_away_within_seconds(stage: Stage, content: Content, doing: str) -> None:
    pages = {"/report": content, "/hangs": hang, "/loops": "<script>for (;;);</script>"}
    async with open_site(pages) as site, stage.page() as other:
        wanted = request(url=site.url("/report"), ready=Ready("selector", "#done"))
        async with stage.page() as page:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(page.render, wanted)
                while doing not in page.activity:
                    await trio.sleep(0.01)
                await trio.sleep(0.2)
                assert doing in page.activity
                nursery.cancel_scope.cancel()
            left = trio.current_time()
        assert trio.current_time() - left < 3
        await assert_usable_again(other)
    assert not stage.browser.died.is_set()


@pytest.mark.parametrize(
    "script", ["for (;;);", "onpagehide = () => { for (;;); }", "onbeforeunload = (event) => event.preventDefault()"]
)
@on_stage
async def test_a_page_that_refuses_to_be_left_is_taken_away(stage: Stage, script: str) -> None:
    async with stage.page() as page:
        with trio.move_on_after(0.5):
            await page.render(request(html=f"<p>x<script>{script}</script>"))
        assert await page.scrub()
        assert await fault_of(page, request(html="<p>next")) is None


# --- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [of_size(300_000_000), stream_for_ever], ids=["300 MB", "endless"])
@on_stage
async def test_a_page_that_loads_too_much(stage: Stage, content: Content) -> None:
    async with open_site({"/report": content}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report"), max_page_bytes=5_000_000))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_TOO_LARGE
        assert "5000000 bytes" in fault.detail


@on_stage
async def test_what_a_page_fetches_counts_as_well(stage: Stage) -> None:
    pages: dict[str, Content] = {"/report": "<p>small <script src=/more></script>", "/more": stream_for_ever}
    async with open_site(pages) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report"), max_page_bytes=5_000_000))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_TOO_LARGE


@on_stage
async def test_a_huge_document_is_printed(stage: Stage) -> None:
    rows = "".join(f"<p>row {n}</p>" for n in range(20_000))
    async with stage.page() as page:
        pdf = await page.render(request(html=rows, print_parameters={"pageRanges": "1", "generateTaggedPDF": False}))
        assert text_of(pdf).startswith("row 0")


@pytest.mark.parametrize(
    "script",
    [
        "for (let all = [];;) all.push(new Array(1e6).fill(Math.random()))",
        "let text = 'x'; for (;;) text = [text + Math.random(), text, text].join('')",
    ],
)
@on_stage
async def test_a_page_that_allocates_until_it_crashes(stage: Stage, script: str) -> None:
    async with stage.page() as other, stage.page() as page:
        fault = await fault_of(page, request(html=f"<script>{script}</script>", fail_on={WarningKind.SCRIPTS}))
        assert fault is not None
        assert fault.kind in (FaultKind.PAGE_CRASHED, FaultKind.SCRIPT_ERROR)
        await assert_usable_again(other)


# --- headers and footers ------------------------------------------------------------------------------------

INLINE_HEADER = """
<link rel="stylesheet" href="data:text/css,b{text-transform:uppercase}">
<style>i { background: url(data:image/png;base64,iVBORw0KGgo=) } @font-face { font-family: Own; src: url(data:,) }
</style>
<b style="font: 10px Own, sans-serif">ours</b>
"""


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (INLINE_HEADER, True),
        (INLINE_HEADER.replace("data:text/css,b{text-transform:uppercase}", "http://127.0.0.1:9/a.css"), False),
    ],
)
@on_stage
async def test_the_header_templates_that_are_refused_are_those_that_would_crash(
    stage: Stage, header: str, *, accepted: bool
) -> None:
    parameters = {"displayHeaderFooter": True, "headerTemplate": header, "footerTemplate": " ", "marginTop": 1}
    async with stage.page() as page:
        wanted = request(html="<p>body", print_parameters=parameters)
        if accepted:
            assert "OURS" in text_of(await page.render(wanted))
        else:
            fault = await fault_of(page, wanted)
            assert fault is not None
            assert fault.kind is FaultKind.PAGE_CRASHED
    assert (unloadable(header) == "") is accepted


# --- dialogs and windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "alert('A'); document.body.append('after')",
        "if (!confirm('C')) document.body.append('after')",
        "if (prompt('P') === null) document.body.append('after')",
        "for (let n = 0; n < 30; n++) alert(n); document.body.append('after')",
        "onbeforeunload = () => 'stay'; document.body.append('after')",
        "print(); document.body.append('after')",
        "onload = () => { print(); document.body.append('after') }",
        "onafterprint = () => { location = '/elsewhere' }; document.body.append('after')",
    ],
)
@on_stage
async def test_dialogs_are_dismissed(stage: Stage, script: str) -> None:
    pages: dict[str, Content] = {"/report": f"<body><script>{script}</script>", "/elsewhere": "elsewhere"}
    async with open_site(pages) as site, stage.page() as page:
        for wanted in (request(html=str(pages["/report"])), request(url=site.url("/report"))):
            pdf = await page.render(wanted)
            assert text_of(pdf) == "after"
            assert await page.scrub()


@pytest.mark.parametrize(
    "page",
    [
        "<script>window.open('/other'); window.open('/other', 'named')</script>",
        "<script>window.open('/other', '_blank', 'noopener')</script>",
        "<a id=link href=/other target=_blank>x</a><script>link.click()</script>",
        "<form id=form action=/other target=_blank></form><script>form.submit()</script>",
    ],
)
@on_stage
async def test_other_windows_do_not_open(stage: Stage, page: str) -> None:
    async with open_site({"/report": page + "<p>report", "/other": "<p>other"}) as site, stage.page() as ours:
        pdf = await ours.render(request(url=site.url("/report"), delay_seconds=0.2))
        assert "report" in text_of(pdf)
        assert site.asked("/other") == []
        await assert_usable_again(ours)


@on_stage
async def test_a_page_that_closes_itself(stage: Stage) -> None:
    async with stage.browser.page() as page:
        fault = await fault_of(page, request(html="<script>window.close()</script>", delay_seconds=2))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_CLOSED
        assert not await page.scrub()
        again = await fault_of(page, request(html="<p>again"))
        assert again is not None
        assert again.kind is FaultKind.BROWSER_UNAVAILABLE


# --- leaving ------------------------------------------------------------------------------------------------

AWAY = [
    "<script>location = '/other'</script>",
    "<script>onload = () => { location = '/other' }</script>",
    "<script>setTimeout(() => location.replace('/other'), 50)</script>",
    "<meta http-equiv=refresh content='0; url=/other'>",
    "<form id=form action=/other></form><script>onload = () => form.submit()</script>",
    "<form id=form method=post action=/other></form><script>form.submit()</script>",
    "<a id=link href=/other>x</a><script>onload = () => link.click()</script>",
    "<script>onload = () => history.back()</script>",
    "<script>onload = () => { location = 'about:blank' }</script>",
    "<script>onload = () => location.reload()</script>",
    "<script>onload = () => { location = 'http://10.1.2.3/' }</script>",
    "<iframe srcdoc=\"<script>top.location = '/other'</script>\"></iframe>",
]


@pytest.mark.parametrize("page", AWAY)
@on_stage
async def test_a_page_that_leads_away(stage: Stage, page: str) -> None:
    async with open_site({"/report": page, "/other": "<p>other"}) as site, stage.page() as ours:
        fault = await fault_of(ours, request(url=site.url("/report"), delay_seconds=2))
        assert fault is not None
        assert fault.kind is FaultKind.NAVIGATED_AWAY
        await assert_usable_again(ours)


@pytest.mark.parametrize("page", ["<script>location = '%s'</script>", "<meta http-equiv=refresh content='0;url=%s'>"])
@on_stage
async def test_a_template_that_leads_away(stage: Stage, page: str) -> None:
    async with open_site({"/other": "<p>other"}) as site, stage.page() as ours:
        wanted = request(html=page % site.url("/other"), hosts=("127.0.0.1",), delay_seconds=2)
        fault = await fault_of(ours, wanted)
        assert fault is not None
        assert fault.kind is FaultKind.NAVIGATED_AWAY
        await assert_usable_again(ours)


@on_stage
async def test_a_page_that_changes_its_address_only_stays(stage: Stage) -> None:
    script = "history.pushState(1, '', '/report/2'); location.hash = 'part'; history.replaceState(2, '', '?x')"
    async with open_site({"/report": f"<script>{script}</script><p>here"}) as site, stage.page() as page:
        pdf = await page.render(request(url=site.url("/report")))
        assert text_of(pdf) == "here"
        assert await page.scrub()


@pytest.mark.parametrize(
    "page",
    [
        "<script>location = '/file'</script>",
        "<a id=link href=/file download>x</a><script>onload = () => link.click()</script>",
        "<a id=link href='data:text/plain,x' download=x.txt>x</a><script>onload = () => link.click()</script>",
        "<iframe src=/file></iframe>",
        "<iframe srcdoc=\"<script>location = 'http://{host}/file'</script>\"></iframe>",
    ],
)
@on_stage
async def test_a_page_that_starts_a_download(stage: Stage, page: str) -> None:
    async with open_site({"/file": ATTACHMENT}) as site, stage.page() as ours:
        site.pages["/report"] = page.replace("{host}", f"{site.host}:{site.port}")
        fault = await fault_of(ours, request(url=site.url("/report"), delay_seconds=2))
        assert fault is not None
        assert fault.kind is FaultKind.DOWNLOAD
        await assert_usable_again(ours)
    assert [path for path in stage.data_dir.rglob("*report*csv*") if path.is_file()] == []


# --- what a page needs --------------------------------------------------------------------------------------

FLAWED: list[tuple[str, str]] = [
    ("<img src=/missing.png>", "/missing.png answered 404"),
    ("<script src=/missing.js></script>", "/missing.js answered 404"),
    ("<link rel=stylesheet href=/missing.css>", "/missing.css answered 404"),
    ("<script>fetch('/missing').catch(() => 0)</script>", "/missing answered 404"),
    ("<img src=http://127.0.0.1:1/closed.png>", "could not be loaded"),
    ("<iframe src=/missing></iframe>", "/missing answered 404"),
    ("<iframe srcdoc='<img src=/missing.png>'></iframe>", "/missing.png answered 404"),
]


@pytest.mark.parametrize(("page", "detail"), FLAWED)
@on_stage
async def test_a_missing_part_fails_only_where_that_is_asked_for(stage: Stage, page: str, detail: str) -> None:
    async with open_site({"/report": page + "<p>report"}) as site, stage.page() as ours:
        wanted: dict[str, Any] = {"url": site.url("/report"), "delay_seconds": 0.1}
        assert await fault_of(ours, request(**wanted)) is None
        assert await ours.scrub()
        fault = await fault_of(ours, request(**wanted, fail_on={WarningKind.RESOURCES}))
        assert fault is not None
        assert fault.kind is FaultKind.RESOURCE_FAILED
        assert detail in fault.detail
        await assert_usable_again(ours)
        assert await ours.scrub()
        assert await fault_of(ours, request(**wanted)) is None


@pytest.mark.parametrize(
    ("page", "detail"),
    [
        ("<script>nothing.here()</script>", "ReferenceError: nothing is not defined"),
        ("<script>throw 'a text'</script>", "a text"),
        ("<script>throw {}</script>", "Object"),
        ("<script>Promise.reject(new Error('late'))</script>", "Error: late"),
        ("<script>onload = () => { throw new TypeError('loaded') }</script>", "TypeError: loaded"),
        ("<iframe srcdoc='<script>throw new Error(1)</script>'></iframe>", "Error: 1"),
        ("<script>this is no script</script>", "SyntaxError"),
    ],
)
@on_stage
async def test_a_script_error_fails_only_where_that_is_asked_for(stage: Stage, page: str, detail: str) -> None:
    async with stage.page() as ours:
        wanted: dict[str, Any] = {"html": page + "<p>report", "delay_seconds": 0.1}
        assert await fault_of(ours, request(**wanted)) is None
        assert await ours.scrub()
        fault = await fault_of(ours, request(**wanted, fail_on={WarningKind.SCRIPTS}))
        assert fault is not None
        assert fault.kind is FaultKind.SCRIPT_ERROR
        assert detail in fault.detail
        await assert_usable_again(ours)
        assert await ours.scrub()
        assert await fault_of(ours, request(**wanted)) is None


@on_stage
async def test_a_name_that_is_not_found(stage: Stage) -> None:
    async with stage.page() as page:
        fault = await fault_of(page, request(url="http://report.invalid/"))
        assert fault is not None
        assert fault.kind is FaultKind.UNREACHABLE
        assert "the name was not found" in fault.detail


@on_stage
async def test_a_redirect_to_a_host_that_is_not_allowed(stage: Stage) -> None:
    async with open_site() as third, open_site({"/report": redirect(third.url("/"))}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/report")))
        assert fault is not None
        assert fault.kind is FaultKind.HOST_NOT_ALLOWED
        assert f"127.0.0.1:{third.port}" in fault.detail
        assert third.connections == 0


@pytest.mark.parametrize("path", ["/a%20b/%E6%8A%A5", "/x?q=%3Cscript%3E&z='\"", "/%00", "/report#<b>", "/报告"])
@on_stage
async def test_addresses_and_titles_of_odd_characters(stage: Stage, path: str) -> None:
    title = "&lt;/title> \u202e 报告 \U0001f4c4 &#0; \"'"

    async def answer(_: Any, stream: trio.SocketStream) -> None:
        await stream.send_all(Reply(f"<title>{title}</title><p>odd").encoded())

    async with open_site() as site, stage.page() as page:
        site.otherwise = answer
        pdf = await page.render(request(url=site.url(path)))
        assert text_of(pdf) == "odd"
        await assert_usable_again(page)


# --- many at once -------------------------------------------------------------------------------------------


@on_stage
async def test_misbehaving_pages_do_not_touch_their_neighbours(stage: Stage) -> None:
    bad = [
        "<script>for (;;);</script>",
        "<script>window.close()</script>",
        "<script>location = 'about:blank'</script>",
        "<script>alert(1)</script><script>for (let a = [];;) a.push(new Array(1e6).fill(Math.random()))</script>",
    ]

    async def misbehave(html: str) -> None:
        async with stage.page() as page:
            with trio.move_on_after(2):
                await fault_of(page, request(html=html, delay_seconds=1))

    async with open_site({"/report": "<p>good"}) as site, stage.page() as page, trio.open_nursery() as nursery:
        for html in bad:
            nursery.start_soon(misbehave, html)
        for _ in range(20):
            pdf = await page.render(request(url=site.url("/report")))
            assert text_of(pdf) == "good"
            assert await page.scrub()
    assert not stage.browser.died.is_set()


# --- what a page says ---------------------------------------------------------------------------------------

LONG_WORDS = {
    "status": "performance.getEntriesByType = () => [{responseStatus: 'x'.repeat(2e8)}]",
    "many": "performance.getEntriesByType = () => [{responseStatus: Array(1e6).fill([])}]",
    "exception": "throw new Error('x'.repeat(1e8))",
    "half": "throw new Error('\\ud800')",
}


@pytest.mark.parametrize("what", LONG_WORDS)
@on_stage
async def test_what_a_page_says_holds_up_nobody(stage: Stage, what: str) -> None:
    """However long it is, the event loop and the other pages of the browser go on."""
    pages = {"/report": f"<p>report<script>{LONG_WORDS[what]}</script>"}
    async with open_site(pages) as site, stage.page() as page, stage.page() as other:
        await fault_of(page, request(url=site.url("/report"), fail_on={WarningKind.SCRIPTS}))
        assert await fault_of(other, request(html="<p>other")) is None
        assert await page.scrub()
        assert await fault_of(page, request(html="<p>next")) is None

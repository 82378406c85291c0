"""``ready = "page"``: the page itself says that it is ready, that it has failed, and how far it is."""

from collections.abc import Iterator

import pytest
import trio

from reportd.adapters.chromium.page.window import BINDING, PAUSE_MS
from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.heard import NO_REASON
from reportd.ports import Page, Ready
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Content, open_site, redirect

pytestmark = pytest.mark.browser

SAYS = Ready("page")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def page_of(script: str, head: str = "") -> str:
    return f"<!doctype html><script>{head}</script><p id=out>early</p><script>{script}</script>"


LATE = "out.textContent = 'late'; reportd.ready()"
READY = {
    "late": page_of(f"setTimeout(() => {{ {LATE} }}, 150)"),
    "before the page is loaded": page_of(LATE),
    "twice": page_of(f"{LATE}; reportd.ready()"),
    "as a function": page_of(f"const {{ready}} = reportd; setTimeout(() => {{ {LATE}; ready() }}, 50)"),
    "before its other scripts run": page_of("", "reportd.ready(); onload = () => { out.textContent = 'late' }"),
    "in a handler": page_of("", "addEventListener('load', () => { out.textContent = 'late'; reportd.ready() })"),
    "by its frame": page_of(
        "const frame = document.body.appendChild(document.createElement('iframe'));"
        'frame.srcdoc = \'<script>parent.out.textContent = typeof reportd === "undefined" ? "late" : "own";'
        "parent.reportd.ready()<\\/script>'"
    ),
}


@pytest.mark.parametrize("html", READY.values(), ids=READY)
@on_stage
async def test_the_page_is_printed_once_it_has_said_that_it_is_ready(stage: Stage, html: str) -> None:
    async with open_site({"/report": html}) as site, stage.page() as page:
        for wanted in (request(html=html, ready=SAYS), request(url=site.url("/report"), ready=SAYS)):
            assert text_of(await page.render(wanted)) == "late"
            assert await page.scrub()


@on_stage
async def test_each_document_says_for_itself_that_it_is_ready(stage: Stage) -> None:
    html = page_of(
        "if (sessionStorage.again) setTimeout(() => { out.textContent = 'late'; reportd.ready() }, 200);"
        "else { sessionStorage.again = 1; reportd.ready(); location.reload() }"
    )
    async with open_site({"/report": html}) as site, stage.page() as page:
        assert text_of(await page.render(request(url=site.url("/report"), ready=SAYS))) == "late"


FAILS = [
    ("reportd.fail('no orders for you')", "no orders for you"),
    ("reportd.fail(new Error('the API answered 500'))", "the API answered 500"),
    ("reportd.fail()", NO_REASON),
    ("reportd.fail({toString() { throw 1 }})", NO_REASON),
    ("reportd.fail(Symbol('x'))", "Symbol(x)"),
    ("reportd.fail(404)", "404"),
    ("reportd.fail('a\\nb\\u2028c' + '<script>')", "a b c<script>"),
    ("reportd.fail('first'); reportd.fail('second')", "first"),
    ("reportd.fail('x'.repeat(2 ** 26))", "x" * 299 + "…"),
    ("String.prototype.slice = () => 'y'.repeat(2 ** 26); reportd.fail('x'.repeat(2 ** 26))", "x" * 299 + "…"),
    ("for (let n = 0; n < 1e6; n++) reportd.fail('many')", "many"),
    ("Promise.reject(new Error('unhandled')).catch(reportd.fail)", "unhandled"),
]


@pytest.mark.parametrize(("script", "detail"), FAILS)
@on_stage
async def test_the_reason_that_the_page_gives_is_the_error(stage: Stage, script: str, detail: str) -> None:
    async with stage.page() as page:
        fault = await fault_of(page, request(html=page_of(script), ready=SAYS))
        assert fault is not None
        assert (fault.kind, fault.detail) == (FaultKind.PAGE_FAILED, detail)


@on_stage
async def test_a_page_that_was_ready_may_fail_until_it_is_printed(stage: Stage) -> None:
    html = page_of("reportd.ready(); setTimeout(() => reportd.fail('too late to tell'), 200)")

    async def to_print() -> None:
        await trio.sleep(1.0)

    async with stage.page() as page:
        with pytest.raises(FaultError, match="page_failed: too late to tell"):
            await page.render(request(html=html, ready=SAYS), to_print)
        await page.scrub()
        assert text_of(await page.render(request(html=html, ready=SAYS))) == "early"


async def told(page: Page, script: str, seconds: float = 1.0) -> list[float]:
    """Return what arrives of what the page says while it is waited for."""
    values: list[float] = []
    html = page_of(script + f"; setTimeout(reportd.ready, {seconds * 1000})")
    await page.render(request(html=html, ready=SAYS), on_progress=values.append)
    return values


@on_stage
async def test_the_first_and_the_last_progress_arrive_and_not_too_many_between(stage: Stage) -> None:
    async with stage.page() as page:
        assert await told(page, "reportd.progress(0.4)", 0.1) == [0.4]
        await page.scrub()
        assert await told(page, "for (let n = 0; n <= 1e7; n++) reportd.progress(n / 1e7)") == [0, 1]
        await page.scrub()
        values = await told(page, "let n = 0; const timer = setInterval(() => reportd.progress(++n / 1000), 1)", 2.0)
        assert len(values) <= 2000 / PAUSE_MS + 2
        assert values == sorted(values)
        await page.scrub()
        assert await told(page, "reportd.progress(0.9); setTimeout(() => reportd.progress(0.1), 300)") == [0.9, 0.1]


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "'0.5'", "null", "", "{valueOf() { return 0.5 }}", "5n"]
)
@on_stage
async def test_what_is_no_number_is_no_progress(stage: Stage, value: str) -> None:
    async with stage.page() as page:
        assert await told(page, f"reportd.progress({value})", 0.1) == []


@on_stage
async def test_progress_beyond_its_ends_is_at_its_ends(stage: Stage) -> None:
    async with stage.page() as page:
        assert await told(page, "reportd.progress(-4); setTimeout(() => reportd.progress(1e300), 300)") == [0, 1]


@on_stage
async def test_a_page_that_never_says_so_times_out_with_what_it_said_last(stage: Stage) -> None:
    async with stage.page() as page:
        for said, last in (("reportd.progress(0.4)", "0.4"), ("", "none")):
            with trio.move_on_after(0.5) as deadline:
                await page.render(request(html=page_of(said), ready=SAYS))
            assert deadline.cancelled_caught
            assert page.activity == "waiting until the page calls reportd.ready()"
            assert await page.pending() == f"; last progress: {last}"
            await page.scrub()


REACHES = page_of(
    "const frame = document.body.appendChild(document.createElement('iframe'));"
    "const realms = [window, frame.contentWindow];"
    f"out.textContent = realms.map((each) => typeof each['{BINDING}'] + typeof each.reportd).join();"
    "new Worker(URL.createObjectURL(new Blob([`postMessage(typeof self['BINDING'] + typeof self.reportd)`])))"
    ".onmessage = ({data}) => { out.textContent += ',' + data; reportd.ready() }".replace("BINDING", BINDING)
)


@on_stage
async def test_a_page_reaches_the_daemon_only_by_the_functions_and_only_from_its_own_window(stage: Stage) -> None:
    async with open_site({"/report": REACHES}) as site, stage.page() as page:
        pdf = await page.render(request(url=site.url("/report"), ready=SAYS))
        assert text_of(pdf) == "undefinedobject,undefinedundefined,undefinedundefined"


@on_stage
async def test_other_origins_have_no_functions(stage: Stage) -> None:
    says = "<script>document.write(typeof reportd); parent.postMessage('loaded', '*')</script>"
    async with open_site({"/frame": says, "/moved": says}, host="127.0.0.2") as other:
        shows = page_of(
            f"onmessage = () => reportd.ready(); document.body.innerHTML = '<iframe src={other.url('/frame')}>'"
        )
        pages: dict[str, Content] = {"/report": shows, "/away": redirect(other.url("/moved"))}
        async with open_site(pages) as site, stage.page() as page:
            hosts = ("127.0.0.1", "127.0.0.2")
            pdf = await page.render(request(url=site.url("/report"), ready=SAYS, hosts=hosts))
            assert text_of(pdf) == "undefined"
            await page.scrub()
            wanted = request(url=site.url("/away"), ready=SAYS, hosts=hosts, allow_redirects=True)
            fault = await fault_of(page, wanted)
            assert fault is not None
            assert fault.kind is FaultKind.SCRIPT_ERROR
            assert "window.reportd is only in a page that is at the origin" in fault.detail


@on_stage
async def test_without_it_a_page_has_no_functions(stage: Stage) -> None:
    async with stage.page() as page:
        assert text_of(await page.render(request(html=page_of("out.textContent = typeof reportd")))) == "undefined"

"""What a page is told of its job without its URL: by POST, and by a value in its window (I10, I13)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.pages.post import Body, form_body, json_body
from reportd.ports import Ready, RenderRequest, TokenPlace
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Content, Reply, Request, Site, open_site, redirect

pytestmark = pytest.mark.browser

HOSTS = ("127.0.0.1", "127.0.0.2")
DATA = {"rows": [{"name": "é </script>", "n": 1}], "title": "a=b&c", "__proto__": {"own": True}}
TEXT = orjson.dumps(DATA).decode()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def posting(site: Site, path: str = "/report", body: Body | None = None, **options: Any) -> RenderRequest:
    body = json_body(TEXT) if body is None else body
    return replace(request(url=site.url(path), hosts=HOSTS, **options), body=body)


def sent(site: Site, path: str = "/report") -> list[tuple[str, bytes]]:
    return [(each.method, each.body) for each in site.asked(path)]


# --- POST ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [json_body(TEXT), form_body(TEXT), json_body("{}")], ids=["json", "form", "empty"])
@on_stage
async def test_the_main_request_has_the_parameters_as_its_body(stage: Stage, body: Body) -> None:
    parts = "<p>made<img src=/part.png><iframe src=/report></iframe><script>fetch('/report')</script>"
    async with open_site({"/report": parts}) as site, stage.page() as page:
        headers = {"X-Own": "own", "Content-Type": "text/plain"}
        wanted = posting(site, "/report?task=7", body, headers=headers, token=TokenPlace(header="Authorization"))
        assert text_of(await page.render(replace(wanted, token="abc"))).startswith("made")
        main, *others = site.asked("/report")
        assert (main.method, main.target, main.body) == ("POST", "/report?task=7", body.content)
        assert (main.headers["content-type"], main.headers["x-own"]) == (body.media_type, "own")
        assert main.headers["authorization"] == "Bearer abc"
        assert int(main.headers["content-length"]) == len(body.content)
        others += site.asked("/part.png")
        assert len(others) >= 3
        assert {(each.method, each.body) for each in others} == {("GET", b"")}


@on_stage
async def test_a_megabyte_is_sent_fast_and_holds_no_loop(stage: Stage) -> None:
    text = orjson.dumps({"rows": [{"n": n, "text": '"\\"</script>' * 4} for n in range(12500)]}).decode()
    assert 900 * 1024 < len(text) < 2**20
    async with open_site({"/report": "<p>made"}) as site, stage.page() as page:
        await page.render(request(url=site.url("/report")))
        await page.scrub()
        begun = trio.current_time()
        wanted = replace(posting(site, body=json_body(text), inject="REPORT"), parameters=text)
        assert text_of(await page.render(wanted)) == "made"
        assert trio.current_time() - begun < 2.0
        assert site.asked("/report")[-1].body == text.encode()


MOVES = {
    "a reload": "if (!sessionStorage.again) { sessionStorage.again = 1; location.reload() }",
    "another query": "if (!location.search) location.search = '?again'",
}


@pytest.mark.parametrize("script", MOVES.values(), ids=MOVES)
@on_stage
async def test_a_page_that_asks_for_itself_again_gets_the_parameters_again(stage: Stage, script: str) -> None:
    async with open_site({"/report": f"<p>made<script>{script}</script>"}) as site, stage.page() as page:
        assert text_of(await page.render(posting(site))) == "made"
        assert sent(site) == [("POST", TEXT.encode())] * 2


@on_stage
async def test_a_page_that_refreshes_itself_gets_the_parameters_each_time(stage: Stage) -> None:
    left = 3

    async def page_of(_: Request, stream: trio.SocketStream) -> None:
        nonlocal left
        left -= 1
        refresh = "<meta http-equiv=refresh content=0>" if left else ""
        await stream.send_all(Reply(f"{refresh}<p>left {left}").encoded())

    async with open_site({"/report": page_of}) as site, stage.page() as page:
        assert text_of(await page.render(posting(site))) == "left 0"
        assert sent(site) == [("POST", TEXT.encode())] * 3


@pytest.mark.parametrize("status", [307, 308])
@on_stage
async def test_a_redirect_that_repeats_the_post_is_followed_within_the_origin(stage: Stage, status: int) -> None:
    pages: dict[str, Content] = {"/report": redirect("/moved", status), "/moved": "<p>made"}
    async with open_site(pages) as site, stage.page() as page:
        assert text_of(await page.render(posting(site, allow_redirects=("/moved",)))) == "made"
        assert sent(site, "/moved") == [("POST", TEXT.encode())]


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("headers", [{}, {"X-Own": "own"}])
@on_stage
async def test_a_redirect_to_another_origin_takes_no_parameters_with_it(
    stage: Stage, status: int, *, allowed: bool, headers: dict[str, str]
) -> None:
    async with open_site({"/report": "<p>stolen"}, host="127.0.0.2") as other:
        pages: dict[str, Content] = {
            "/report": redirect(other.url("/report?x=secret"), status),
            "/there": redirect("/back", status),
            "/back": redirect(other.url("/report"), status),
        }
        async with open_site(pages) as site, stage.page() as page:
            for path in ("/report", "/there"):
                fault = await fault_of(page, posting(site, path, allow_redirects=allowed, headers=headers))
                assert fault is not None
                assert fault.kind is FaultKind.REDIRECTED
                said = f"redirects its POST to {other.url('/report')}, which is another origin"
                assert fault.detail == f"{site.url(path)} {said}; the parameters are not sent there"
                await page.scrub()
            assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303])
@on_stage
async def test_any_other_redirect_makes_a_get_without_the_parameters(stage: Stage, status: int) -> None:
    async with open_site({"/report": "<p>made"}, host="127.0.0.2") as other:
        pages: dict[str, Content] = {
            "/report": redirect(other.url("/report"), status),
            "/self": redirect("/self?made=7", status),
        }
        async with open_site(pages) as site, stage.page() as page:
            assert text_of(await page.render(posting(site, allow_redirects=True))) == "made"
            assert sent(other) == [("GET", b"")]
            assert "content-type" not in other.asked("/report")[0].headers
            await page.scrub()
            made = Reply("<p>made")

            async def answer(asked: Request, stream: trio.SocketStream) -> None:
                reply = made if asked.query else redirect("/self?made=7", status)
                await stream.send_all(reply.encoded(asked.method))

            site.pages["/self"] = answer
            assert text_of(await page.render(posting(site, "/self"))) == "made"
            assert sent(site, "/self") == [("POST", TEXT.encode()), ("GET", b"")]
            assert "content-type" not in site.asked("/self")[1].headers


@pytest.mark.parametrize("status", [301, 302, 303])
@on_stage
async def test_a_redirect_that_would_print_the_page_without_its_parameters_has_to_be_allowed(
    stage: Stage, status: int
) -> None:
    async with open_site() as moved, open_site() as site, stage.page() as page:
        moved.pages["/report"] = site.pages["/self/"] = "<p>empty"
        site.pages |= {"/self": redirect("/self/", status), "/report": redirect(moved.url("/report"), status)}
        for path, to in (("/self", site.url("/self/")), ("/report", moved.url("/report"))):
            fault = await fault_of(page, posting(site, path))
            assert fault is not None
            assert fault.kind is FaultKind.REDIRECTED
            assert f"redirects its POST to {to}, by a status that drops the parameters" in fault.detail
            await page.scrub()
            for allowed in (True, (path,)):
                assert text_of(await page.render(posting(site, path, allow_redirects=allowed))) == "empty"
                await page.scrub()


@pytest.mark.parametrize("kind", ["load", "page"])
@on_stage
async def test_a_value_that_the_page_does_not_get_after_a_redirect_fails_the_job(stage: Stage, kind: str) -> None:
    async with open_site({"/report": "<p>empty"}) as moved, open_site() as site, stage.page() as page:
        site.pages["/report"] = redirect(moved.url("/report"))
        wanted = request(url=site.url("/report"), hosts=HOSTS, inject="REPORT", ready=Ready(kind))
        fault = await fault_of(page, wanted)
        assert fault is not None
        assert fault.kind is FaultKind.REDIRECTED
        assert f"to {moved.url('/report')}, another origin, which does not get its REPORT" in fault.detail


@on_stage
async def test_a_page_that_moves_to_another_origin_takes_nothing_with_it(stage: Stage) -> None:
    async with open_site({"/report": "<p>made"}, host="127.0.0.2") as other:
        page_html = f"<script>location.replace('{other.url('/report')}')</script>"
        async with open_site({"/report": page_html}) as site, stage.page() as page:
            assert text_of(await page.render(posting(site, allow_redirects=True))) == "made"
            assert sent(other) == [("GET", b"")]


@on_stage
async def test_parameters_that_are_too_large_for_the_server_are_the_fault_of_the_message(stage: Stage) -> None:
    async with open_site({"/report": Reply("<p>too large", status=413)}) as site, stage.page() as page:
        fault = await fault_of(page, posting(site))
        assert fault is not None
        assert fault.kind is FaultKind.BODY_TOO_LARGE
        said = f"answered 413; the parameters have {len(TEXT.encode())} bytes"
        assert fault.detail == f"{site.url('/report')} {said}"
        await page.scrub()
        fault = await fault_of(page, request(url=site.url("/report")))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_STATUS


@on_stage
async def test_the_next_job_of_the_page_posts_nothing(stage: Stage) -> None:
    async with open_site({"/report": "<p>made"}) as site, stage.page() as page:
        await page.render(posting(site))
        assert await page.scrub()
        await page.render(request(url=site.url("/report")))
        assert sent(site) == [("POST", TEXT.encode()), ("GET", b"")]


# --- a value in the window ----------------------------------------------------------------------------------


def injecting(parameters: str = TEXT, **given: Any) -> RenderRequest:
    return replace(request(inject="REPORT", ready=Ready("expression", "window.done"), **given), parameters=parameters)


SHOWS = "<script>const early = window.REPORT</script><p id=out></p><script>%s; window.done = true</script>"

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\u2028\u2029\ufeff\u0085",
    "\\\"'`${1}\n\r\t\b\f\x01\x7f",
    "\ufffe\uffff😀",
    "OWN NAME BINDING %s %d {}",
    "]]>",
]


@pytest.mark.parametrize("way", ["url", "template"])
@on_stage
async def test_texts_arrive_exactly(stage: Stage, way: str) -> None:
    deep: Any = "deep"
    for _ in range(60):
        deep = {"in": [deep]}
    data = {"texts": HOSTILE, "__proto__": {"x": 1}, "deep": deep, **dict.fromkeys(HOSTILE, 0)}
    points = json.dumps([[ord(c) for c in text] for text in HOSTILE], separators=(",", ":"))
    checks = f"""
      const points = (text) => Array.from(text, (c) => c.codePointAt(0));
      const {{parameters}} = REPORT;
      out.textContent = JSON.stringify(parameters.texts.map(points)) === '{points}' &&
        Object.keys(parameters).includes("__proto__") && parameters.x === undefined && ({{}}).x === undefined &&
        early === REPORT && REPORT.locale === "de-DE" && REPORT.timezone === null &&
        REPORT.taskId === "{request().task_id}" ? "same" : JSON.stringify(REPORT);
      let depth = 0;
      for (let each = parameters.deep; each.in; each = each.in[0]) depth += 1;
      out.textContent += depth;
    """
    html = SHOWS % checks
    async with open_site({"/report": html}) as site, stage.page() as page:
        where = {"url": site.url("/report")} if way == "url" else {"html": html}
        wanted = injecting(orjson.dumps(data).decode() if way == "url" else json.dumps(data), locale="de-DE", **where)
        assert text_of(await page.render(wanted)) == "same60"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"])
@on_stage
async def test_it_is_there_however_the_host_is_written(stage: Stage, host: str) -> None:
    html = SHOWS % "out.textContent = REPORT.parameters.title"
    async with open_site({"/report": html}) as site, stage.page() as page:
        wanted = injecting(url=site.url("/report", host))
        assert text_of(await page.render(wanted)) == DATA["title"]


@pytest.mark.parametrize("name", ["DOWNLOAD", "NAME", "BINDING", "MAX_SENT", "$_1"])
@on_stage
async def test_it_may_have_any_name(stage: Stage, name: str) -> None:
    html = f"<p id=out></p><script>out.textContent = window.{name}.parameters.title; window.done = true</script>"
    async with stage.page() as page:
        wanted = request(inject=name, ready=Ready("expression", "window.done"), html=html)
        assert text_of(await page.render(replace(wanted, parameters='{"title":"told"}'))) == "told"


CONDITIONS = ["load", "networkidle", "stable", "page", "selector", "expression", "event"]


@pytest.mark.parametrize("kind", CONDITIONS)
@on_stage
async def test_it_is_there_whatever_the_page_waits_for(stage: Stage, kind: str) -> None:
    html = """<script>const {title} = REPORT.parameters</script><p id=out></p><script>
      out.textContent = title;
      window.reportd?.ready();
      onload = () => dispatchEvent(new Event("out"));
    </script>"""
    arguments = {"selector": "#out", "expression": "out.textContent", "event": "out"}
    async with open_site({"/report": html}) as site, stage.page() as page:
        ready = Ready(kind, arguments.get(kind, ""))
        for wanted in (
            request(inject="REPORT", ready=ready, url=site.url("/report")),
            request(inject="REPORT", ready=ready, html=html),
        ):
            assert text_of(await page.render(replace(wanted, parameters='{"title":"told"}'))) == "told"
            await page.scrub()


@on_stage
async def test_the_value_is_an_ordinary_one_and_new_in_each_document(stage: Stage) -> None:
    html = """<script>
      const REPORT = window.REPORT;
      const {rows} = REPORT.parameters;
      if (!sessionStorage.again) { sessionStorage.again = 1; rows.push("mine"); window.REPORT = 0; location.reload(); }
    </script><p id=out></p><script>out.textContent = rows.sort().join(); window.done = sessionStorage.again</script>"""
    async with open_site({"/report": html}) as site, stage.page() as page:
        wanted = injecting('{"rows":["b","a"]}', url=site.url("/report"))
        assert text_of(await page.render(wanted)) == "a,b"


@on_stage
async def test_no_other_frame_and_no_other_origin_has_it(stage: Stage) -> None:
    tells = "<script>parent.postMessage(typeof REPORT, '*'); document.write(typeof REPORT)</script>"
    async with open_site(
        {"/frame": tells, "/moved": tells + "<script>done = true</script>"}, host="127.0.0.2"
    ) as other:
        shows = (
            SHOWS.replace("window.done = true", "")
            % f"""
          const found = [typeof REPORT];
          onmessage = ({{data}}) => {{
            found.push(data);
            if (found.length === 5) {{ out.textContent = found.join(); window.done = true; }}
          }};
          for (const src of ["{other.url("/frame")}", "/frame"]) {{
            document.body.appendChild(document.createElement("iframe")).src = src;
          }}
          const inner = document.body.appendChild(document.createElement("iframe"));
          inner.srcdoc = "<script>parent.postMessage(typeof REPORT, '*')<\\/script>";
          new Worker(URL.createObjectURL(new Blob(["postMessage(typeof REPORT)"]))).onmessage = onmessage;
        """
        )
        pages: dict[str, Content] = {"/report": shows, "/frame": tells, "/away": redirect(other.url("/moved"))}
        pages["/leaves"] = f"<script>location.replace('{other.url('/moved')}')</script>"
        async with open_site(pages) as site, stage.page() as page:
            pdf = await page.render(injecting(url=site.url("/report"), hosts=HOSTS))
            assert text_of(pdf).startswith("object,undefined,undefined,undefined,undefined")
            for path in ("/away", "/leaves"):
                await page.scrub()
                pdf = await page.render(injecting(url=site.url(path), hosts=HOSTS, allow_redirects=True))
                assert text_of(pdf) == "undefined"


@on_stage
async def test_it_is_gone_with_its_job(stage: Stage) -> None:
    html = "<p id=out></p><script>out.textContent = typeof REPORT; window.done = true</script>"
    async with open_site({"/report": html}) as site, stage.page() as page:
        for wanted in (injecting(url=site.url("/report")), injecting(html=html)):
            assert text_of(await page.render(wanted)) == "object"
            assert await page.scrub()
            assert (
                text_of(await page.render(replace(wanted, options=replace(wanted.options, inject="")))) == "undefined"
            )
            assert await page.scrub()


@on_stage
async def test_it_is_there_with_everything_else_that_a_type_may_want(stage: Stage) -> None:
    html = "<p id=out></p><script>out.textContent = REPORT.parameters.title; reportd.ready()</script>"
    async with open_site({"/report": html}) as site, stage.page() as page:
        wanted = replace(posting(site, inject="REPORT", ready=Ready("page")), parameters=TEXT)
        assert text_of(await page.render(wanted)) == DATA["title"]
        assert sent(site) == [("POST", TEXT.encode())]

"""Nothing of a job outlives it in a browser (I13), whatever its page tries to leave behind."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from reportd.adapters.chromium.browser import ChromiumBrowser
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import Page, Ready
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Content, Reply, Request, Site, open_site

pytestmark = pytest.mark.browser

WORKER = """
oninstall = () => skipWaiting();
onactivate = (event) => event.waitUntil(clients.claim());
onfetch = (event) => {
  if (event.request.url.endsWith('/magic')) event.respondWith(new Response('from the last job'));
};
"""

# Each prints what of the last job it finds, and leaves the same for the next.
FIND_AND_LEAVE = """
<body><script>
const found = [];
const say = (what, value) => { if (value) found.push(`${what}=${value}`); };
const leave = async () => {
  say('name', window.name); window.name = 'left';
  say('local', localStorage.left); localStorage.left = 1;
  say('session', sessionStorage.left); sessionStorage.left = 1;
  say('cookies', document.cookie);
  document.cookie = 'left=1; max-age=9999';
  document.cookie = 'apart=1; max-age=9999; SameSite=None; Secure; Partitioned';
  say('indexed', (await indexedDB.databases()).length);
  await new Promise((done, failed) => {
    const open = indexedDB.open('left', 1);
    open.onupgradeneeded = () => open.result.createObjectStore('left').put(1, 'left');
    open.onsuccess = done;
    open.onerror = failed;
  });
  say('caches', (await caches.keys()).length);
  await (await caches.open('left')).put('/left', new Response('left'));
  const folder = await navigator.storage.getDirectory();
  for await (const name of folder.keys()) say('file', name);
  await folder.getFileHandle('left', {create: true});
  say('workers', (await navigator.serviceWorker.getRegistrations()).length);
  await navigator.serviceWorker.register('/worker.js');
  await navigator.serviceWorker.ready;
  say('magic', (await (await fetch('/magic')).text()) === 'from the last job' && !!navigator.serviceWorker.controller &&
    found.some((one) => one.startsWith('workers')));
  say('history', history.length > 2 ? history.length : 0);
  history.pushState(1, '', '#1'); history.pushState(2, '', '#2');
};
leave().catch((error) => say('error', error)).then(() => {
  document.body.append(found.join(' ') || 'nothing');
  parent.postMessage(found.join(' ') || 'nothing', '*');
  window.finished = true;
});
</script>
"""

FRAMED = """
<script>onmessage = (event) => { document.body.append(event.data); window.finished = true; }</script>
<body><iframe src="%s"></iframe>
"""

FINISHED = Ready("expression", "window.finished")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def leaving() -> dict[str, Content]:
    return {
        "/report": Reply(FIND_AND_LEAVE, headers={"Set-Cookie": "hidden=1; HttpOnly; Max-Age=9999"}),
        "/worker.js": Reply(WORKER, content_type="text/javascript"),
        "/magic": "from the server",
    }


async def printed(page: Page, site: Site, path: str = "/report", **options: Any) -> str:
    return text_of(await page.render(request(url=site.url(path), ready=FINISHED, **options)))


@on_stage
async def test_nothing_is_found_of_the_last_job(stage: Stage) -> None:
    async with open_site(leaving()) as site, stage.page() as page:
        assert await printed(page, site) == "nothing"
        # Without a scrub everything is there: so the page does look for it.
        found = await printed(page, site)
        for what in ("name", "local", "session", "cookies", "indexed", "caches", "file", "workers", "magic", "history"):
            assert f"{what}=" in found
        assert site.requests[-1].headers["cookie"].count("hidden=1") == 1
        for _ in range(2):
            assert await page.scrub()
            site.requests.clear()
            assert await printed(page, site) == "nothing"
            assert "cookie" not in site.requests[0].headers


@on_stage
async def test_nothing_is_found_at_an_origin_that_was_only_in_an_iframe(stage: Stage) -> None:
    async with open_site(leaving(), host="127.0.0.2") as inner, open_site() as site, stage.page() as page:
        site.pages["/report"] = FRAMED % inner.url("/report")
        allowed: dict[str, Any] = {"hosts": ("127.0.0.2",)}
        assert set((await printed(page, site, **allowed)).split()) == {"nothing"}
        found = await printed(page, site, **allowed)
        for what in ("local", "session", "cookies", "indexed", "caches", "file", "workers"):
            assert f"{what}=" in found
        assert await page.scrub()
        assert set((await printed(page, site, **allowed)).split()) == {"nothing"}
        assert await page.scrub()
        assert await printed(page, inner) == "nothing"


@on_stage
async def test_a_template_finds_nothing_of_a_template(stage: Stage) -> None:
    html = """
      <body><script>
      const found = [];
      for (const name of ['left', 'reportdReady']) if (name in window) found.push(name);
      if (window.name) found.push('name');
      if (history.length > 1) found.push('history');
      if (window.Array.prototype.left) found.push('prototype');
      window.left = 1; window.name = 'left'; Array.prototype.left = 1;
      try { history.pushState(1, ''); } catch {}
      addEventListener('resize', () => document.body.append('listener'));
      setInterval(() => document.body.append('timer'), 1);
      dispatchEvent(new Event('resize'));
      document.body.append(found.join(' ') || 'nothing');
      </script><p id=mark>
    """
    async with stage.page() as page:
        await page.render(request(html=html, ready=Ready("event", "load")))
        assert await page.scrub()
        after = "<p>clean</p><script>dispatchEvent(new Event('resize'))</script>"
        pdf = await page.render(request(html=after))
        assert text_of(pdf) == "clean"
        assert await page.scrub()
        probe = (
            html.split("window.left = 1", maxsplit=1)[0] + "document.body.append(found.join(' ') || 'nothing')</script>"
        )
        assert text_of(await page.render(request(html=probe))) == "nothing"


PARTS = "<link rel=stylesheet href=%s/style.css><img src=%s/image.svg><script src=%s/script.js></script>"


@pytest.mark.parametrize("source", ["template", "url"])
@on_stage
async def test_the_caches_are_empty_for_the_next_job(stage: Stage, source: str) -> None:
    forever = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": '"1"'}
    pages: dict[str, Content] = {
        "/script.js": Reply("document.write('x')", content_type="text/javascript", headers=forever),
        "/style.css": Reply("p { color: red }", content_type="text/css", headers=forever),
        "/image.svg": Reply("<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml", headers=forever),
    }
    async with open_site(pages) as site, stage.page() as page:
        html = PARTS % ((site.url(""),) * 3)
        site.pages["/report"] = html
        wanted = request(html=html, hosts=("127.0.0.1",))
        if source == "url":
            wanted = request(url=site.url("/report"))
        for _ in range(2):
            assert text_of(await page.render(wanted)) == "x"
        assert {path: len(site.asked(path)) for path in pages} == dict.fromkeys(pages, 1)  # they would be cached
        assert await page.scrub()
        assert text_of(await page.render(wanted)) == "x"
        assert {path: len(site.asked(path)) for path in pages} == dict.fromkeys(pages, 2)
        assert all("if-none-match" not in each.headers for each in site.requests)


async def _authenticate(asked: Request, stream: trio.SocketStream) -> None:
    if "authorization" in asked.headers:
        reply = Reply("<p>signed in", headers={"Connection": "close"})
    else:
        challenge = {"WWW-Authenticate": 'Basic realm="reports"', "Connection": "close"}
        reply = Reply("<p>who are you", status=401, headers=challenge)
    await stream.send_all(reply.encoded())


# --- credentials --------------------------------------------------------------------------------------------

ASK = """
const asked = new XMLHttpRequest();
asked.open('GET', '/private', true, 'user', 'password');
asked.onload = () => said(asked.responseText);
asked.send();
"""
IN_PAGE = f"<script>const said = () => {{ window.finished = true; }};{ASK}</script>"
END = "window.finished = true;"
SIGNING_IN = {
    "address": "<p>not asked for",
    "script": IN_PAGE,
    "iframe": "<iframe src=/script></iframe><script>setTimeout(() => { window.finished = true; }, 300)</script>",
    "worker": f"<script>new Worker('/worker.js').onmessage = () => {{ {END} }}</script>",
    "shared worker": f"<script>new SharedWorker('/shared.js').port.onmessage = () => {{ {END} }}</script>",
    "web socket": f"<script>new WebSocket(signed('ws')).onerror = () => {{ {END} }}</script>",
}
"""With each of these a page can make the browser send credentials, which the browser then sends again to that origin.
Images, styles and event sources can't: Chromium blocks sub-resources with credentials in their URL."""

SIGNED = "<script>signed = (scheme) => `${scheme}://user:password@${location.host}/private`</script>"


@pytest.mark.parametrize("way", SIGNING_IN)
@on_stage
async def test_credentials_of_a_job_are_sent_for_no_other(stage: Stage, way: str) -> None:
    pages: dict[str, Content] = {
        "/private": _authenticate,
        "/script": IN_PAGE,
        "/worker.js": Reply(f"const said = postMessage;{ASK}", content_type="text/javascript"),
        "/shared.js": Reply(
            f"onconnect = (event) => {{ const said = (text) => event.ports[0].postMessage(text);{ASK}}}",
            content_type="text/javascript",
        ),
        "/report": SIGNED + SIGNING_IN[way] + "<p>signed in",
    }
    async with open_site(pages) as site, stage.page() as page:
        wanted = request(url=site.url("/report"), ready=FINISHED)
        if way == "address":
            wanted = request(url=site.url("/private").replace("//", "//user:password@"))
        assert await fault_of(page, wanted) is None
        assert any("authorization" in asked.headers for asked in site.asked("/private"))
        assert await page.scrub()
        site.requests.clear()
        fault = await fault_of(page, request(url=site.url("/private")))
        assert fault is not None
        assert "answered 401" in fault.detail
        assert all("authorization" not in asked.headers for asked in site.requests)


# --- workers ------------------------------------------------------------------------------------------------

BEAT = "setInterval(() => { fetch('/beat'); new BroadcastChannel('all').postMessage('secret'); }, 20);"
"""The activity of a worker, as the server and the pages of its origin see it."""

WORKERS = {
    "dedicated": "new Worker('/beat.js')",
    "nested": "new Worker('/nested.js')",
    "shared": "new SharedWorker('/beat.js')",
    "extended": "new SharedWorker('/beat.js', {extendedLifetime: true})",
    "service": "navigator.serviceWorker.register('/beat.js')",
    "of a blob": "const beat = `fetch('${location.origin}/beat', {mode: 'no-cors'})`;"
    "new SharedWorker(URL.createObjectURL(new Blob([beat])), {extendedLifetime: true})",
    "popup": "open('/popup')",
}

LISTEN = """
<body><script>
new BroadcastChannel('all').onmessage = (event) => document.body.append(event.data);
setTimeout(() => { document.body.append('silence'); window.finished = true; }, 300);
</script>
"""


@pytest.mark.parametrize("kind", WORKERS)
@on_stage
async def test_no_worker_outlives_its_job(stage: Stage, kind: str) -> None:
    pages: dict[str, Content] = {
        "/report": f"<script>{WORKERS[kind]}; setTimeout(() => {{ window.finished = true; }}, 400)</script><p>report",
        "/beat.js": Reply(BEAT, content_type="text/javascript"),
        "/nested.js": Reply("new Worker('/beat.js')", content_type="text/javascript"),
        "/popup": f"<script>{BEAT}</script>",
        "/listen": LISTEN,
        "/beat": "heard",
    }
    async with open_site(pages) as site, stage.page() as page:
        assert await fault_of(page, request(url=site.url("/report"), ready=FINISHED)) is None
        if kind != "popup":  # one is closed before it says anything
            assert site.asked("/beat")
        assert await page.scrub()
        site.requests.clear()
        assert text_of(await page.render(request(url=site.url("/listen"), ready=FINISHED))) == "silence"
        assert site.asked("/beat") == []
        assert {kind for kind, _ in await targets(stage)} <= {"page", "browser", "tab"}


async def targets(stage: Stage) -> list[tuple[str, str]]:
    """All targets of the browser: type and context."""
    assert isinstance(stage.browser, ChromiumBrowser)
    answer = await stage.browser._cdp.call("Target.getTargets", filter=[{}])
    return [(each["type"], each.get("browserContextId", "")) for each in answer["targetInfos"]]


@on_stage
async def test_a_job_that_was_not_inert_ends_with_all_of_its_context(stage: Stage) -> None:
    async with open_site({"/report": "<p>report"}) as site:
        before = {context for _, context in await targets(stage)}
        for wanted in (
            request(html="<script>1</script><p>x"),
            request(url=site.url("/report")),
            request(html=f"<p>x<img src={site.url('/image')}>", hosts=("127.0.0.1",)),
            request(html="<p>x", ready=Ready("networkidle")),
        ):
            async with stage.browser.page() as page:
                own = {context for _, context in await targets(stage)} - before
                assert len(own) == 1
                assert await fault_of(page, wanted) is None
                assert not await page.scrub()
            assert not own & {context for _, context in await targets(stage)}


@on_stage
async def test_an_inert_job_leaves_its_page_to_the_next_one(stage: Stage) -> None:
    async with stage.browser.page() as page:
        for number in range(3):
            assert text_of(await page.render(request(html=f"<p>report {number}"))) == f"report {number}"
            assert await page.scrub()


# --- what a server has the browser remember -----------------------------------------------------------------


@on_stage
async def test_client_hints_that_a_site_asked_for_are_forgotten(stage: Stage) -> None:
    asking = Reply("<p>report<img src=/image>", headers={"Accept-CH": "Sec-CH-UA-Platform-Version, Device-Memory"})
    async with open_site({"/report": asking}) as site, stage.page() as page:
        assert await fault_of(page, request(url=site.url("/report"))) is None
        assert any("sec-ch-ua-platform-version" in asked.headers for asked in site.asked("/image"))
        assert await page.scrub()
        site.requests.clear()
        site.pages["/report"] = "<p>report<img src=/image>"
        assert await fault_of(page, request(url=site.url("/report"))) is None
        assert all("sec-ch-ua-platform-version" not in asked.headers for asked in site.requests)


# --- options ------------------------------------------------------------------------------------------------


@on_stage
async def test_options_of_the_last_job_are_undone(stage: Stage) -> None:
    options: dict[str, Any] = {
        "headers": {"X-Key": "secret"},
        "cookies": {"session": "secret"},
        "media": "screen",
        "fail_on": frozenset({WarningKind.RESOURCES, WarningKind.SCRIPTS}),
    }
    screen = "<style>@media screen { p { display: none } }</style><p>print media</p>"
    broken = screen + "<img src=/missing><script>nothing.here()</script>"
    async with open_site({"/report": "<p>fine", "/broken": broken}) as site, stage.page() as page:
        for kind, argument in (("networkidle", ""), ("event", "load"), ("load", "")):
            assert (
                await fault_of(page, request(url=site.url("/report"), ready=Ready(kind, argument), **options)) is None
            )
            assert await page.scrub()
            site.requests.clear()
            assert text_of(await page.render(request(url=site.url("/broken")))) == "print media"
            assert [each.headers.get("x-key") for each in site.requests] == [None, None]
            assert [each.headers.get("cookie") for each in site.requests] == [None, None]
            assert await page.scrub()


@on_stage
async def test_a_request_that_outlives_its_page_does_not_get_out(stage: Stage) -> None:
    script = """
      addEventListener('pagehide', () => {
        navigator.sendBeacon('/late'); fetch('/late', {method: 'POST', keepalive: true}); new Image().src = '/late';
      });
      if (window.fetchLater) fetchLater('/late');
    """
    async with open_site({"/report": f"<script>{script}</script>x"}) as site, stage.page() as page:
        assert text_of(await page.render(request(url=site.url("/report")))) == "x"
        assert await page.scrub()
        await trio.sleep(0.3)
        assert site.asked("/late") == []


@on_stage
async def test_pages_share_nothing_while_they_live(stage: Stage) -> None:
    async with open_site(leaving()) as site, stage.page() as one, stage.page() as other:
        assert await printed(one, site) == "nothing"
        assert await printed(other, site) == "nothing"
        site.pages["/channel"] = """
          <script>
          const channel = new BroadcastChannel('all');
          channel.onmessage = (event) => document.body.append(event.data);
          setInterval(() => channel.postMessage('heard'), 20);
          setTimeout(() => { window.finished = true; }, 300);
          </script><body>silence
        """
        heard: list[str] = []

        async def listen(page: Page) -> None:
            heard.append(await printed(page, site, "/channel"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, one)
            nursery.start_soon(listen, other)
        assert heard == ["silence", "silence"]


@on_stage
async def test_a_template_has_no_origin_to_store_anything_at(stage: Stage) -> None:
    tries = json.dumps(["localStorage.x = 1", "sessionStorage.x = 1", "document.cookie = 'x=1'", "indexedDB.open('x')"])
    html = f"""
      <body>tried<script>
      for (const code of {tries}) {{ try {{ eval(code); document.body.append('stored ' + code); }} catch {{}} }}
      document.body.append(location.origin + document.cookie);
      </script>
    """
    async with stage.page() as page:
        text = text_of(await page.render(request(html=html)))
        assert "stored localStorage" not in text
        assert await page.scrub()
        assert text_of(await page.render(request(html=html))) == text

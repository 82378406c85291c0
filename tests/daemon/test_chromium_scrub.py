"""What one job leaves in a page must not reach the next one that gets it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from reportd.ports import Page, Ready
from tests.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.site import Content, Reply, Request, Site, open_site

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


BY_SCRIPT = """
<script>
const asked = new XMLHttpRequest();
asked.open('GET', '/private', true, 'user', 'password');
asked.onload = () => { document.write(asked.responseText); window.finished = true; };
asked.send();
</script>
"""
BY_WORKER = """
<script>
const worker = new Worker('/worker.js');
worker.onmessage = (event) => { document.write(event.data); window.finished = true; };
</script>
"""
WORKER_ASKS = """
const asked = new XMLHttpRequest();
asked.open('GET', '/private', true, 'user', 'password');
asked.onload = () => postMessage(asked.responseText);
asked.send();
"""


@pytest.mark.parametrize("way", ["address", "script", "worker", "iframe"])
@on_stage
async def test_a_page_that_has_signed_in_is_not_used_again(stage: Stage, way: str) -> None:
    """Chromium keeps credentials as long as the page's context lives, whatever else is cleared."""
    pages: dict[str, Content] = {
        "/private": _authenticate,
        "/script": BY_SCRIPT,
        "/worker": BY_WORKER,
        "/worker.js": Reply(WORKER_ASKS, content_type="text/javascript"),
    }
    async with open_site(pages, host="127.0.0.2") as site, open_site() as outer, stage.page() as page:
        outer.pages["/iframe"] = f"<iframe src={site.url('/script')}></iframe>"
        if way == "address":
            wanted = request(url=site.url("/private").replace("//", "//user:password@"))
        elif way == "iframe":
            wanted = request(url=outer.url("/iframe"), hosts=("127.0.0.2",), delay_seconds=0.3)
        else:
            wanted = request(url=site.url(f"/{way}"), ready=FINISHED)
        assert "signed in" in text_of(await page.render(wanted))
        assert not await page.scrub()


@on_stage
async def test_a_page_that_was_refused_is_used_again(stage: Stage) -> None:
    async with open_site({"/private": _authenticate}) as site, stage.page() as page:
        fault = await fault_of(page, request(url=site.url("/private")))
        assert fault is not None
        assert "answered 401" in fault.detail
        assert await page.scrub()


@on_stage
async def test_options_of_the_last_job_are_undone(stage: Stage) -> None:
    options: dict[str, Any] = {
        "headers": {"X-Key": "secret"},
        "cookies": {"session": "secret"},
        "media": "screen",
        "fail_on_resource_errors": True,
        "fail_on_script_errors": True,
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
      <body><script>
      for (const code of {tries}) {{ try {{ eval(code); document.body.append('stored ' + code); }} catch {{}} }}
      document.body.append(location.origin + document.cookie);
      </script>
    """
    async with stage.page() as page:
        text = text_of(await page.render(request(html=html)))
        assert "stored localStorage" not in text
        assert await page.scrub()
        assert text_of(await page.render(request(html=html))) == text

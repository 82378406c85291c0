"""A page reaches only the hosts that its type allows, by any route (I10); nothing else drives its browser (I13)."""

import json
import os
import socket as std_socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from reportd.adapters.chromium import ChromiumSettings, launcher
from reportd.adapters.chromium.browser import FLAGS
from reportd.adapters.chromium.process.proc import group_members
from reportd.ports import Page
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Reply, Request, Site, accept_websocket, open_site, redirect

pytestmark = pytest.mark.browser

SCRIPT = "text/javascript"
MULTICAST_DNS_PORT = 5353
TCP_LISTEN = "0A"
MODULE = {"Access-Control-Allow-Origin": "*"}


@pytest.fixture(scope="module", params=["browser", "container"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium"), container=request.param == "container") as opened:
        yield opened


async def _answer(asked: Request, stream: trio.SocketStream) -> None:
    if asked.path.startswith("/socket"):
        await accept_websocket(asked, stream)
        return
    kind = SCRIPT if asked.path.startswith("/script") else "text/html"
    await stream.send_all(Reply(" ", content_type=kind, headers={"Connection": "close", **MODULE}).encoded())


@asynccontextmanager
async def open_trap() -> AsyncIterator[Site]:
    """A host that no page may reach. It answers every request and counts connections."""
    async with open_site() as site:
        site.otherwise = _answer
        yield site


ROUTES = {
    "image": "<img src='http://{trap}/x/image'>",
    "picture": "<picture><source srcset='http://{trap}/x/picture 1x'><img></picture>",
    "svg image": "<svg><image href='http://{trap}/x/svg-image'/></svg>",
    "input": "<input type=image src='http://{trap}/x/input'>",
    "background": "<body background='http://{trap}/x/background'>",
    "video": "<video src='http://{trap}/x/video' preload=auto poster='http://{trap}/y'></video>",
    "audio": "<audio src='http://{trap}/x/audio' preload=auto></audio>",
    "script": "<script src='http://{trap}/script/script'></script>",
    "module": "<script type=module src='http://{trap}/script/module'></script>",
    "import": "<script type=module>import('http://{trap}/script/import')</script>",
    "stylesheet": "<link rel=stylesheet href='http://{trap}/x/stylesheet'>",
    "style import": "<style>@import 'http://{trap}/x/style-import'</style>",
    "style url": "<style>body {{ background: url('http://{trap}/x/style-url') }}</style>",
    "print style url": "<style>@media print {{ i {{ content: url(http://{trap}/x/print-style-url) }} }}</style><i></i>",
    "font": "<style>@font-face {{ font-family: f; src: url('http://{trap}/x/font') }} * {{ font: 9px f }}</style>text",
    "iframe": "<iframe src='http://{trap}/x/iframe'></iframe>",
    "frame in srcdoc": '<iframe srcdoc="<img src=http://{trap}/x/frame-in-srcdoc>"></iframe>',
    "refresh in iframe": "<iframe srcdoc=\"<meta http-equiv=refresh content='0;url=http://{trap}/x/refresh-in-iframe'>\"></iframe>",
    "object": "<object data='http://{trap}/x/object' type=text/html></object>",
    "embed": "<embed src='http://{trap}/x/embed' type=text/html>",
    "fetch": "<script>fetch('http://{trap}/x/fetch', {{mode: 'no-cors'}})</script>",
    "keepalive": "<script>fetch('http://{trap}/x/keepalive', {{mode: 'no-cors', keepalive: true}})</script>",
    "xhr": "<script>r = new XMLHttpRequest(); r.open('GET', 'http://{trap}/x/xhr'); r.send()</script>",
    "socket": "<script>new WebSocket('ws://{trap}/socket/socket')</script>",
    "events": "<script>new EventSource('http://{trap}/x/events')</script>",
    "beacon": "<script>navigator.sendBeacon('http://{trap}/x/beacon', 'x')</script>",
    "form": "<iframe name=target></iframe><form id=form target=target method=post action='http://{trap}/x/form'></form>"
    "<script>form.submit()</script>",
    "preload": "<link rel=preload as=image href='http://{trap}/x/preload'>",
    "prefetch": "<link rel=prefetch href='http://{trap}/x/prefetch'>",
    "modulepreload": "<link rel=modulepreload href='http://{trap}/script/modulepreload'>",
    "worker import": "<script>new Worker(URL.createObjectURL(new Blob(["
    "\"importScripts('http://{trap}/script/worker-import')\"])))</script>",
    "worker fetch": "<script>new Worker(URL.createObjectURL(new Blob(["
    "\"fetch('http://{trap}/x/worker-fetch', {{mode: 'no-cors'}})\"])))</script>",
    "data frame": '<iframe src="data:text/html,<img src=http://{trap}/x/data-frame>"></iframe>',
    "blob frame": "<iframe id=blobbed></iframe><script>blobbed.src = URL.createObjectURL("
    "new Blob(['<img src=http://{trap}/x/blob-frame>'], {{type: 'text/html'}}))</script>",
    "javascript frame": "<iframe src=\"javascript:'<img src=http://{trap}/x/javascript-frame>'\"></iframe>",
    "written": "<iframe id=written></iframe><script>written.contentDocument.write('<img src=http://{trap}/x/written>');"
    "written.contentDocument.close()</script>",
    "redirected image": "<img src='{site}/to?http://{trap}/x/redirected-image'>",
    "redirected frame": "<iframe src='{site}/to?http://{trap}/x/redirected-frame'></iframe>",
    "redirected fetch": "<script>fetch('{site}/to?http://{trap}/x/redirected-fetch', {{mode: 'no-cors'}})</script>",
    "redirected script": "<script src='{site}/to?http://{trap}/script/redirected-script'></script>",
}

# What Chromium may decide not to do at all; if it does, it must not get through.
FAINT_ROUTES = {
    "dns-prefetch": "<link rel=dns-prefetch href='http://{trap}/'>",
    "preconnect": "<link rel=preconnect href='http://{trap}/'>",
    "worklet": "<script>CSS.paintWorklet?.addModule('http://{trap}/script');"
    "new OfflineAudioContext(1, 1, 8000).audioWorklet?.addModule('http://{trap}/script')</script>",
    "manifest": "<link rel=manifest href='http://{trap}/x'>",
    "icon": "<link rel=icon href='http://{trap}/x'>",
    "ping": "<a id=a href='#x' ping='http://{trap}/x'>x</a><script>a.click()</script>",
    "prerender": "<script type=speculationrules>"
    '{{"prerender": [{{"urls": ["http://{trap}/x"]}}], "prefetch": [{{"urls": ["http://{trap}/y"]}}]}}</script>',
    "window": "<script>open('http://{trap}/x')</script>",
    "track": "<video><track default src='http://{trap}/x'></video>",
    "secure socket": "<script>new WebSocket('wss://{trap}/socket')</script>",
    "https": "<img src='https://{trap}/x'>",
    "fetchLater": "<script>window.fetchLater?.('http://{trap}/x', {{activateAfter: 300}})</script>",
    "ftp": "<iframe src='ftp://{trap}/x'></iframe>",
    "view-source": "<iframe src='view-source:http://{trap}/x'></iframe>",
    "shared worker": "<script>new SharedWorker('data:text/javascript,fetch(`http://{trap}/x`)')</script>",
    "transport": "<script>new WebTransport('https://{trap}/x')</script>",
    "peer": "<script>p = new RTCPeerConnection({{iceServers: [{{urls: 'stun:{trap}'}}, "
    "{{urls: 'turn:{trap}', username: 'u', credential: 'c'}}, "
    "{{urls: 'turn:{trap}?transport=tcp', username: 'u', credential: 'c'}}]}});"
    "p.createDataChannel('x'); p.createOffer().then((o) => p.setLocalDescription(o)).then(async () => {{"
    " q = new RTCPeerConnection(); await q.setRemoteDescription(p.localDescription);"
    " await q.setLocalDescription(await q.createAnswer()); await p.setRemoteDescription(q.localDescription);"
    " for (const kind of ['udp', 'tcp']) await p.addIceCandidate({{sdpMLineIndex: 0,"
    " candidate: `candidate:1 1 ${{kind}} 1 {trap_host} {trap_port} typ host tcptype passive`}}) }})</script>",
    "socket api": "<script>try {{ new TCPSocket('{trap_host}', {trap_port}) }} catch {{}}</script>",
}


async def _to(asked: Any, stream: trio.SocketStream) -> None:
    """Redirects to the address after the question mark."""
    target = asked.target.partition("?")[2]
    await stream.send_all(redirect(target).encoded())


def udp_ports(group: int) -> set[int]:
    """The addresses that sockets of the group's processes are bound to."""
    return {int(row[1].split(":")[1], 16) for row in _sockets(group, "udp")}


def tcp_listeners(group: int) -> list[str]:
    """The addresses that the processes of a group listen on."""
    return [row[1] for row in _sockets(group, "tcp") if row[3] == TCP_LISTEN]


def _sockets(group: int, protocol: str) -> list[list[str]]:
    """The rows of /proc/PID/net/PROTOCOL about sockets of the group. A process may end meanwhile."""
    links: set[str] = set()
    rows: list[list[str]] = []
    for pid in group_members(group):
        with suppress(FileNotFoundError, ProcessLookupError):
            links.update(_links(Path(f"/proc/{pid}/fd")))
            for table in (protocol, f"{protocol}6"):
                rows += [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return [row for row in rows if f"socket:[{row[9]}]" in links]


def _links(folder: Path) -> Iterator[str]:
    for handle in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(handle.readlink())


async def visit(page: Page, site: Site, html: str, source: str, hosts: tuple[str, ...], wait: float) -> None:
    site.pages |= {"/report": html, "/to": _to}
    own = f"127.0.0.1:{site.port}"
    if source == "template":
        wanted = request(html=html, hosts=(own, *hosts), delay_seconds=wait)
    else:
        wanted = request(url=site.url("/report"), hosts=hosts, delay_seconds=wait)
    assert await fault_of(page, wanted) is None


@pytest.mark.parametrize("source", ["template", "url"])
@on_stage
async def test_no_route_leads_to_a_host_that_is_not_allowed(stage: Stage, source: str) -> None:
    async with open_trap() as trap, open_site() as site, stage.page() as page:
        where = f"127.0.0.1:{trap.port}"
        html = "<p>report" + "".join(ROUTES.values()).format(trap=where, site=site.url(""))
        await visit(page, site, html, source, (), 0.5)
        assert [asked.path for asked in trap.requests] == []
        assert trap.connections == 0
        # The same page does get there where that is allowed, by each of these routes.
        assert await page.scrub()
        await visit(page, site, html, source, (where,), 0.5)
        reached = {asked.path.rpartition("/")[2] for asked in trap.requests}
        assert {route.replace(" ", "-") for route in ROUTES} - reached == set()


WORKERS = """
<p>report
<script>
navigator.serviceWorker.register('/service.js');
new SharedWorker('/shared.js');
new Worker('/dedicated.js');
</script>
"""
WORKER_FETCHES = "fetch('http://%s/x/%s', {mode: 'no-cors'}); importScripts('http://%s/script/%s-import')"


@on_stage
async def test_no_worker_leads_there_either(stage: Stage) -> None:
    async with open_trap() as trap, open_site({"/report": WORKERS}) as site, stage.page() as page:
        where = f"127.0.0.1:{trap.port}"
        kinds = ("service", "shared", "dedicated")
        for kind in kinds:
            source = WORKER_FETCHES % (where, kind, where, kind)
            site.pages[f"/{kind}.js"] = Reply(source, content_type=SCRIPT)
        assert await fault_of(page, request(url=site.url("/report"), delay_seconds=0.5)) is None
        assert all(site.asked(f"/{kind}.js") for kind in kinds)
        assert trap.connections == 0
        assert await page.scrub()
        assert await fault_of(page, request(url=site.url("/report"), hosts=(where,), delay_seconds=0.5)) is None
        reached = {asked.path.rpartition("/")[2] for asked in trap.requests}
        assert reached >= {*kinds, *(f"{kind}-import" for kind in kinds)}


@pytest.mark.parametrize("source", ["template", "url"])
@on_stage
async def test_no_faint_route_leads_there_either(stage: Stage, source: str) -> None:
    async with open_trap() as trap, open_site() as site, stage.page() as page:
        with std_socket.socket(std_socket.AF_INET, std_socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", trap.port))
            datagrams.setblocking(False)
            where: dict[str, Any] = {"trap": f"127.0.0.1:{trap.port}", "trap_host": "127.0.0.1", "trap_port": trap.port}
            html = "".join(FAINT_ROUTES.values()).format(**where)
            await visit(page, site, html, source, (), 1)
            assert trap.connections == 0
            # UDP never, whatever is allowed: the egress has none.
            assert await page.scrub()
            await visit(page, site, html, source, (where["trap"],), 1)
            with pytest.raises(BlockingIOError):
                datagrams.recv(9)
            assert trap.connections > 0
        assert MULTICAST_DNS_PORT not in udp_ports(stage.browser.pid)


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.1.",
    "127%2e0.0.1",
    "1\uff127.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
]
OTHERS = ["[::1]", "localhost", "LOCALHOST.", "x.localhost", "0.0.0.0", "0", "[::]"]  # noqa: S104


@on_stage
async def test_an_address_is_not_reached_by_another_spelling(stage: Stage) -> None:
    async with open_trap() as trap, open_site() as site, stage.page() as page:
        html = "".join(f"<img src='http://{host}:{trap.port}/{n}'>" for n, host in enumerate([*SPELLINGS, *OTHERS]))
        await visit(page, site, html, "url", (), 0.2)
        assert trap.connections == 0
        # Where the address is allowed, those that mean it do get there.
        assert await page.scrub()
        await visit(page, site, html, "url", (f"127.0.0.1:{trap.port}",), 0.2)
        reached = {[*SPELLINGS, *OTHERS][int(asked.path[1:])] for asked in trap.requests}
        assert {"127.0.0.1", "127.1", "0x7f000001"} <= reached
        assert not reached & set(OTHERS)


class Names(trio.abc.HostnameResolver):
    """Resolves a few names, and records the queries."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        address = self._addresses.get(name)
        if address is None:
            raise std_socket.gaierror(std_socket.EAI_NONAME, "not found")
        return [(std_socket.AF_INET, std_socket.SOCK_STREAM, 6, "", (address, int(port)))]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@asynccontextmanager
async def resolving(addresses: dict[str, str]) -> AsyncIterator[Names]:
    names = Names(addresses)
    before = trio.socket.set_custom_hostname_resolver(names)
    try:
        yield names
    finally:
        trio.socket.set_custom_hostname_resolver(before)


@on_stage
async def test_a_name_does_not_lead_to_a_private_address(stage: Stage) -> None:
    addresses = {"reports.test": "127.0.0.1", "inner.partner.test": "127.0.0.1", "meta.test": "169.254.169.254"}
    async with open_trap() as trap, open_site() as site, stage.page() as page, resolving(addresses) as names:
        hosts = ("*.partner.test", "meta.test", "*.evil.test")
        html = "".join(
            f"<img src=http://{name}:{trap.port}/>"
            for name in ("inner.partner.test", "meta.test", "a.evil.test", "other.test")
        )
        site.pages["/report"] = html + "<p>report"
        # The report's own name may lead anywhere: whoever runs the daemon has written it down.
        wanted = request(url=site.url("/report", "reports.test"), hosts=hosts, delay_seconds=0.2)
        assert text_of(await page.render(wanted)) == "report"
        assert trap.connections == 0
        # Resolved by the egress, and only what the rule allows by name.
        assert set(names.asked) == {"reports.test", "inner.partner.test", "meta.test", "a.evil.test"}


PRIVATE = ["file:///etc/passwd", "file://localhost/etc/passwd", "chrome://version", "view-source:file:///etc/passwd"]


@pytest.mark.parametrize("source", ["template", "url"])
@on_stage
async def test_no_local_file_and_no_page_of_the_browser_is_shown(stage: Stage, source: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    parts = [
        f"<iframe src='{url}'></iframe><object data='{url}'></object><embed src='{url}'>"
        f"<link rel=stylesheet href='{url}'><script src='{url}'></script>"
        f"<script>fetch('{url}').then(r => r.text()).then(t => document.body.append(t)).catch(() => 0)</script>"
        f"<iframe srcdoc=\"<script>location = '{url}'</script>\"></iframe><svg><use href='{url}'/></svg>"
        f"<script>open('{url}')</script>"
        for url in (f"file://{secret}", "file:///proc/self/environ", *PRIVATE)
    ]
    async with open_site() as site, stage.page() as page:
        site.pages["/report"] = html = "".join(parts) + "<p>report"
        wanted = request(html=html, delay_seconds=0.3)
        if source == "url":
            wanted = request(url=site.url("/report"), delay_seconds=0.3)
        text = text_of(await page.render(wanted))
        assert "report" in text
        for hidden in ("the secret", "PATH=", "Command Line", "root:"):
            assert hidden not in text


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "chrome://version", "view-source:file:///etc/hostname", "blob:x"]
)
@on_stage
async def test_a_page_does_not_lead_there_itself(stage: Stage, url: str) -> None:
    async with stage.page() as page:
        html = f"<a id=a href='{url}'>x</a><script>a.click(); location = '{url}'</script><p>report"
        pdf = await page.render(request(html=html, delay_seconds=0.3))
        assert text_of(pdf).endswith("report")


# --- the daemon's own ports ---------------------------------------------------------------------------------

TRY = """
<body><script>
fetch('http://{where}/json/version', {{mode: 'no-cors'}}).then(() => 'reached', () => 'refused').then((text) => {{
  const socket = new WebSocket('ws://{where}/devtools/browser/x');
  socket.onopen = () => document.body.append(text + ' open');
  socket.onerror = () => document.body.append(text + ' failed');
}});
</script>
"""


@pytest.mark.parametrize("whose", ["daemon", "own egress", "other egress", "another"])
@on_stage
async def test_the_daemons_own_ports_are_out_of_reach(stage: Stage, whose: str) -> None:
    """Even if the type allows the address with all its ports."""
    async with open_trap() as trap, stage.browser.page() as page, stage.browser.page() as other:
        ports: dict[str, int] = {
            "own egress": page._egress.port,  # type: ignore[attr-defined]
            "other egress": other._egress.port,  # type: ignore[attr-defined]
        }
        if whose == "daemon":
            stage.own_ports.add(trap.port)
        try:
            port = ports.get(whose, trap.port)
            html = TRY.format(where=f"127.0.0.1:{port}")
            text = text_of(await page.render(request(html=html, hosts=("127.0.0.1",), delay_seconds=0.4)))
        finally:
            stage.own_ports.discard(trap.port)
        reasons = {refusal.reason for refusal in page._egress.refusals}  # type: ignore[attr-defined]
        if whose == "another":
            assert text.startswith("reached")
            assert reasons == set()
        else:
            assert text == "refused failed"
            # Those of a container are ports of a 127.0.0.1 of its own, where the egress can't connect to.
            elsewhere = stage.container and whose != "daemon"
            assert reasons == (set() if elsewhere else {f"127.0.0.1 port {port} is the daemon's own"})
            assert trap.connections == 0


@on_stage
async def test_nobody_else_can_drive_the_browser(stage: Stage) -> None:
    """Every user of the machine can open a DevTools port, and through it any file that the daemon's user can read."""
    with std_socket.create_server(("127.0.0.1", 0)) as server:
        assert len(tcp_listeners(os.getpgid(0))) >= 1  # it would be seen
        assert server.getsockname()
    async with stage.browser.page() as page:
        assert await fault_of(page, request(html="<p>report")) is None
        assert tcp_listeners(stage.browser.pid) == []


@on_stage
async def test_a_host_elsewhere_may_use_the_same_port_numbers(stage: Stage) -> None:
    # 192.0.2.1 (RFC 5737) is nobody's: what matters is that it is not refused.
    async with stage.browser.page() as page:
        port = page._egress.port  # type: ignore[attr-defined]
        wanted = request(html=f"<img src=http://192.0.2.1:{port}/>", hosts=("192.0.2.1",))
        with trio.move_on_after(0.3):
            await page.render(wanted)
        assert page._egress.refusals == ()  # type: ignore[attr-defined]


# --- names --------------------------------------------------------------------------------------------------


async def test_chromium_resolves_no_name_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "net.json"
    monkeypatch.setattr(launcher, "FLAGS", (*FLAGS, f"--log-net-log={log}"))
    names = ("reports.test", "prefetched.test", "image.test", "stun.test", "socket.test")
    script = "new RTCPeerConnection({iceServers: [{urls: 'stun:stun.test'}]}).createDataChannel('x')"
    html = (
        "<link rel=dns-prefetch href=//prefetched.test><link rel=preconnect href=//prefetched.test>"
        f"<img src=http://image.test/><script>new WebSocket('ws://socket.test'); {script}</script>report"
    )
    opened = launcher.open_launcher(ChromiumSettings(), tmp_path / "data", lambda _address, _port: False)
    with trio.fail_after(20):
        async with (
            resolving({"reports.test": "127.0.0.1"}) as resolver,
            open_site({"/report": html}) as site,
            opened as launching,
            launching.launch() as running,
            running.page() as page,
        ):
            wanted = request(url=site.url("/report", "reports.test"), hosts=names, delay_seconds=0.5)
            assert "report" in text_of(await page.render(wanted))
    # An event a line; the last ones are missing, as the browser was killed.
    constants, *lines = log.read_text().splitlines()
    kinds = {
        number: name for name, number in json.loads(constants.rstrip(",") + "}")["constants"]["logEventTypes"].items()
    }
    events = [json.loads(line.rstrip(",")) for line in lines if line.startswith("{") and line.endswith("},")]
    seen = {kinds[event["type"]] for event in events}
    assert "SOCKS5_CONNECT" in seen  # that is, there is something to be seen in it
    lookups = {"DNS_TRANSACTION", "HOST_RESOLVER_DNS_TASK", "HOST_RESOLVER_SYSTEM_TASK", "UDP_BYTES_SENT"}
    assert lookups <= set(kinds.values())
    assert not lookups & seen
    assert {"reports.test", "image.test", "socket.test"} <= set(resolver.asked)

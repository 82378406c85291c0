"""One browser: what it is started with, how it is watched, and how pages of it are made and taken away."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.chromium.page.page import ChromiumPage, attach
from reportd.adapters.chromium.process.process import BrowserProcess
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError
from reportd.adapters.egress.proxy import Egress, OwnPorts, open_egress
from reportd.ports import BrowserError, Page

log = structlog.get_logger()

EXECUTABLES = (
    # Debian's /usr/bin/chromium-headless-shell is a script that stays the parent of the real program.
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/bin/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/bin/chromium",
    "/usr/bin/google-chrome-stable",
)

FEATURES_OFF = (
    # A new frame for every navigation.
    "RenderDocument",
    # A page that is left would be kept, to go back to.
    "BackForwardCache",
    # An iframe of another site stays in its page's process, as the headless shell has it anyway: its errors and
    # crashes are seen on the page's connection, and its requests get the page's headers. Jobs share no process.
    "IsolateOrigins",
    "site-per-process",
    # http means http, and nothing is announced to the local network, or looked for there.
    "HttpsUpgrades",
    "MediaRouter",
    "WebRtcHideLocalIpsWithMdns",
    "OptimizationHints",
    "Translate",
)

FLAGS = (
    # DevTools on descriptors 3 and 4, and on no port: whoever can open a port could open any file as the daemon's user.
    # The browser ends when its daemon's end of the pipe does.
    "--remote-debugging-pipe",
    # `chromium` shows windows without it; the headless shell ignores it.
    "--headless",
    # No updates, field trials, safe-browsing lists: nothing the daemon did not ask for leaves the machine.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    # There is no crash server and no desktop to talk to.
    "--disable-breakpad",
    # Errors only: what a page writes to its console may be a customer's, and is no business of the daemon's log.
    "--log-level=2",
    "--disable-crash-reporter",
    "--password-store=basic",
    "--use-mock-keychain",
    # PDFs need no GPU, and a software GPU process is memory for nothing.
    "--disable-gpu",
    "--mute-audio",
    # Screen hinting distorts the spacing of printed text.
    "--font-render-hinting=none",
    "--hide-scrollbars",
    # /dev/shm is 64 MiB in many containers, and a big page fills it.
    "--disable-dev-shm-usage",
    # Pages in the background render as fast as those in front; there is no front here.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # Nobody prints the windows that a page opens. The headless shell knows this one; see also ``_on_target``.
    "--block-new-web-contents",
    # Without an egress there is no way out, neither for the browser itself nor for a page whose egress it has
    # forgotten: that happens when its network process is started again. So that one is no process of its own.
    "--proxy-server=socks5://127.0.0.1:1",
    "--proxy-bypass-list=<-loopback>",
    "--enable-features=NetworkServiceInProcess2",
    # Names are resolved by the egress alone; whatever would go around it finds no address and no UDP.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    f"--disable-features={','.join(FEATURES_OFF)}",
)

CLOSE_SECONDS = 3.0
WATCH_SECONDS = 1.0
HANG_SECONDS = 15.0
"""A browser that has not said for so long which processes it has is not going to print anything either."""


def find_executable(configured: str) -> str:
    """The browser to use. Raises BrowserError that says what to install."""
    for path in (configured,) if configured else EXECUTABLES:
        if os.access(path, os.X_OK):
            return path
    looked = configured or ", ".join(EXECUTABLES)
    raise BrowserError(f"no Chromium at {looked}: install Debian's chromium-headless-shell, or set pool.executable")


class ChromiumBrowser:
    """A running browser with its DevTools connection."""

    def __init__(self, process: BrowserProcess, cdp: Cdp, spool: Path, ports: OwnPorts, page_connections: int) -> None:
        self.pid = process.pid
        self.died = process.died
        self._process = process
        self._cdp = cdp
        self._spool = spool
        self._ports = ports
        self._page_connections = page_connections
        self._memory_mib = 0.0
        self._targets: dict[str, str] = {}
        self._warmed = 0
        cdp.on("Target.targetCreated", self._on_target)

    def memory_mib(self) -> float:
        """Of all its processes, as ``watch`` saw them last."""
        return self._memory_mib

    async def watch(self, renderer_limit_mib: float) -> None:
        """Keep single pages from eating the machine, and end a browser that no longer answers."""
        try:
            await self._cdp.call("Target.setDiscoverTargets", discover=True)
            while not self._cdp.closed.is_set():
                with trio.fail_after(HANG_SECONDS):
                    stock = await self._cdp.call("SystemInfo.getProcessInfo")
                self._memory_mib = self._take_stock(stock["processInfo"], renderer_limit_mib)
                with trio.move_on_after(WATCH_SECONDS):
                    await self._cdp.closed.wait()
        except trio.TooSlowError:
            log.warning("browser.hangs", browser=self.pid, seconds=HANG_SECONDS)
        except (CdpError, ClosedError) as error:
            log.debug("browser.unwatched", browser=self.pid, error=str(error))
        self._process.kill()

    def _take_stock(self, processes: list[dict[str, Any]], renderer_limit_mib: float) -> float:
        """The memory of all; a renderer that uses too much is killed, which hits the job of one page."""
        total = 0.0
        for process in processes:
            used = self._process.memory_mib(process["id"])
            total += used
            if process["type"] == "renderer" and used > renderer_limit_mib:
                log.warning("browser.renderer_killed", browser=self.pid, pid=process["id"], mib=round(used))
                self._process.kill_member(process["id"])
        container = self._process.container
        if container is not None and total > container.limits.memory_mib:
            log.warning("browser.container_killed", browser=self.pid, mib=round(total))
            self._process.kill()
        return total

    def _on_target(self, event: dict[str, Any]) -> None:
        # A window that a page has opened: nobody will print it, and it would live on after its job.
        target = event["targetInfo"]
        ours = self._targets.get(target.get("browserContextId"), target["targetId"])
        if target["type"] == "page" and target["targetId"] != ours:
            self._cdp.send("Target.closeTarget", targetId=target["targetId"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        async with self._egress() as egress:
            context_id, connection = "", None
            try:
                try:
                    context_id = await self._new_context(egress.port)
                    connection = await self._new_target(context_id)
                    page = await self._attached(connection, egress)
                except (CdpError, ClosedError) as error:
                    raise BrowserError(f"the browser gave no page: {error}") from error
                yield page
            finally:
                self._targets.pop(context_id, None)
                with trio.CancelScope(shield=True):
                    await self._take_away(context_id, connection)

    @asynccontextmanager
    async def _egress(self) -> AsyncIterator[Egress]:
        container = self._process.container
        if container is None:
            async with open_egress(self._ports.forbid, max_connections=self._page_connections) as egress:
                with self._ports.using(egress.port):
                    yield egress
            return
        try:
            listener = await container.listen()
        except OSError as error:
            raise BrowserError(f"the browser gave no page: {error}") from error
        # Its port is none of this machine's, so there is nothing to forbid.
        async with open_egress(self._ports.forbid, listener, self._page_connections) as egress:
            yield egress

    async def _new_context(self, egress_port: int) -> str:
        context = await self._cdp.call(
            "Target.createBrowserContext",
            disposeOnDetach=True,
            proxyServer=f"socks5://127.0.0.1:{egress_port}",
            # Chromium would go around a proxy for loopback addresses; this takes the exception away.
            proxyBypassList="<-loopback>",
        )
        return str(context["browserContextId"])

    async def _new_target(self, context_id: str) -> Cdp:
        self._cdp.send("Browser.setDownloadBehavior", behavior="deny", browserContextId=context_id)
        target = await self._cdp.call("Target.createTarget", url="about:blank", browserContextId=context_id)
        self._targets[context_id] = target["targetId"]
        return await self._cdp.attach(target["targetId"])

    async def _attached(self, connection: Cdp, egress: Egress) -> ChromiumPage:
        tree = await attach(connection)
        page = ChromiumPage(connection, egress, self._spool, tree["frameTree"]["frame"])
        if self._warmed < 2:  # noqa: PLR2004 - later pages share what the first ones have loaded
            self._warmed += 1
            await page.warm_up()
        return page

    async def _take_away(self, context_id: str, page: Cdp | None) -> None:
        """End the page, even one that is stuck in a script; failing that, end the browser."""
        if context_id and not self.died.is_set():
            with trio.move_on_after(CLOSE_SECONDS) as scope, suppress(CdpError, ClosedError):
                await self._cdp.call("Target.disposeBrowserContext", browserContextId=context_id)
                if page is not None:
                    await page.closed.wait()
            if scope.cancelled_caught:
                log.warning("browser.page_stuck", browser=self.pid)
                self._process.kill()
        if page is not None:
            page.end()

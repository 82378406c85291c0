"""One browser: how it is started, and how pages of it are made and taken away."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
import trio

from reportd.adapters.chromium.cdp import Cdp, CdpError, ClosedError, connect, open_bridge
from reportd.adapters.chromium.page import ChromiumPage
from reportd.adapters.chromium.process import BrowserProcess, open_process, open_run_folder
from reportd.adapters.egress import open_egress
from reportd.background import open_background
from reportd.ports import Browser, BrowserError, Launcher, Page

log = structlog.get_logger()

EXECUTABLES = (
    # Debian's /usr/bin/chromium-headless-shell is a script that stays the parent of the real program.
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/bin/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/bin/chromium",
    "/usr/bin/google-chrome-stable",
)

FLAGS = (
    # A port of its own choosing, read from what it prints: no two browsers can collide.
    "--remote-debugging-port=0",
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
    # Names are resolved by the egress alone; whatever would go around it finds no address and no UDP.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
)

CLOSE_SECONDS = 3.0
WATCH_MEMORY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ChromiumSettings:
    """``executable``: empty to look for one. ``heap_mib``: V8's limit a page; ``renderer_limit_mib``: all of it."""

    executable: str = ""
    start_seconds: float = 20.0
    renderer_limit_mib: float = 2048.0
    heap_mib: int = 1024


def find_executable(configured: str) -> str:
    """The browser to use. Raises BrowserError that says what to install."""
    for path in (configured,) if configured else EXECUTABLES:
        if os.access(path, os.X_OK):
            return path
    looked = configured or ", ".join(EXECUTABLES)
    raise BrowserError(f"no Chromium at {looked}: install Debian's chromium-headless-shell, or set pool.executable")


@asynccontextmanager
async def open_launcher(
    settings: ChromiumSettings, data_dir: Path, forbidden: Callable[[str, int], bool]
) -> AsyncIterator[Launcher]:
    """Browsers for as long as the block lasts. ``forbidden``: addresses of the daemon that no page may reach."""
    spool = data_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    for left_over in spool.glob("pdf-*.part"):
        left_over.unlink()
    async with open_bridge() as loop, open_run_folder(data_dir / "browsers") as run_folder:
        yield _Launcher(settings, run_folder, spool, loop, forbidden)


class _Launcher:
    def __init__(
        self,
        settings: ChromiumSettings,
        run_folder: Path,
        spool: Path,
        loop: asyncio.AbstractEventLoop,
        forbidden: Callable[[str, int], bool],
    ) -> None:
        self._settings = settings
        self._run_folder = run_folder
        self._spool = spool
        self._loop = loop
        self._forbidden = forbidden
        self._devtools_ports: set[int] = set()

    def launch(self) -> AbstractAsyncContextManager[Browser]:
        return self._launch()

    @asynccontextmanager
    async def _launch(self) -> AsyncIterator[Browser]:
        settings = self._settings
        flags = [*FLAGS, f"--js-flags=--max-old-space-size={settings.heap_mib}"]
        if os.geteuid() == 0:
            # Chromium refuses to start its sandbox as root. Any other user gets the sandbox.
            flags.append("--no-sandbox")
        command = [find_executable(settings.executable), *flags]
        async with open_process(command, self._run_folder, settings.start_seconds) as process:
            port = urlsplit(process.url).port or 0
            self._devtools_ports.add(port)
            try:
                async with self._connected(process) as browser:
                    yield browser
            finally:
                self._devtools_ports.discard(port)

    @asynccontextmanager
    async def _connected(self, process: BrowserProcess) -> "AsyncIterator[ChromiumBrowser]":
        try:
            cdp = await connect(process.url, self._loop)
        except ClosedError as error:
            raise BrowserError(f"the browser's DevTools can't be reached: {error}") from error
        browser = ChromiumBrowser(process, cdp, self._loop, self._spool, self._is_forbidden)
        try:
            async with open_background() as nursery:
                nursery.start_soon(browser.watch, self._settings.renderer_limit_mib)
                yield browser
        finally:
            await cdp.close()

    def _is_forbidden(self, address: str, port: int) -> bool:
        return port in self._devtools_ports or self._forbidden(address, port)


class ChromiumBrowser:
    """A running browser with its DevTools connection."""

    def __init__(
        self,
        process: BrowserProcess,
        cdp: Cdp,
        loop: asyncio.AbstractEventLoop,
        spool: Path,
        forbidden: Callable[[str, int], bool],
    ) -> None:
        self.pid = process.pid
        self.died = process.died
        self._process = process
        self._cdp = cdp
        self._loop = loop
        self._spool = spool
        self._forbidden = forbidden
        self._warmed = 0
        cdp.on("Target.targetCreated", self._on_target)

    def memory_mib(self) -> float:
        return self._process.memory_mib()

    async def watch(self, renderer_limit_mib: float) -> None:
        """Keep single pages from eating the machine, and end a browser that no longer answers its own socket."""
        await self._cdp.call("Target.setDiscoverTargets", discover=True)
        while not self._cdp.closed.is_set():
            self._process.kill_renderers_above(renderer_limit_mib)
            with trio.move_on_after(WATCH_MEMORY_SECONDS):
                await self._cdp.closed.wait()
        self._process.kill()

    def _on_target(self, event: dict[str, Any]) -> None:
        # A window that a page has opened: nobody will print it, and it would live on after its job.
        target = event["targetInfo"]
        if target["type"] == "page" and target.get("openerId"):
            self._cdp.tell("Target.closeTarget", targetId=target["targetId"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        async with open_egress(self._forbidden) as egress:
            try:
                context_id, page = await self._new_target(egress.port)
            except (CdpError, ClosedError) as error:
                raise BrowserError(f"the browser gave no page: {error}") from error
            try:
                yield await self._attached(page, context_id, egress)
            finally:
                with trio.CancelScope(shield=True):
                    await self._take_away(page, context_id)
                    await page.close()

    async def _new_target(self, egress_port: int) -> tuple[str, Cdp]:
        context = await self._cdp.call(
            "Target.createBrowserContext",
            disposeOnDetach=True,
            proxyServer=f"socks5://127.0.0.1:{egress_port}",
            # Chromium would go around a proxy for loopback addresses; this takes the exception away.
            proxyBypassList="<-loopback>",
        )
        context_id = context["browserContextId"]
        await self._cdp.call("Browser.setDownloadBehavior", behavior="deny", browserContextId=context_id)
        target = await self._cdp.call("Target.createTarget", url="about:blank", browserContextId=context_id)
        host = urlsplit(self._process.url).netloc
        return context_id, await connect(f"ws://{host}/devtools/page/{target['targetId']}", self._loop)

    async def _attached(self, page: Cdp, context_id: str, egress: Any) -> ChromiumPage:
        try:
            await page.call("Page.enable")
            await page.call("Inspector.enable")
            await page.call("Page.setLifecycleEventsEnabled", enabled=True)
            tree = await page.call("Page.getFrameTree")
            frame_id = tree["frameTree"]["frame"]["id"]
            ours = ChromiumPage(self._cdp, page, context_id, egress, self._spool, frame_id)
            if self._warmed < 2:  # noqa: PLR2004 - later pages share what the first ones have loaded
                self._warmed += 1
                await ours.warm_up({"generateTaggedPDF": False})
        except (CdpError, ClosedError) as error:
            raise BrowserError(f"the browser's page could not be set up: {error}") from error
        return ours

    async def _take_away(self, page: Cdp, context_id: str) -> None:
        """End the page, even one that is stuck in a script; failing that, end the browser."""
        if self.died.is_set():
            return
        with trio.move_on_after(CLOSE_SECONDS) as scope:
            try:
                await self._cdp.call("Target.disposeBrowserContext", browserContextId=context_id)
                await page.closed.wait()
            except (CdpError, ClosedError):
                return
        if scope.cancelled_caught:
            log.warning("browser.page_stuck", browser=self.pid)
            self._process.kill()

"""One running browser: its flags, its monitoring, and the opening and closing of its pages."""

import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.chromium.page.page import ChromiumPage, attach
from reportd.adapters.chromium.process.process import BrowserProcess
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError
from reportd.adapters.egress.own_ports import OwnPorts
from reportd.adapters.egress.proxy import Egress, open_egress
from reportd.core.faults import FaultKind
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
    # It would make a new frame for every navigation.
    "RenderDocument",
    # It would keep a page in memory after navigation.
    "BackForwardCache",
    # An iframe of another site stays in its page's process, as in the headless shell anyway. Its errors and crashes
    # arrive on the page's connection, and its requests get the page's headers. Jobs never share a process.
    "IsolateOrigins",
    "site-per-process",
    # No upgrade of http to https; no discovery on the local network.
    "HttpsUpgrades",
    "MediaRouter",
    "WebRtcHideLocalIpsWithMdns",
    "OptimizationHints",
    "Translate",
)

FLAGS = (
    # DevTools on descriptors 3 and 4, and on no port: any user who can open a port could read files as the daemon's
    # user. The browser exits when the daemon's end of the pipe closes.
    "--remote-debugging-pipe",
    # `chromium` opens windows without it; the headless shell ignores it.
    "--headless",
    # No updates, field trials or safe-browsing lists: the browser sends nothing that the daemon did not ask for.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    # There is no crash server and no desktop to talk to.
    "--disable-breakpad",
    # Errors only: the console output of a page may hold customer data, which must not reach the daemon's log.
    "--log-level=2",
    "--disable-crash-reporter",
    "--password-store=basic",
    "--use-mock-keychain",
    # Printing needs no GPU, and a software GPU process wastes memory.
    "--disable-gpu",
    "--mute-audio",
    # Screen hinting distorts the spacing of printed text.
    "--font-render-hinting=none",
    "--hide-scrollbars",
    # /dev/shm is 64 MiB in many containers, and a big page fills it.
    "--disable-dev-shm-usage",
    # Render background pages at full speed; no page here is ever in the foreground.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # Popups are never printed. Only the headless shell knows this flag; see also ``_on_target``.
    "--block-new-web-contents",
    # This proxy refuses everything, so there is no way out without an egress: not for the browser itself, and not for
    # a page whose egress the browser has forgotten. It forgets when its network process restarts, so the network
    # service runs inside the browser process.
    "--proxy-server=socks5://127.0.0.1:1",
    "--proxy-bypass-list=<-loopback>",
    "--enable-features=NetworkServiceInProcess2",
    # Only the egress resolves names; anything that bypasses it finds no address and no UDP.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    f"--disable-features={','.join(FEATURES_OFF)}",
)

CLOSE_SECONDS = 3.0
WATCH_SECONDS = 1.0
HANG_SECONDS = 15.0
"""A browser that does not answer for this long counts as hung."""


def find_executable(configured: str) -> str:
    """Return the path of the browser. Raises BrowserError that says what to install."""
    for path in (configured,) if configured else EXECUTABLES:
        if os.access(path, os.X_OK):
            return path
    tried = configured or ", ".join(EXECUTABLES)
    raise BrowserError(f"no Chromium at {tried}: install Debian's chromium-headless-shell, or set pool.executable")


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
        self._pages: dict[str, ChromiumPage] = {}
        """By the target's id."""
        self._killed: dict[int, _Killed] = {}
        """Renderers that ``watch`` has killed, by process id, oldest first; the browser has not reported their end."""
        self._warmed = 0
        cdp.on("Target.targetCreated", self._on_target)
        cdp.on("Target.targetCrashed", self._on_crash)
        # The pages' own connections end after this one.
        cdp.on_closed(self._on_lost)

    def memory_mib(self) -> float:
        """Return the memory of all its processes, as ``watch`` measured it last."""
        return self._memory_mib

    async def watch(self, renderer_limit_mib: float) -> None:
        """Kill renderers over ``renderer_limit_mib`` (one page's job fails), and kill a browser that hangs."""
        try:
            await self._cdp.call("Target.setDiscoverTargets", discover=True)
            while not self._cdp.closed.is_set():
                with trio.fail_after(HANG_SECONDS):
                    answer = await self._cdp.call("SystemInfo.getProcessInfo")
                self._memory_mib = self._check_memory(answer["processInfo"], renderer_limit_mib)
                with trio.move_on_after(WATCH_SECONDS):
                    await self._cdp.closed.wait()
        except trio.TooSlowError:
            log.warning("browser.hangs", browser=self.pid, seconds=HANG_SECONDS)
        except (CdpError, ClosedError) as error:
            log.debug("browser.unwatched", browser=self.pid, error=str(error))
        self._process.kill()

    def _check_memory(self, processes: list[dict[str, Any]], renderer_limit_mib: float) -> float:
        """Return the memory of all processes. Kill each renderer over the limit: only that page's job fails."""
        total = 0.0
        for pid in self._killed.keys() - {process["id"] for process in processes}:
            self._log_killed(self._killed.pop(pid), None)  # it had no page: a spare one
        for process in processes:
            pid, used = process["id"], self._process.memory_mib(process["id"])
            total += used
            if process["type"] == "renderer" and used > renderer_limit_mib and pid not in self._killed:
                self._killed[pid] = _Killed(pid, used, renderer_limit_mib)
                self._process.kill_member(pid)
        container = self._process.container
        if container is not None and total > container.limits.memory_mib:
            log.warning("browser.container_killed", browser=self.pid, mib=round(total), taskId=self._task_id())
            self._fail_container(f"used {math.ceil(total)} MiB")
            self._process.kill()
        return total

    def _on_crash(self, event: dict[str, Any]) -> None:
        """Tell the page why its process ended. The event has no process id, only the signal that ended it."""
        page = self._pages.get(event["targetId"])
        if page is None:
            return
        killed = None
        if event.get("errorCode") == signal.SIGKILL and self._killed:
            killed = self._killed.pop(next(iter(self._killed)))
        if killed is None:
            page.fail(FaultKind.PAGE_CRASHED, "the page's process crashed")
            return
        self._log_killed(killed, page.task_id)
        page.fail(FaultKind.PAGE_TOO_HEAVY, f"the page's process used {math.ceil(killed.mib)} MiB; {killed.allowed}")

    def _log_killed(self, killed: "_Killed", task_id: str | None) -> None:
        log.warning(
            "browser.renderer_killed",
            browser=self.pid,
            pid=killed.pid,
            mib=round(killed.mib),
            limit=round(killed.limit_mib),
            taskId=task_id,
        )

    def _on_lost(self) -> None:
        if self._process.out_of_memory():
            self._fail_container("needed more memory, so the kernel ended it")

    def _fail_container(self, what: str) -> None:
        """Fail the page of a browser in a container, which has no other: what the browser uses is its doing."""
        if (container := self._process.container) is None:
            return
        allowed = f"pool.renderer_limit_mib allows its browser {container.limits.memory_mib} MiB in all"
        for page in self._pages.values():
            page.fail(FaultKind.PAGE_TOO_HEAVY, f"the page's container {what}; {allowed}")

    def _task_id(self) -> str | None:
        return next((page.task_id for page in self._pages.values() if page.task_id), None)

    def _on_target(self, event: dict[str, Any]) -> None:
        # Close a popup: it is never printed, and it would outlive its job.
        target = event["targetInfo"]
        own = self._targets.get(target.get("browserContextId"), target["targetId"])
        if target["type"] == "page" and target["targetId"] != own:
            self._cdp.send("Target.closeTarget", targetId=target["targetId"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        async with self._egress() as egress:
            context_id, connection = "", None
            try:
                try:
                    context_id = await self._new_context(egress.port)
                    connection = await self._new_target(context_id)
                    page = await self._prepare_page(connection, egress)
                    self._pages[self._targets[context_id]] = page
                except (CdpError, ClosedError) as error:
                    raise BrowserError(f"the browser gave no page: {error}") from error
                yield page
            finally:
                self._pages.pop(self._targets.pop(context_id, ""), None)
                with trio.CancelScope(shield=True):
                    await self._close_page(context_id, connection)

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
        # The port is in the container's network, so no page of another browser can reach it.
        async with open_egress(self._ports.forbid, listener, self._page_connections) as egress:
            yield egress

    async def _new_context(self, egress_port: int) -> str:
        context = await self._cdp.call(
            "Target.createBrowserContext",
            disposeOnDetach=True,
            proxyServer=f"socks5://127.0.0.1:{egress_port}",
            # By default Chromium bypasses a proxy for loopback addresses; this removes that exception.
            proxyBypassList="<-loopback>",
        )
        return str(context["browserContextId"])

    async def _new_target(self, context_id: str) -> Cdp:
        self._cdp.send("Browser.setDownloadBehavior", behavior="deny", browserContextId=context_id)
        target = await self._cdp.call("Target.createTarget", url="about:blank", browserContextId=context_id)
        self._targets[context_id] = target["targetId"]
        return await self._cdp.attach(target["targetId"])

    async def _prepare_page(self, connection: Cdp, egress: Egress) -> ChromiumPage:
        tree = await attach(connection)
        page = ChromiumPage(connection, egress, self._spool, tree["frameTree"]["frame"])
        if self._warmed < 2:  # noqa: PLR2004 - later pages share what the first two have loaded
            self._warmed += 1
            await page.warm_up()
        return page

    async def _close_page(self, context_id: str, page: Cdp | None) -> None:
        """Close the page, even one that is stuck in a script. If that fails, kill the browser."""
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


@dataclass(frozen=True, slots=True)
class _Killed:
    """A renderer that was killed, with the memory that it had and was allowed to have."""

    pid: int
    mib: float
    limit_mib: float

    @property
    def allowed(self) -> str:
        return f"pool.renderer_limit_mib allows {self.limit_mib:g} MiB"

"""One page: opens a report, waits until it is ready, prints it, and forgets it.

A job's troubles reach it as events while it waits for something else; ``_Watch`` turns the first of them into
the job's fault and ends the wait.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
import trio

from reportd.adapters.chromium.cdp import Cdp, CdpError, ClosedError
from reportd.adapters.chromium.pdf import PdfWriter
from reportd.adapters.chromium.ready import ReadyWait, watch_ready
from reportd.adapters.egress import Egress
from reportd.core.faults import Fault, FaultError, FaultKind, status_fault
from reportd.core.network import NetworkRule
from reportd.ports import Pdf, RenderRequest

log = structlog.get_logger()

CHUNK_BYTES = 2 * 1024 * 1024
SCRUB_SECONDS = 3.0

# Latin and Chinese: the first print of a font by a renderer costs extra, so it is done before the first job.
WARM_UP_HTML = "<p style=\"font-family:Inter,'Noto Sans CJK SC'\">Warm 热身 <b>0123</b></p>"


class ChromiumPage:
    """A page in a context of its own, behind an egress of its own."""

    def __init__(
        self, browser: Cdp, page: Cdp, context_id: str, egress: Egress, spool_folder: Path, frame_id: str
    ) -> None:
        self.doing = "idle"
        self._browser = browser
        self._page = page
        self._context_id = context_id
        self._egress = egress
        self._spool_folder = spool_folder
        self._frame_id = frame_id
        self._watch = _Watch()
        # The empty document between jobs: its navigation may be told of when the next job is there already.
        self._blank: str | None = None
        self._network = False
        self._runtime = False
        self._rule: NetworkRule | None = None
        self._origins: set[str] = set()
        self._restore: list[tuple[str, dict[str, Any]]] = []
        self._listen()

    def _listen(self) -> None:
        page = self._page
        page.on("Page.loadEventFired", lambda _: self._watch.loaded.set())
        page.on("Page.lifecycleEvent", self._on_lifecycle)
        page.on("Page.frameNavigated", self._on_navigated)
        page.on("Page.downloadWillBegin", self._fails(FaultKind.DOWNLOAD, "the page started a download"))
        page.on("Inspector.targetCrashed", self._fails(FaultKind.PAGE_CRASHED, "the page's process crashed"))
        page.on("Page.javascriptDialogOpening", self._on_dialog)
        page.on("Network.responseReceived", self._on_response)
        page.on("Network.loadingFailed", self._on_loading_failed)
        page.on("Runtime.exceptionThrown", self._on_exception)
        page.on_closed(lambda: self._watch.fail(Fault(FaultKind.PAGE_CLOSED, "the page closed itself")))

    # --- a job ----------------------------------------------------------------------------------------------

    async def render(self, request: RenderRequest) -> Pdf:
        watch = self._watch = _Watch(request, self._blank)
        if self._page.closed.is_set():
            raise FaultError(FaultKind.PAGE_CLOSED, "the page was gone")
        self._egress.use(request.rule, request.options.max_page_bytes)
        with watch.scope:
            try:
                return await self._render(request, watch)
            except ClosedError:
                # The connection's own notice names the fault; it may come a moment later than this.
                await trio.sleep_forever()
            except CdpError as error:
                raise self._network_fault(FaultKind.INTERNAL, str(error)) from error
        fault = watch.fault
        if fault is None:  # pragma: no cover - only a fault cancels the scope
            raise RuntimeError("a render was cut off without a fault")
        raise FaultError(fault.kind, fault.detail)

    async def _render(self, request: RenderRequest, watch: "_Watch") -> Pdf:
        self.doing = "preparing the page"
        await self._prepare(request)
        ready = await watch_ready(self._page, self._frame_id, request)
        if request.html is not None:
            self.doing = "loading the template"
            await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=request.html)
        else:
            await self._navigate(str(request.url), watch)
        self.doing = "waiting for the page to load"
        await watch.loaded.wait()
        await self._await_ready(ready, request, watch)
        self._judge(request, watch)
        return await self._print(request)

    async def _prepare(self, request: RenderRequest) -> None:
        options = request.options
        page = self._page
        if request.rule != self._rule:
            if self._rule is not None and self._network:
                await page.call("Network.clearBrowserCache")
            self._rule = request.rule
        wants_network = request.url is not None or bool(options.headers) or bool(options.cookies)
        if (wants_network or options.fail_on_resource_errors) and not self._network:
            # Bodies are of no use to us; without these limits the renderer keeps copies for the inspector.
            await page.call("Network.enable", maxTotalBufferSize=0, maxResourceBufferSize=0)
            self._network = True
        if options.fail_on_script_errors and not self._runtime:
            await page.call("Runtime.enable")
            self._runtime = True
        if options.headers:
            # Goes with every request of the page, and the egress lets those reach allowed hosts only.
            await page.call("Network.setExtraHTTPHeaders", headers=dict(options.headers))
            self._restore.append(("Network.setExtraHTTPHeaders", {"headers": {}}))
        if options.cookies and request.url is not None:
            cookies = [{"name": n, "value": v, "url": request.url} for n, v in options.cookies.items()]
            await page.call("Network.setCookies", cookies=cookies)
        if options.media != "print":
            await page.call("Emulation.setEmulatedMedia", media=options.media)
            self._restore.append(("Emulation.setEmulatedMedia", {"media": ""}))

    async def _navigate(self, url: str, watch: "_Watch") -> None:
        self.doing = f"waiting for {_without_query(url)} to answer"
        watch.loaded = trio.Event()
        answer = await self._page.call("Page.navigate", url=url)
        if answer.get("isDownload"):
            raise FaultError(FaultKind.DOWNLOAD, "the report's address answered with a download")
        if error := answer.get("errorText"):
            raise self._network_fault(FaultKind.UNREACHABLE, f"{_without_query(url)} could not be opened: {error}")
        watch.committed(answer.get("loaderId"))

    async def _await_ready(self, ready: ReadyWait, request: RenderRequest, watch: "_Watch") -> None:
        wanted = request.options.ready
        self.doing = f"waiting until the page is ready ({wanted.kind} {wanted.argument})".replace(" )", ")")
        if wanted.kind == "networkidle":
            await watch.network_idle.wait()
        await ready()
        if request.options.delay_seconds:
            await trio.sleep(request.options.delay_seconds)

    def _judge(self, request: RenderRequest, watch: "_Watch") -> None:
        if self._egress.over_limit:
            raise self._too_large(request)
        if watch.status is not None:
            for first, last in request.options.fail_on_status:
                if first <= watch.status <= last:
                    fault = status_fault(watch.status, _without_query(str(request.url)))
                    raise FaultError(fault.kind, fault.detail)
        if refusals := self._egress.refusals:
            first_refusal = refusals[0]
            log.warning(
                "page.host_refused",
                taskId=request.task_id,
                host=first_refusal.host,
                port=first_refusal.port,
                reason=first_refusal.reason,
                refused=len(refusals),
            )

    async def _print(self, request: RenderRequest) -> Pdf:
        self.doing = "printing"
        parameters = {**request.options.print_parameters, "transferMode": "ReturnAsStream"}
        try:
            printed = await self._page.call("Page.printToPDF", **parameters)
        except CdpError as error:
            raise FaultError(FaultKind.PRINT_REJECTED, str(error)) from error
        self.doing = "reading the PDF"
        writer = PdfWriter(self._spool_folder)
        try:
            while True:
                chunk = await self._page.call("IO.read", handle=printed["stream"], size=CHUNK_BYTES)
                writer.write(base64.b64decode(chunk["data"]))
                if chunk["eof"]:
                    break
        except BaseException:
            writer.abandon()
            raise
        self._page.tell("IO.close", handle=printed["stream"])
        self.doing = "idle"
        return writer.finish()

    def _network_fault(self, otherwise: FaultKind, detail: str) -> FaultError:
        if self._egress.over_limit:
            return self._too_large(self._watch.request)
        if refusals := self._egress.refusals:
            refusal = refusals[-1]
            return FaultError(FaultKind.HOST_NOT_ALLOWED, f"{refusal.host}:{refusal.port}: {refusal.reason}")
        return FaultError(otherwise, detail)

    def _too_large(self, request: RenderRequest | None) -> FaultError:
        limit = request.options.max_page_bytes if request else 0
        return FaultError(FaultKind.PAGE_TOO_LARGE, f"the page loaded more than {limit} bytes")

    # --- events ---------------------------------------------------------------------------------------------

    def _fails(self, kind: FaultKind, detail: str) -> Callable[[dict[str, Any]], None]:
        return lambda _: self._watch.fail(Fault(kind, detail))

    def _on_lifecycle(self, event: dict[str, Any]) -> None:
        # Idleness counts only after the load: a document that is just being opened is idle, too.
        if event["frameId"] == self._frame_id and event["name"] == "networkIdle" and self._watch.loaded.is_set():
            self._watch.network_idle.set()

    def _on_navigated(self, event: dict[str, Any]) -> None:
        frame = event["frame"]
        origin = frame.get("securityOrigin", "")
        if origin.startswith("http"):
            self._origins.add(origin)
        if "parentId" not in frame:
            self._watch.navigated(frame["loaderId"])

    def _on_dialog(self, event: dict[str, Any]) -> None:
        # Nobody is there to answer. Dismissed, also the one that would keep the page from being left.
        accept = event.get("type") == "beforeunload"
        self._page.tell("Page.handleJavaScriptDialog", accept=accept)

    def _on_response(self, event: dict[str, Any]) -> None:
        status = event["response"]["status"]
        if event.get("type") == "Document" and event.get("frameId") == self._frame_id:
            self._watch.status = status
        elif status >= 400:  # noqa: PLR2004 - client and server errors
            self._resource_failed(f"{_without_query(event['response']['url'])} answered {status}")

    def _on_loading_failed(self, event: dict[str, Any]) -> None:
        if not event.get("canceled"):
            self._resource_failed(f"a sub-resource could not be loaded: {event.get('errorText')}")

    def _resource_failed(self, detail: str) -> None:
        request = self._watch.request
        if request is not None and request.options.fail_on_resource_errors:
            self._watch.fail(Fault(FaultKind.RESOURCE_FAILED, detail))

    def _on_exception(self, event: dict[str, Any]) -> None:
        request = self._watch.request
        if request is not None and request.options.fail_on_script_errors:
            details = event["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details.get("text", "")
            self._watch.fail(Fault(FaultKind.SCRIPT_ERROR, text.splitlines()[0][:300] if text else "no text"))

    # --- between jobs ---------------------------------------------------------------------------------------

    async def scrub(self) -> bool:
        """Leave nothing of the last job behind: document, history, cookies, and every visited origin's storage."""
        self.doing = "being scrubbed"
        self._watch = _Watch()
        with trio.move_on_after(SCRUB_SECONDS):
            try:
                await self._scrub()
            except (CdpError, ClosedError) as error:
                log.debug("page.scrub_failed", error=str(error))
                return False
            self.doing = "idle"
            return self._watch.fault is None
        return False

    async def _scrub(self) -> None:
        page = self._page
        self._egress.use(None, 0)
        # First the document, so that no script of the last job is left to write anything again.
        await self._open_blank()
        await page.call("Runtime.evaluate", expression="window.name = ''")
        await page.call("Page.resetNavigationHistory")
        for method, parameters in self._restore:
            await page.call(method, **parameters)
        self._restore.clear()
        for origin in self._origins:
            await page.call("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        if self._network:
            await self._browser.call("Storage.clearCookies", browserContextId=self._context_id)
        self._origins.clear()

    async def warm_up(self, print_parameters: dict[str, Any]) -> None:
        """Print something small, so that the first job finds fonts and printing code loaded."""
        loaded = self._watch.loaded
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=WARM_UP_HTML)
        await loaded.wait()
        await self._page.call("Page.printToPDF", **print_parameters)
        await self._open_blank()

    async def _open_blank(self) -> None:
        self._blank = (await self._page.call("Page.navigate", url="about:blank")).get("loaderId")


class _Watch:
    """What the events of one job have told so far. The first fault wins and ends the job's wait."""

    def __init__(self, request: RenderRequest | None = None, blank: str | None = None) -> None:
        self.request = request
        self._blank = blank
        self.scope = trio.CancelScope()
        self.fault: Fault | None = None
        self.loaded = trio.Event()
        self.network_idle = trio.Event()
        self.status: int | None = None
        self._loader: str | None = None
        self._seen_loaders: list[str] = []

    def fail(self, fault: Fault) -> None:
        if self.fault is None:
            self.fault = fault
            self.scope.cancel()

    def committed(self, loader: str | None) -> None:
        """Our own navigation has this loader; any other one of the main frame leads away."""
        self._loader = loader
        self._check()

    def navigated(self, loader: str) -> None:
        if loader != self._blank:
            self._seen_loaders.append(loader)
            self._check()

    def _check(self) -> None:
        if self.request is None:
            return
        ours = self._loader if self.request.url is not None else None
        if self.request.url is not None and ours is None:
            return  # our own navigation has not been answered yet
        if any(loader != ours for loader in self._seen_loaders):
            self.fail(Fault(FaultKind.NAVIGATED_AWAY, "the page navigated to another document"))


def _without_query(url: str) -> str:
    """A URL fit for logs and errors: the query may hold a customer's data, the user part a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"

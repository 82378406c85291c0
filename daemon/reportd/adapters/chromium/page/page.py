"""One page: opens a report, waits until it is ready, prints it, and forgets it.

Calls that do not depend on each other are sent together, and awaited afterwards: a small report takes less time
to print than a dozen round trips do.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.chromium.page import ready
from reportd.adapters.chromium.page.headers import OwnHeaders
from reportd.adapters.chromium.page.monitor import Listener, PageMonitor, shown
from reportd.adapters.chromium.page.pdf import receive_pdf
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp, CdpError, ClosedError
from reportd.adapters.egress.proxy import Egress
from reportd.core.faults import FaultError, FaultKind, status_fault
from reportd.ports import Pdf, RenderRequest, ToPrint, at_once

log = structlog.get_logger()

LOADING = "waiting for the page to load"
SCRUB_SECONDS = 3.0
WAITS_SECONDS = 1.0
"""A page that does not say within this how much it has worked is working."""

SAMPLE_SECONDS = 0.25
WAITING_SHARE = 0.1
"""Of a processor: what uses less of it waits rather than works. On a busy machine one that works gets no more than a
fraction."""

NOTICE_SECONDS = 0.25
"""What made the browser refuse a call, a crash say, may be told a moment later."""

# Latin and Chinese: the first print of a font by a renderer costs extra, so it is done before the first job.
WARM_UP_HTML = "<p style=\"font-family:Inter,'Noto Sans CJK SC'\">Warm 热身 <b>0123</b></p>"

# A number, whatever the page makes of these functions: what it says otherwise may be of any size.
_STATUS = "performance.getEntriesByType('navigation')[0]?.responseStatus | 0"


async def attach(page: Cdp) -> dict[str, Any]:
    """Have the page tell what ``ChromiumPage`` listens to. The answer is its frame tree."""
    page.send("Page.enable")
    page.send("Inspector.enable")
    return await page.call("Page.getFrameTree")


class ChromiumPage:
    """A page in a context of its own, behind an egress of its own."""

    def __init__(self, page: Cdp, egress: Egress, spool_folder: Path, frame: dict[str, Any]) -> None:
        self.doing = "idle"
        self._page = page
        self._egress = egress
        self._spool_folder = spool_folder
        self._frame_id: str = frame["id"]
        self._blank: str = frame["loaderId"]
        self._heard = Listener(page, self._frame_id, PageMonitor(self._blank))
        self._scripts = True
        """Whether scripts may run. An inert document has none, and this is to make sure of it."""
        self._inert = False
        """Whether the last job had an inert document, and nothing was set up for it."""

    # --- a job ----------------------------------------------------------------------------------------------

    async def render(self, request: RenderRequest, to_print: ToPrint = at_once) -> Pdf:
        watch = self._heard.watch = PageMonitor(self._blank, request, self._waits_for_readiness)
        if self._page.closed.is_set():
            raise FaultError(FaultKind.BROWSER_UNAVAILABLE, "the page was gone before the job began")
        limit = request.options.max_page_bytes
        too_large = f"the page loaded more than {limit} bytes"
        self._egress.use(request.rule, limit, lambda: watch.fail(FaultKind.PAGE_TOO_LARGE, too_large))
        with watch.scope:
            try:
                return await self._render(request, watch, to_print)
            except ClosedError:
                # The connection's own notice names the fault; it may come a moment later than this.
                await trio.sleep_forever()
            except CdpError as error:
                await trio.sleep(NOTICE_SECONDS)
                raise FaultError(FaultKind.INTERNAL, str(error)) from error
        if watch.fault is None:  # pragma: no cover - only a fault cancels the scope
            raise RuntimeError("a render was cut off without a fault")
        raise FaultError(watch.fault.kind, watch.fault.detail)

    async def _render(self, request: RenderRequest, watch: PageMonitor, to_print: ToPrint) -> Pdf:
        self.doing = "preparing the page"
        wanted = request.options.ready
        inert = wanted.kind == "load" and request.html is not None and request.inert
        self._allow_scripts(not inert)
        answers = self._prepare(request)
        self._inert = inert and not answers
        for answer in answers:
            await answer.get()
        if inert:
            self.doing = LOADING
            await self._replace_content(request.html)
            return await self._finish(request, watch, to_print)
        if request.url is not None:
            if wanted.kind == "event":
                await ready.listen(self._page, wanted)
            await self._navigate(request.url, watch)
        else:
            await self._set_content(request)
        self.doing = LOADING
        if watch.loading_ended.is_set():  # before the answer to the navigation was heard
            self._waits_for_readiness(request)
        await self._until_ready(request, watch)
        return await self._finish(request, watch, to_print)

    async def _finish(self, request: RenderRequest, watch: PageMonitor, to_print: ToPrint) -> Pdf:
        await trio.sleep(request.options.delay_seconds)
        self._report_refusals(request)
        self.doing = "waiting for a slot to be printed in"
        await to_print()
        return await self._print(request, watch)

    def _prepare(self, request: RenderRequest) -> list[Answer]:
        options = request.options
        answers = []
        if options.fail_on_resource_errors:
            answers.append(self._enable_network())
        if options.headers:
            own = OwnHeaders(options.headers, request.url, options.header_hosts)
            answers.append(own.enable(self._page))
        if options.cookies and request.url is not None:
            cookies = [{"name": n, "value": v, "url": request.url} for n, v in options.cookies.items()]
            answers.append(self._page.send("Network.setCookies", cookies=cookies))
        if options.fail_on_script_errors:
            answers.append(self._page.send("Runtime.enable"))
        if options.media != "print":
            answers.append(self._page.send("Emulation.setEmulatedMedia", media=options.media))
        if options.ready.kind == "networkidle":
            answers.append(self._page.send("Page.setLifecycleEventsEnabled", enabled=True))
        return answers

    def _enable_network(self) -> Answer:
        # Bodies are of no use to us; without these limits the renderer keeps copies for the inspector.
        return self._page.send("Network.enable", maxTotalBufferSize=0, maxResourceBufferSize=0)

    def _allow_scripts(self, allowed: bool) -> None:
        if allowed is not self._scripts:
            self._scripts = allowed
            self._page.send("Emulation.setScriptExecutionDisabled", value=not allowed)

    async def _replace_content(self, html: str | None) -> None:
        """Until it is loaded. In a page where no script runs, so nothing else can have been loaded meanwhile."""
        loading_ended = self._heard.watch.loading_ended
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=html)
        await loading_ended.wait()

    async def _set_content(self, request: RenderRequest) -> None:
        if request.options.ready.kind == "networkidle":
            # A document is idle once, and this one may have been so since it was made.
            await self._empty()
        if request.options.ready.kind != "event":
            self._page.send("Page.setDocumentContent", frameId=self._frame_id, html=request.html)

    async def _navigate(self, url: str, watch: PageMonitor) -> None:
        address = shown(url)
        self.doing = f"waiting for {address} to answer"
        watch.opening()
        answer = await self._page.call("Page.navigate", url=url)
        if answer.get("isDownload"):
            raise FaultError(FaultKind.DOWNLOAD, f"{address} answered with a download")
        error = answer.get("errorText")
        if error == "net::ERR_ABORTED":
            raise await self._why_aborted(url, watch)
        if error and error != "net::ERR_HTTP_RESPONSE_CODE_FAILURE":
            raise self._unreachable(f"{address} could not be opened: {error}")
        watch.opened(answer["loaderId"])
        if error:
            # An error status without a body. What is shown then is the browser's own page.
            await self._judge_status(url, self._ask_status(), ((1, 599),))
            raise self._unreachable(f"{address} could not be opened: {error}")

    async def _why_aborted(self, url: str, watch: PageMonitor) -> FaultError:
        """There is nothing to show, or nobody who fetches: Chromium's network process can crash. Asking again tells."""
        await self._enable_network().get()
        await self._page.call("Page.navigate", url=url)
        if watch.status in (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT):
            return FaultError(FaultKind.PAGE_STATUS, f"{shown(url)} answered {watch.status}, without a page")
        return self._unreachable(f"opening {shown(url)} was broken off")

    async def _until_ready(self, request: RenderRequest, watch: PageMonitor) -> None:
        wanted = request.options.ready
        asked = self._ask_status() if request.url is not None else None
        if wanted.kind == "event":
            answer = await ready.wait_for_event(self._page, self._frame_id, wanted, request.html)
        else:
            answer = ready.wait_until(self._page, wanted)
        if asked is not None:
            await self._judge_status(str(request.url), asked, request.options.fail_on_status)
        ready.judge(await answer.get())
        if wanted.kind == "networkidle":
            await watch.network_idle.wait()

    def _waits_for_readiness(self, request: RenderRequest) -> None:
        if self.doing == LOADING:
            wanted = request.options.ready
            self.doing = f"waiting until the page is ready ({wanted.kind} {wanted.argument}".rstrip() + ")"

    def _ask_status(self) -> Answer:
        return self._page.send("Runtime.evaluate", expression=_STATUS, returnByValue=True)

    async def _judge_status(self, url: str, asked: Answer, failures: tuple[tuple[int, int], ...]) -> None:
        answer = await asked.get()
        status = answer["result"].get("value")
        if isinstance(status, int) and any(first <= status <= last for first, last in failures):
            fault = status_fault(status, shown(url))
            raise FaultError(fault.kind, fault.detail)

    def _report_refusals(self, request: RenderRequest) -> None:
        if refusals := self._egress.refusals:
            first = refusals[0]
            log.warning(
                "page.host_refused",
                taskId=request.task_id,
                host=first.host,
                port=first.port,
                reason=first.reason,
                refused=len(refusals),
            )

    async def _print(self, request: RenderRequest, watch: PageMonitor) -> Pdf:
        self.doing = "printing"
        parameters = {**request.options.print_parameters, "transferMode": "ReturnAsStream"}
        answer = self._page.send("Page.printToPDF", **parameters)
        answer.when_granted(watch.print_ended)
        try:
            printed = await answer.get()
        except CdpError as error:
            await trio.sleep(NOTICE_SECONDS)
            raise FaultError(FaultKind.PRINT_REJECTED, str(error)) from error
        self.doing = "reading the PDF"
        try:
            pdf = await receive_pdf(self._page, printed["stream"], self._spool_folder)
        except OSError as error:  # the disk is full, say
            detail = f"{error.strerror}: {self._spool_folder}"
            raise FaultError(FaultKind.STORE_UNAVAILABLE, detail) from error
        self.doing = "idle"
        return pdf

    def _unreachable(self, detail: str) -> FaultError:
        if refusals := self._egress.refusals:
            refusal = refusals[-1]
            return FaultError(FaultKind.HOST_NOT_ALLOWED, f"{refusal.host}:{refusal.port}: {refusal.reason}")
        if failures := self._egress.failures:
            detail = f"{detail} ({failures[-1].reason})"
        return FaultError(FaultKind.UNREACHABLE, detail)

    async def waits(self) -> bool:
        if self._heard.watch.navigating:
            # While the answer is awaited, there is no document that could work, nor could one be asked.
            return True
        with trio.move_on_after(WAITS_SECONDS):
            try:
                await self._page.call("Performance.enable")
                before = await self._processor_seconds()
                await trio.sleep(SAMPLE_SECONDS)
                used = await self._processor_seconds() - before
                await self._page.call("Performance.disable")
            except (CdpError, ClosedError):
                return False
            return used < WAITING_SHARE * SAMPLE_SECONDS
        return False

    async def _processor_seconds(self) -> float:
        """Of the page's own process, workers of its included."""
        answer = await self._page.call("Performance.getMetrics")
        return next((float(one["value"]) for one in answer["metrics"] if one["name"] == "ProcessTime"), 0.0)

    # --- between jobs ---------------------------------------------------------------------------------------

    async def scrub(self) -> bool:
        """Forget the last job, where it was inert and had everything from the daemon: then nothing but its document is
        left, and taking that away costs a tenth of a new page. Any other job is forgotten with its browser context: who
        would scrub it needs a list of all that the web can leave behind.
        """
        if self._egress.leave() or not self._inert or self._page.closed.is_set():
            return False
        self.doing = "being scrubbed"
        self._heard.watch = PageMonitor(self._blank)
        with trio.move_on_after(SCRUB_SECONDS):
            try:
                await self._replace_content("")
            except (CdpError, ClosedError) as error:
                log.debug("page.scrub_failed", error=str(error))
                return False
            self.doing = "idle"
            return self._heard.watch.fault is None
        return False

    async def _empty(self) -> None:
        watch = self._heard.watch
        watch.opening()
        opened = await self._page.call("Page.navigate", url="about:blank")
        self._blank = opened["loaderId"]
        watch.opened(self._blank)

    async def warm_up(self) -> None:
        """Print something small, so that the first job finds fonts and printing code loaded."""
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=WARM_UP_HTML)
        await self._page.call("Page.printToPDF", generateTaggedPDF=False)
        await self._empty()

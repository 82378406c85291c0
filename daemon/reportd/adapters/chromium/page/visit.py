"""Opens the page of one job, and waits until it is ready and drawn."""

import math
from dataclasses import replace
from http import HTTPStatus

import trio

from reportd.adapters.chromium.page import ready, settle, window
from reportd.adapters.chromium.page.emulation import Emulation, surroundings_of
from reportd.adapters.chromium.page.headers import OwnHeaders
from reportd.adapters.chromium.page.interception import Pattern, Take
from reportd.adapters.chromium.page.monitor import LOADING, NOTICE_SECONDS, PageMonitor
from reportd.adapters.chromium.page.opening import opening_fault
from reportd.adapters.chromium.page.post import MainRequest
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp, CdpError
from reportd.adapters.egress.proxy import Egress
from reportd.core.faults import FaultError, FaultKind, status_fault
from reportd.core.pages.documents import document_fault, lists, shown
from reportd.ports import RenderRequest

LEAVING_SECONDS = 12.0
"""A page whose script has said that it moves on is waited for this long; then it is printed as it is."""

SAYS_WHEN = frozenset({"event", "expression", "page"})
"""Conditions by which the page itself says when it is drawn."""

# `| 0` makes the answer a number, whatever the page does to these functions; else it could be of any size.
_STATUS = "performance.getEntriesByType('navigation')[0]?.responseStatus | 0"


async def empty(page: Cdp, monitor: PageMonitor) -> str:
    """Open an empty document; return its loader id."""
    monitor.opening()
    answer = await page.call("Page.navigate", url="about:blank")
    monitor.opened(answer["loaderId"])
    return str(answer["loaderId"])


async def replace_content(page: Cdp, frame_id: str, monitor: PageMonitor, html: str | None) -> None:
    """Replace an inert document and wait until it is loaded. No script runs, so the load event is this one's."""
    loading_ended = monitor.loading_ended
    await page.call("Page.setDocumentContent", frameId=frame_id, html=html)
    await loading_ended.wait()


class Visit:
    """The way of one job to its page. ``frame_id``: of the page's main frame."""

    def __init__(
        self,
        page: Cdp,
        frame_id: str,
        egress: Egress,
        emulation: Emulation,
        request: RenderRequest,
        monitor: PageMonitor,
    ) -> None:
        self._page = page
        self._frame_id = frame_id
        self._egress = egress
        self._emulation = emulation
        self._request = request
        self._monitor = monitor

    def takers(self) -> list[tuple[Pattern, Take]]:
        """Return who takes requests of the page: for the body of a POST, and for the report type's own headers."""
        options, url, token = self._request.options, self._request.url, self._request.token_headers()
        headers = OwnHeaders(options.headers, url, options.header_hosts, token) if options.headers or token else None
        parts: list[tuple[Pattern, Take]] = []
        if self._request.body is not None and url is not None:
            body, allowed = self._request.body, options.allow_redirects
            main = MainRequest(body, url, self._frame_id, headers, self._monitor, allowed)
            parts.append(main.part(self._page))
        if headers is not None:
            parts.append(headers.part(self._page))
        return parts

    def prepare(self) -> list[Answer]:
        """Send the settings that the job needs; none for most jobs."""
        options, url = self._request.options, self._request.url
        answers: list[Answer] = []
        if options.cookies and url is not None:
            cookies = [{"name": n, "value": v, "url": url} for n, v in options.cookies.items()]
            answers.append(self._page.send("Network.setCookies", cookies=cookies))
        if options.ready.kind == "networkidle":
            answers.append(self._page.send("Page.setLifecycleEventsEnabled", enabled=True))
        return answers

    async def open(self) -> None:
        """Open the page, and wait until it is ready. Raises FaultError, or as calls of ``Cdp`` do."""
        request, monitor = self._request, self._monitor
        if request.url is not None:
            if request.options.ready.kind == "event":
                await ready.listen(self._page, request.options.ready)
            await self._navigate(request.url)
        else:
            await self._set_content()
        monitor.activity = LOADING
        if monitor.loading_ended.is_set():  # the load event came before the answer to the navigation
            monitor.report_waiting()
        await self.until_ready()

    async def _set_content(self) -> None:
        request = self._request
        if request.options.ready.kind == "networkidle":
            # A document sends networkIdle once, and the present one may have sent it already.
            await empty(self._page, self._monitor)
        if request.options.ready.kind != "event":
            self._page.send("Page.setDocumentContent", frameId=self._frame_id, html=request.html)

    async def _navigate(self, url: str) -> None:
        monitor = self._monitor
        address = shown(url)
        monitor.activity = f"waiting for {address} to answer"
        monitor.opening()
        answer = await self._page.call("Page.navigate", url=url)
        if answer.get("isDownload"):
            raise FaultError(FaultKind.DOWNLOAD, f"{address} answered with a download")
        error = answer.get("errorText")
        if error == "net::ERR_ABORTED":
            raise await self._explain_abort(url)
        if error and error != "net::ERR_HTTP_RESPONSE_CODE_FAILURE":
            raise self._unreachable(url, error, f"{address} could not be opened: {error}")
        monitor.opened(answer["loaderId"])
        if error:
            # An error status without a body: the browser shows an error page of its own.
            await self._judge_status(url, self._ask_status(), ((1, 599),))
            raise self._unreachable(url, error, f"{address} could not be opened: {error}")

    async def _explain_abort(self, url: str) -> FaultError:
        """Navigate once more to learn the reason: no content to show, or a crash of Chromium's network process."""
        # Keep no response bodies: by default the renderer buffers them for the inspector.
        await self._page.call("Network.enable", maxTotalBufferSize=0, maxResourceBufferSize=0)
        await self._page.call("Page.navigate", url=url)
        if self._monitor.status in (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT):
            return FaultError(FaultKind.PAGE_STATUS, f"{shown(url)} answered {self._monitor.status}, without a page")
        return self._unreachable(url, "net::ERR_ABORTED", f"opening {shown(url)} was broken off")

    async def until_ready(self) -> None:
        """Wait until the page is ready and drawn; again for the document that the page moves on to by itself."""
        monitor = self._monitor
        while True:
            moved = monitor.moved
            try:
                await self._until_document_ready()
            except CdpError:
                # What was waited for is gone with its document. The event that says so may come a moment later.
                with trio.move_on_after(NOTICE_SECONDS):
                    await moved.wait()
                if not moved.is_set():
                    raise
            if monitor.leaving and not moved.is_set():
                monitor.activity = f"waiting for the page to move on to {shown(monitor.leaving)}"
                # A refresh comes for certain, so only the job's deadline ends the wait for it.
                with trio.move_on_after(math.inf if monitor.refreshing else LEAVING_SECONDS) as leaving:
                    while monitor.leaving and not moved.is_set():
                        await monitor.decided.wait()
                if leaving.cancelled_caught:
                    monitor.leaving = ""
            if not moved.is_set():
                return
            monitor.activity = LOADING

    async def _until_document_ready(self) -> None:
        request, monitor = self._request, self._monitor
        options, condition = request.options, request.options.ready
        status = self._ask_status() if request.url is not None else None
        if condition.kind == "event":
            answer = await ready.wait_for_event(self._page, self._frame_id, condition, request.html)
        else:
            answer = ready.wait_until(self._page, condition)
        if status is not None and request.url is not None:
            await self._judge_status(request.url, status, options.fail_on_status)
            document = monitor.document
            if fault := document_fault(request.url, document.url, document.media_type, options.allow_redirects):
                raise FaultError(fault.kind, fault.detail)
            named = lists(options.allow_redirects, document.url)
            if options.inject and not named and not window.is_its_own(request, document.url):
                detail = f"{shown(request.url)} redirected to {shown(document.url)}, another origin, which does not get"
                raise FaultError(FaultKind.REDIRECTED, f"{detail} its {options.inject}; let url be that address")
        ready.judge(await answer.get())
        if condition.kind == "networkidle":
            await monitor.network_idle.wait()
        await self._until_drawn()

    async def _until_drawn(self) -> None:
        options = self._request.options
        kind = options.ready.kind
        strict = kind == "stable"
        drawn = None if kind in SAYS_WHEN else settle.until_settled(self._page, strict=strict, limited=not strict)
        pending = settle.look_for_views(self._page)
        if drawn is not None:
            await drawn.get()
        views, surroundings = settle.views_of(await pending.get()), surroundings_of(options)
        if not views.observes and not views.lazy:
            return
        if views.height > surroundings.height:
            for answer in self._emulation.apply(replace(surroundings, height=views.height)):
                await answer.get()
        await settle.until_in_view(self._page).get()
        # What came into view may fetch its content first, and draw it then.
        await settle.until_settled(self._page, strict=strict or views.observes, limited=not strict).get()

    def _ask_status(self) -> Answer:
        return self._page.send("Runtime.evaluate", expression=_STATUS, returnByValue=True)

    async def _judge_status(self, url: str, pending: Answer, failures: tuple[tuple[int, int], ...]) -> None:
        answer = await pending.get()
        status = answer["result"].get("value")
        if isinstance(status, int) and any(first <= status <= last for first, last in failures):
            body = self._request.body
            fault = status_fault(status, shown(url), len(url), None if body is None else len(body.content))
            raise FaultError(fault.kind, fault.detail)

    def _unreachable(self, url: str, error: str, detail: str) -> FaultError:
        fault = opening_fault(url, error, detail, self._egress.refusals, self._egress.failures)
        return FaultError(fault.kind, fault.detail)

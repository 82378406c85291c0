"""Records what happens to a page during a job. The first fault cancels whatever the job waits for."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import trio

from reportd.adapters.chromium.page.ready import exception_text
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import RenderRequest


class PageMonitor:
    """Events of one job, or of the time between two jobs. ``blank``: loader id of the empty document it starts from.

    ``on_loaded`` is called at the page's load event; the page may not be ready yet.
    """

    def __init__(
        self, blank: str, request: RenderRequest | None = None, on_loaded: Callable[[RenderRequest], None] | None = None
    ) -> None:
        self.request = request
        self.scope = trio.CancelScope()
        self.fault: Fault | None = None
        self.network_idle = trio.Event()
        self.loading_ended = trio.Event()
        self.printed = False
        self.status: int | None = None
        """HTTP status of the main document; known only while network events are enabled."""
        self._on_loaded = on_loaded
        self._documents = {blank}
        self._opening = False
        self._navigated: set[str] = set()

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Record the first fault and cancel the job. After printing, only a lost connection counts, as the PDF is
        still to be read over it.
        """
        if self.fault is None and (not self.printed or kind is FaultKind.PAGE_CLOSED):
            self.fault = Fault(kind, detail)
            self.scope.cancel()

    def print_ended(self) -> None:
        """Ignore what the page does from now on: it is no longer in the PDF."""
        self.printed = True

    def resource_failed(self, detail: str) -> None:
        if self.request is not None and WarningKind.RESOURCES in self.request.options.fail_on:
            self.fail(FaultKind.RESOURCE_FAILED, detail)

    def script_failed(self, detail: str) -> None:
        if self.request is not None and WarningKind.SCRIPTS in self.request.options.fail_on:
            self.fail(FaultKind.SCRIPT_ERROR, detail)

    def loaded(self) -> None:
        self.loading_ended.set()
        if self.request is not None and self._on_loaded is not None:
            self._on_loaded(self.request)

    def opening(self) -> None:
        """A navigation was requested. Its document is unknown until ``opened``."""
        self._opening = True

    @property
    def navigating(self) -> bool:
        """Whether a navigation was requested and is not answered yet."""
        return self._opening

    def opened(self, loader: str) -> None:
        self._documents.add(loader)
        self._opening = False
        self._check()

    def navigated(self, loader: str) -> None:
        """The page shows this document now; a fault if the job did not ask for it."""
        self._navigated.add(loader)
        self._check()

    def _check(self) -> None:
        if self.request is not None and not self._opening and self._navigated - self._documents:
            self.fail(FaultKind.NAVIGATED_AWAY, "the page navigated to another document")


class Listener:
    """Passes the events of a page's connection to the monitor of the current job."""

    def __init__(self, page: Cdp, frame_id: str, monitor: PageMonitor) -> None:
        self.monitor = monitor
        self._page = page
        self._frame_id = frame_id
        page.on("Page.loadEventFired", lambda _: self.monitor.loaded())
        page.on("Page.lifecycleEvent", self._on_lifecycle)
        page.on("Page.frameNavigated", self._on_navigated)
        page.on("Page.downloadWillBegin", self._fails(FaultKind.DOWNLOAD, "the page started a download"))
        page.on("Page.javascriptDialogOpening", self._on_dialog)
        page.on("Network.responseReceived", self._on_response)
        page.on("Network.loadingFailed", self._on_loading_failed)
        page.on("Runtime.exceptionThrown", self._on_exception)
        page.on_closed(lambda: self.monitor.fail(FaultKind.PAGE_CLOSED, "the page closed itself"))

    def _fails(self, kind: FaultKind, detail: str) -> Callable[[dict[str, Any]], None]:
        return lambda _: self.monitor.fail(kind, detail)

    def _on_lifecycle(self, event: dict[str, Any]) -> None:
        if event["frameId"] != self._frame_id:
            return
        if event["name"] == "networkIdle":
            self.monitor.network_idle.set()
        elif event["name"] == "DOMContentLoaded":
            # An earlier networkIdle was about the empty page.
            self.monitor.network_idle = trio.Event()

    def _on_navigated(self, event: dict[str, Any]) -> None:
        frame = event["frame"]
        if "parentId" not in frame:
            self.monitor.navigated(frame["loaderId"])

    def _on_dialog(self, event: dict[str, Any]) -> None:
        # Dismiss every dialog, except the one that would block leaving the page.
        self._page.send("Page.handleJavaScriptDialog", accept=event.get("type") == "beforeunload")

    def _on_response(self, event: dict[str, Any]) -> None:
        status = event["response"]["status"]
        if event.get("type") == "Document" and event.get("frameId") == self._frame_id:
            self.monitor.status = status
        elif status >= HTTPStatus.BAD_REQUEST:
            self.monitor.resource_failed(f"{shown(event['response']['url'])} answered {status}")

    def _on_loading_failed(self, event: dict[str, Any]) -> None:
        if not event.get("canceled"):
            self.monitor.resource_failed(f"a sub-resource could not be loaded: {event.get('errorText')}")

    def _on_exception(self, event: dict[str, Any]) -> None:
        self.monitor.script_failed(exception_text(event["exceptionDetails"]))


def shown(url: str) -> str:
    """Return a URL without query and user part, for logs and errors: they may hold customer data and a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"

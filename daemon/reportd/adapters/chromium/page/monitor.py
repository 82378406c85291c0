"""Records what happens to a page during a job. The first fault cancels whatever the job waits for."""

import re
from dataclasses import dataclass
from typing import Any

import trio

from reportd.adapters.chromium.page import evidence
from reportd.adapters.chromium.page.ready import exception_text
from reportd.adapters.chromium.page.window import BINDING
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.adapters.egress.proxy import Egress
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.evidence import Console
from reportd.core.jobs.warnings import JobWarning, WarningCollector, WarningKind, fault_of
from reportd.core.pages.documents import REFRESH_SECONDS, may_redirect, same_place, shown, without_secrets
from reportd.core.pages.heard import heard
from reportd.core.pages.network import normal_host, url_target
from reportd.ports import OnProgress, RenderRequest, ignore_progress

_STATUS = re.compile(r"status of ([1-5][0-9]{2})\b")
_ERROR = re.compile(r"net::[A-Z_0-9]+")
_SOCKET = re.compile(r"WebSocket connection to '(wss?://[^']+)'")
_QUOTED = re.compile(r"'(https?://[^']+)'")
_REFUSED = re.compile(r"MIME type|integrity")
_FONT = re.compile(r"\.(woff2?|ttf|otf|eot)$", re.IGNORECASE)

LOADING = "waiting for the page to load"

MAX_REFRESHES = 30
"""A page that refreshes itself so often is one that is kept up to date for its reader."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the page shows. ``url``: where it came from after redirects; ``media_type`` as the server said."""

    url: str = ""
    media_type: str = ""


class PageMonitor:
    """Events of one job, or of the time between two jobs. ``blank``: loader id of the empty document it starts from."""

    def __init__(
        self, blank: str, request: RenderRequest | None = None, on_progress: OnProgress = ignore_progress
    ) -> None:
        self.request = request
        self.on_progress = on_progress
        self.progress: float | None = None
        """How far the page says that it is."""
        self.activity = "idle"
        """What the job waits for now, for the text of a timeout."""
        self.scope = trio.CancelScope()
        self.fault: Fault | None = None
        self.network_idle = trio.Event()
        self.loading_ended = trio.Event()
        self.printed = False
        self.status: int | None = None
        """HTTP status of the main document; known only while network events are enabled."""
        self.warnings = WarningCollector()
        self.console = Console() if request is not None and request.options.evidence else None
        self.document = Document()
        self.moved = trio.Event()
        """Set, and replaced, when the page moves on by itself to a document that may be the report, too."""
        self._reloads = 0
        self._refreshes = 0
        self.leaving = ""
        """Where the page has asked to move on to: what it shows now is not the report."""
        self.refreshing = False
        """Whether it moves on by a refresh, in a meta element or a header."""
        self._documents = {blank}
        self._opening = False
        self._navigated: dict[str, Document] = {}

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Record the first fault and cancel the job. After printing, only a lost connection counts, as the PDF is
        still to be read over it.
        """
        if self.fault is None and (not self.printed or kind is FaultKind.PAGE_CLOSED):
            self.fault = Fault(kind, detail)
            self.scope.cancel()

    def heard(self, message: str) -> None:
        """The page says something by ``window.reportd``."""
        if self.request is None or self.printed:
            return
        said = heard(message)
        if isinstance(said, Fault):
            self.fail(said.kind, said.detail)
        elif said is not None:
            self.progress = said
            self.on_progress(said)

    def print_ended(self) -> None:
        """Ignore what the page does from now on: it is no longer in the PDF."""
        self.printed = True

    def warn(self, kind: WarningKind, what: str, why: str, *, refused: bool = False) -> None:
        """Record what the PDF will lack; a fault if the report type's ``fail_on`` says so."""
        if self.request is None or self.printed:
            return
        fault = self.warned(self.warnings.add(kind, what, why, refused=refused))
        if fault is not None:
            self.fail(fault.kind, fault.detail)

    def warned(self, warning: JobWarning) -> Fault | None:
        """Return the fault that a warning is for this job, if any."""
        return None if self.request is None else fault_of(warning, self.request.options.fail_on)

    def loaded(self) -> None:
        self.loading_ended.set()
        self.report_waiting()

    def report_waiting(self) -> None:
        """The page is loaded, and may not be ready yet."""
        if self.activity == LOADING and self.request is not None:
            condition = self.request.options.ready
            words = f"waiting until the page is ready ({condition.kind} {condition.argument}"
            says = condition.kind == "page"
            self.activity = "waiting until the page calls reportd.ready()" if says else words.rstrip() + ")"

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

    def navigated(self, loader: str, document: Document) -> None:
        """The page shows this document now; a fault if the job did not ask for it."""
        self.document = document
        self._navigated[loader] = document
        self._check()

    def refreshes(self, url: str, seconds: float) -> None:
        """The page sends its reader on after some time, by a meta element or a header."""
        if self.request is None or seconds > REFRESH_SECONDS:
            return
        if self._may_move(url):
            self.refreshing, self.leaving = True, url
        else:
            self.fail(FaultKind.NAVIGATED_AWAY, self.away(url, f" after {seconds:g} s").detail)

    def leaves(self, url: str) -> None:
        """A script, or a link or form that one uses, asks for another document."""
        # Any other scheme (mailto:) opens another program, and the page stays.
        replaces = url.startswith(("http:", "https:", "about:", "data:", "blob:"))
        if self.request is not None and replaces and not self._opening and not self.printed:
            self.leaving = url

    def stays(self) -> None:
        """What was asked for is a part of the same document."""
        if not self.refreshing:
            self.leaving = ""

    def away(self, url: str, why: str = "") -> Fault:
        """Return the fault of a page that has moved on to ``url``."""
        return Fault(FaultKind.NAVIGATED_AWAY, f"the page navigated to another document{why}: {shown(url)}")

    def _check(self) -> None:
        if self.request is None or self._opening:
            return
        for loader in self._navigated.keys() - self._documents:
            document = self._navigated[loader]
            # A page that reloads itself once may be clearing its cache; one that goes on would never be printed.
            once_more = self._refreshes < MAX_REFRESHES if self.refreshing else not self._reloads
            if not (once_more and self._may_move(document.url)):
                again = " again" if same_place(document.url, self.request.url or "") else ""
                self.fail(FaultKind.NAVIGATED_AWAY, self.away(document.url, again).detail)
                return
            self._documents.add(loader)
            self._refreshes += self.refreshing
            self._reloads += not self.refreshing
            self.refreshing, self.leaving = False, ""
            self.loading_ended = trio.Event()
            self.moved.set()
            self.moved = trio.Event()

    def _may_move(self, url: str) -> bool:
        request = self.request
        return (
            request is not None
            and request.url is not None
            and may_redirect(request.url, url, request.options.allow_redirects)
        )


class Listener:
    """Passes the events of a page's connection to the monitor of the current job."""

    def __init__(self, page: Cdp, frame_id: str, monitor: PageMonitor, egress: Egress) -> None:
        self.monitor = monitor
        self._page = page
        self._frame_id = frame_id
        self._egress = egress
        page.on("Page.loadEventFired", lambda _: self.monitor.loaded())
        page.on("Page.lifecycleEvent", self._on_lifecycle)
        page.on("Page.frameNavigated", self._on_navigated)
        page.on("Page.frameScheduledNavigation", self._on_scheduled)
        page.on("Page.frameRequestedNavigation", self._on_requested)
        page.on("Page.navigatedWithinDocument", self._on_moved_within)
        page.on("Page.downloadWillBegin", self._on_download)
        page.on("Page.javascriptDialogOpening", self._on_dialog)
        page.on("Network.responseReceived", self._on_response)
        page.on("Log.entryAdded", self._on_log_entry)
        page.on("Runtime.bindingCalled", self._on_said)
        page.on("Runtime.exceptionThrown", self._on_exception)
        page.on("Runtime.consoleAPICalled", self._on_console)
        page.on_closed(lambda: self.monitor.fail(FaultKind.PAGE_CLOSED, "the page closed itself"))

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
            url = frame.get("unreachableUrl") or frame["url"]
            self.monitor.navigated(frame["loaderId"], Document(url, frame["mimeType"]))
        elif url := frame.get("unreachableUrl"):
            # Nothing is logged of the document of a frame, unless it has an error status.
            refusal = self._refusal(url)
            why = f"is not loaded: {refusal}" if refusal else "could not be loaded into its frame"
            self.monitor.warn(WarningKind.RESOURCES, shown(url), why, refused=bool(refusal))

    def _on_scheduled(self, event: dict[str, Any]) -> None:
        if event["frameId"] == self._frame_id and event["reason"] in ("metaTagRefresh", "httpHeaderRefresh"):
            self.monitor.refreshes(event["url"], event["delay"])

    def _on_requested(self, event: dict[str, Any]) -> None:
        if event["frameId"] == self._frame_id and event["disposition"] == "currentTab":
            self.monitor.leaves(event["url"])

    def _on_moved_within(self, event: dict[str, Any]) -> None:
        if event["frameId"] == self._frame_id:
            self.monitor.stays()

    def _on_download(self, _: dict[str, Any]) -> None:
        request = self.monitor.request
        if self.monitor.navigating and request is not None and request.url is not None:
            self.monitor.fail(FaultKind.DOWNLOAD, f"{shown(request.url)} answered with a download")
        else:
            self.monitor.fail(FaultKind.DOWNLOAD, "the page started a download")

    def _on_dialog(self, event: dict[str, Any]) -> None:
        # Dismiss every dialog, except the one that would block leaving the page.
        self._page.send("Page.handleJavaScriptDialog", accept=event.get("type") == "beforeunload")

    def _on_response(self, event: dict[str, Any]) -> None:
        if event.get("type") == "Document" and event.get("frameId") == self._frame_id:
            self.monitor.status = event["response"]["status"]

    def _on_log_entry(self, event: dict[str, Any]) -> None:
        """A resource failed. Chromium logs it, whichever element or script asked for it."""
        entry = event["entry"]
        if entry["level"] != "error" or not entry.get("url"):
            return
        url, text = entry["url"], entry["text"]
        if entry["source"] in ("javascript", "security") and _REFUSED.search(text):
            # It came, and the browser does not use it: a login form in place of a script, for example.
            quoted = _QUOTED.search(text)  # the entry may have the address of the page
            self.monitor.warn(WarningKind.RESOURCES, shown(quoted[1] if quoted else url), without_secrets(text))
        if entry["source"] != "network":
            return
        if socket := _SOCKET.search(text):  # the entry has the address of the page
            url = socket[1]
        if self.monitor.document.url == url and _STATUS.search(text):
            return  # the document itself; fail_on_status judges it
        kind = WarningKind.FONTS if _FONT.search(shown(url)) else WarningKind.RESOURCES
        if refusal := self._refusal(url):
            self.monitor.warn(kind, shown(url), f"is not loaded: {refusal}", refused=True)
        elif status := _STATUS.search(text):
            self.monitor.warn(kind, shown(url), f"answered {status[1]}")
        else:
            error = _ERROR.search(text)
            self.monitor.warn(kind, shown(url), f"could not be loaded: {error[0] if error else 'no reason given'}")

    def _refusal(self, url: str) -> str:
        """Return why the egress refused the host of a URL; empty if it did not."""
        try:
            host, port = url_target(re.sub(r"^ws(?=s?:)", "http", url))
            name = str(normal_host(host))
        except ValueError:
            return ""
        return next((each.reason for each in self._egress.refusals if (each.host, each.port) == (name, port)), "")

    def _on_said(self, event: dict[str, Any]) -> None:
        if event["name"] == BINDING:
            self.monitor.heard(event["payload"])

    def _on_exception(self, event: dict[str, Any]) -> None:
        text = exception_text(event["exceptionDetails"])
        self.monitor.warn(WarningKind.SCRIPTS, text, "uncaught exception")
        if self.monitor.console is not None:
            self.monitor.console.add("uncaught", [text])

    def _on_console(self, event: dict[str, Any]) -> None:
        if self.monitor.console is not None:
            self.monitor.console.add(event["type"], evidence.words(event))

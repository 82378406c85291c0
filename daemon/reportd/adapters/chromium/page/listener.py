"""Passes the events of a page's connection to the monitor of its job, in the words of the job.

Made by the page, once.
"""

import re
from typing import Any

import trio

from reportd.adapters.chromium.page import evidence
from reportd.adapters.chromium.page.monitor import Document, PageMonitor
from reportd.adapters.chromium.page.ready import exception_text
from reportd.adapters.chromium.page.window import BINDING
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.adapters.egress.proxy import Egress
from reportd.core.faults import FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.documents import shown, without_secrets
from reportd.core.pages.network import normal_host, url_target

_STATUS = re.compile(r"status of ([1-5][0-9]{2})\b")
_ERROR = re.compile(r"net::[A-Z_0-9]+")
_SOCKET = re.compile(r"WebSocket connection to '(wss?://[^']+)'")
_QUOTED = re.compile(r"'(https?://[^']+)'")
_REFUSED = re.compile(r"MIME type|integrity")
_FONT = re.compile(r"\.(woff2?|ttf|otf|eot)$", re.IGNORECASE)


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
        page.on("Page.frameStartedLoading", self._on_started)
        page.on("Page.frameStoppedLoading", self._on_stopped)
        page.on("Page.downloadWillBegin", self._on_download)
        page.on("Page.javascriptDialogOpening", self._on_dialog)
        page.on("Network.responseReceived", self._on_response)
        page.on("Log.entryAdded", self._on_log_entry)
        page.on("Runtime.bindingCalled", self._on_said)
        page.on("Runtime.exceptionThrown", self._on_exception)
        page.on("Runtime.exceptionRevoked", lambda event: self.monitor.caught_later(event["exceptionId"]))
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

    def _on_started(self, event: dict[str, Any]) -> None:
        if event["frameId"] == self._frame_id:
            self.monitor.starts_loading()

    def _on_stopped(self, event: dict[str, Any]) -> None:
        if event["frameId"] == self._frame_id:
            self.monitor.stops_loading()

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
        details = event["exceptionDetails"]
        self.monitor.exception(details["exceptionId"], exception_text(details))

    def _on_console(self, event: dict[str, Any]) -> None:
        if self.monitor.console is not None:
            self.monitor.console.add(event["type"], evidence.words(event))

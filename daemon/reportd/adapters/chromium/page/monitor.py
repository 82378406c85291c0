"""Records what happens to a page during a job. The first fault cancels whatever the job waits for."""

from dataclasses import dataclass

import trio

from reportd.concurrency.signal import Signal
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.evidence import Console
from reportd.core.jobs.warnings import JobWarning, WarningCollector, WarningKind, fault_of
from reportd.core.pages.documents import REFRESH_SECONDS, may_redirect, same_place, shown
from reportd.core.pages.heard import heard
from reportd.ports import OnProgress, RenderRequest, ignore_progress

LOADING = "waiting for the page to load"

NOTICE_SECONDS = 0.25
"""How long to wait for the event that explains something else (a crash, for example): it may come a moment later."""

MAX_REFRESHES = 30
"""A page that refreshes itself so often is one that is kept up to date for its reader."""

MAX_EXCEPTIONS = 1000
"""Uncaught exceptions of a job that can be taken back. A page may throw millions."""


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
        self._unexplained = False
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
        self.decided = Signal()
        """Notified when the page has moved on, or stays after all."""
        self._on_its_way = False
        self.refreshing = False
        """Whether it moves on by a refresh, in a meta element or a header."""
        self._exceptions: dict[int, JobWarning] = {}
        self._documents = {blank}
        self._opening = False
        self._navigated: dict[str, Document] = {}

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Record the first fault and cancel the job. After printing, only a lost connection counts, as the PDF is
        still to be read over it.
        """
        if (self.fault is None or self._unexplained) and (not self.printed or kind is FaultKind.PAGE_CLOSED):
            self.fault, self._unexplained = Fault(kind, detail), False
            self.scope.cancel()

    def fail_unless_explained(self, kind: FaultKind, detail: str) -> None:
        """Do the same a moment later, unless an event that is its reason, such as a download, comes first."""
        if self.fault is None and not self.printed:
            self.fault, self._unexplained = Fault(kind, detail), True
            self.scope.deadline = trio.current_time() + NOTICE_SECONDS

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

    def warn(self, kind: WarningKind, what: str, why: str, *, refused: bool = False) -> JobWarning | None:
        """Record what the PDF will lack; a fault if the report type's ``fail_on`` says so."""
        if self.request is None or self.printed:
            return None
        warning = self.warnings.add(kind, what, why, refused=refused)
        fault = self.warned(warning)
        if fault is not None:
            self.fail(fault.kind, fault.detail)
        return warning

    def exception(self, number: int, text: str) -> None:
        """An exception is uncaught, so far. ``number``: the browser's, for ``caught_later``."""
        warning = self.warn(WarningKind.SCRIPTS, text, "uncaught exception")
        if warning is not None and len(self._exceptions) < MAX_EXCEPTIONS:
            self._exceptions[number] = warning
        if self.console is not None:
            self.console.add("uncaught", [text])

    def caught_later(self, number: int) -> None:
        """Somebody has handled a rejected promise, after the browser had told that nobody had."""
        if (warning := self._exceptions.pop(number, None)) is not None:
            self.warnings.take_back(warning)

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
        # A script that runs at once asks before the answer to the navigation is here.
        shows = bool(self._navigated) or not self._opening
        if self.request is not None and replaces and shows and not self.printed:
            self.leaving, self._on_its_way = url, False

    def starts_loading(self) -> None:
        """The page has begun to load what it last asked for."""
        self._on_its_way = bool(self.leaving)

    def stops_loading(self) -> None:
        """Nothing is being loaded any more: what was asked for has no content, or was given up."""
        # A form asks before the load of the present document ends, and begins after that.
        if not self._on_its_way:
            return
        if self.loading_ended.is_set() or self.refreshing:
            self.stays()
        else:
            # It gave up the rest of its own document and its load event for the other one.
            away = self.away(self.leaving, ", which never came, before it was loaded")
            self.fail_unless_explained(away.kind, away.detail)

    def stays(self) -> None:
        """What was asked for is a part of the same document, or no document came."""
        if not self.refreshing:
            self.leaving, self._on_its_way = "", False
            self.decided.notify()

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
            self.refreshing, self.leaving, self._on_its_way = False, "", False
            self.loading_ended = trio.Event()
            self.moved.set()
            self.moved = trio.Event()
            self.decided.notify()

    def _may_move(self, url: str) -> bool:
        request = self.request
        return (
            request is not None
            and request.url is not None
            and may_redirect(request.url, url, request.options.allow_redirects)
        )

"""Ports of rendering: the renderer, its browsers and their pages."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.network import NetworkRule
from reportd.core.pages.post import Body
from reportd.ports.artifacts import Pdf


@dataclass(frozen=True, slots=True)
class Ready:
    """When a page may be printed. ``kind``: load, networkidle, stable, selector, expression, event or page."""

    kind: str = "load"
    argument: str = ""


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where the server of a page finds its render token: in a header, or in a cookie, of that name."""

    header: str = ""
    cookie: str = ""

    def headers(self, token: str) -> dict[str, str]:
        """Return the headers of a request that carries the token."""
        if self.cookie:
            return {"Cookie": f"{self.cookie}={token}"}
        return {self.header: f"Bearer {token}" if self.header.lower() == "authorization" else token}


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a page is opened, checked and printed. ``print_parameters``: of CDP ``Page.printToPDF``.

    ``headers`` are sent to the URL's own origin and to the ``header_hosts``. ``allow_redirects``: every path, or these.
    ``expect``: of kind selector or text; it must be there when the page is printed. ``fail_on``: warnings that are
    faults. ``viewport``: width and height in CSS pixels; None for the printable area of the paper.
    ``device_scale_factor``: device pixels per CSS pixel. ``fixed_paper``: a size in the page's ``@page`` rule does not
    count. ``fit_width``: wide content is scaled down. ``content_height``: the sheet is as high as its content.
    ``locale``: a BCP 47 tag, ``timezone``: an IANA name; empty: the browser's own. ``evidence``: a fault comes
    with its evidence. ``inject``: the name in ``window`` of what the job is about; empty for none. ``token``: the URL's
    own origin gets a render token, which is valid for ``token_margin_seconds`` more than the attempt may take.
    """

    ready: Ready = Ready()
    delay_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    header_hosts: NetworkRule = field(default_factory=lambda: NetworkRule(frozenset()))
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    media: str = "print"
    fail_on_status: tuple[tuple[int, int], ...] = ((400, 599),)
    allow_redirects: bool | tuple[str, ...] = False
    expect: Ready | None = None
    fail_on: frozenset[WarningKind] = frozenset()
    reduced_motion: bool = True
    viewport: tuple[int, int] | None = None
    device_scale_factor: float = 1.0
    max_page_bytes: int = 104857600
    fixed_paper: bool = False
    fit_width: bool = False
    content_height: bool = False
    print_parameters: Mapping[str, Any] = field(default_factory=dict)
    locale: str = ""
    timezone: str = ""
    evidence: bool = False
    inject: str = ""
    token: TokenPlace | None = None
    token_margin_seconds: float = 0.0


class Assets(Protocol):
    """The files that the pages of a template may ask for. ``edition``: the hash in their address."""

    template: str
    edition: str

    async def find(self, name: str) -> bytes:
        """Return the contents of a file. Raises FaultError when it is not there, or can't be read."""
        ...


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One page to print: ``html`` or ``url``. ``inert``: the HTML leaves nothing behind (``core.pages.inert``).

    ``body``: sent with the main request, which is a POST then. ``parameters``: a JSON object as text, for
    ``options.inject``. ``token``: the render token of the attempt, where the options have a place for it. ``edition``:
    the hash of the template's files. ``assets``: None if the page asks for none.
    """

    task_id: str
    report_type: str
    rule: NetworkRule
    options: RenderOptions
    timeout_seconds: float
    html: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    inert: bool = False
    isolation: str = "page"
    body: Body | None = None
    parameters: str = field(default="{}", repr=False)
    token: str = field(default="", repr=False)
    edition: str = ""
    assets: Assets | None = field(default=None, repr=False)

    def token_headers(self) -> dict[str, str]:
        """Return the headers with the render token. They are for the URL's own origin and for nobody else."""
        place = self.options.token
        return place.headers(self.token) if place is not None and self.token else {}


OnProgress = Callable[[float], None]
"""Called with how far a page says that it is, from 0 to 1, some times a second at most."""


def ignore_progress(_: float) -> None:
    """Nobody wants to know how far the page is."""


class Slot(Protocol):
    """A slot of the renderer: one page at a time."""

    async def render(
        self, request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress = ignore_progress
    ) -> Pdf:
        """Return the PDF within the request's ``timeout_seconds``. Raises FaultError.

        ``dedicated_browser``: in a dedicated browser.
        """
        ...


class Renderer(Protocol):
    """Renders a bounded number of requests at once."""

    def slot(self) -> AbstractAsyncContextManager[Slot]:
        """Wait for a slot, without a time limit, and hold it for the block."""
        ...


ToPrint = Callable[[], Awaitable[None]]


async def print_immediately() -> None:
    """Print a ready page without waiting."""


class Page(Protocol):
    """A warm, attached page in its own browser context."""

    @property
    def activity(self) -> str:
        """What it waits for now, for the text of a timeout."""
        ...

    async def render(
        self,
        request: RenderRequest,
        to_print: ToPrint = print_immediately,
        on_progress: OnProgress = ignore_progress,
    ) -> Pdf:
        """Open, wait until ready, print. The caller owns the deadline. Raises FaultError.

        ``to_print`` is awaited between ready and print.
        """
        ...

    async def pending(self) -> str:
        """Return what the cancelled render still waited for, to be appended to its ``activity``; empty if unknown.

        Takes at most a second, and stops what the page loads.
        """
        ...

    async def evidence(self, activity: str) -> Evidence:
        """Return what there is to see of the render that failed or was cancelled, if its options want ``evidence``.

        Takes at most a second. ``activity``: what it was doing.
        """
        ...

    async def is_idle(self) -> bool:
        """Return whether the page of a running render hardly uses the processor now. Takes at most a second."""
        ...

    async def scrub(self) -> bool:
        """Remove all traces of the last job. False: some may remain, so leave the page; its context ends with it."""
        ...


class Browser(Protocol):
    """One browser process tree. ``died`` is set when it is gone, for any reason."""

    pid: int
    died: trio.Event

    def page(self) -> AbstractAsyncContextManager[Page]:
        """Open a page. Leaving the block closes it in any state, and ends the whole browser if needed.

        Raises BrowserError when the browser can't open one.
        """
        ...

    def memory_mib(self) -> float: ...


class BrowserError(Exception):
    """No browser or page is available. The text says what to do, where known."""


class Launcher(Protocol):
    """Starts browsers."""

    def launch(self, *, container: bool = False) -> AbstractAsyncContextManager[Browser]:
        """Start a browser. Leaving the block ends its whole process group and removes its profile folder.

        ``container``: in its own namespaces, with limited resources.

        Raises BrowserError when it can't be started.
        """
        ...

"""What turns pages into PDFs, and the browsers it is made of."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from reportd.core.pages.network import NetworkRule
from reportd.ports.artifacts import Pdf


@dataclass(frozen=True, slots=True)
class Ready:
    """When a page may be printed. ``kind``: load, networkidle, selector, expression or event."""

    kind: str = "load"
    argument: str = ""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a page is opened, judged and printed. ``print_parameters`` are those of CDP ``Page.printToPDF``.

    ``headers`` go to the URL's own origin, and to the ``header_hosts``.
    """

    ready: Ready = Ready()
    delay_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    header_hosts: NetworkRule = field(default_factory=lambda: NetworkRule(frozenset()))
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    media: str = "print"
    fail_on_status: tuple[tuple[int, int], ...] = ((400, 599),)
    fail_on_resource_errors: bool = False
    fail_on_script_errors: bool = False
    max_page_bytes: int = 104857600
    print_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One page to print: ``html`` or ``url``. ``inert``: the HTML can leave nothing behind (``core.pages.inert``)."""

    task_id: str
    report_type: str
    rule: NetworkRule
    options: RenderOptions
    timeout_seconds: float
    html: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    inert: bool = False
    isolation: str = "page"


class Slot(Protocol):
    """Leave to render now. ``alone``: in a browser that nobody else uses."""

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        """The PDF, within the request's ``timeout_seconds``. Raises FaultError."""
        ...


class Renderer(Protocol):
    """Renders so many requests at once, and no more."""

    def slot(self) -> AbstractAsyncContextManager[Slot]:
        """Wait for a slot, however long, and hold it for the block."""
        ...


ToPrint = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """A page that is ready is printed without waiting for anything."""


class Page(Protocol):
    """A page in a browser context of its own, warm and attached."""

    doing: str
    """What it waits for just now, for the text of a timeout."""

    async def render(self, request: RenderRequest, to_print: ToPrint = at_once) -> Pdf:
        """Open, wait until ready, print. The caller owns the deadline. Raises FaultError.

        ``to_print`` is awaited when the page is ready.
        """
        ...

    async def waits(self) -> bool:
        """Of a render under way: whether the page hardly uses the processor just now. Takes a second at most."""
        ...

    async def scrub(self) -> bool:
        """Forget the last job. False: something of it may be left, so leave the page, which ends with its context."""
        ...


class Browser(Protocol):
    """One browser process tree. ``died`` is set when it is gone, whatever the cause."""

    pid: int
    died: trio.Event

    def page(self) -> AbstractAsyncContextManager[Page]:
        """A new page. Leaving the block takes it away whatever it is doing, with the whole browser if need be.

        Raises BrowserError when the browser can't give one.
        """
        ...

    def memory_mib(self) -> float: ...


class BrowserError(Exception):
    """No browser, or no page of it, can be had. The text says what to do where that is known."""


class Launcher(Protocol):
    """Starts browsers."""

    def launch(self, *, container: bool = False) -> AbstractAsyncContextManager[Browser]:
        """A new browser. Leaving the block ends its whole process group and removes its profile folder.

        ``container``: in namespaces of its own, with limits to what it may use.

        Raises BrowserError when it can't be started.
        """
        ...

"""A real Chromium for tests: one browser that all tests of a module share, as starting one takes most of a second.

pytest-trio runs each test under a loop of its own, which a browser can't outlive. So the browser lives on a
thread, and ``on_stage`` turns an async test into one that runs there.
"""

import functools
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pypdf import PdfReader

from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.concurrency.nurseries import open_background
from reportd.core.faults import Fault, FaultError
from reportd.core.jobs.evidence import Evidence
from reportd.core.pages.inert import is_inert
from reportd.core.pages.network import NetworkRule
from reportd.ports import (
    Browser,
    Launcher,
    OnProgress,
    Page,
    Pdf,
    RenderOptions,
    RenderRequest,
    ToPrint,
    ignore_progress,
    print_immediately,
)
from tests.standstill import Standstill

TEST_SECONDS = 30.0
"""For a whole test: what hangs has failed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``data_dir`` is the launcher's; ``own_ports`` are those that its daemon listens on."""

    portal: BlockingPortal
    launcher: Launcher
    browser: Browser
    data_dir: Path
    own_ports: set[int]
    container: bool
    guard: Standstill

    def page(self) -> AbstractAsyncContextManager[Page]:
        """As the pool keeps one: whatever can't be scrubbed gives way to a new page."""
        return _kept(self.browser)


@asynccontextmanager
async def _kept(browser: Browser) -> AsyncIterator[Page]:
    async with open_background() as nursery:
        page = _KeptPage(browser, nursery)
        await page.renew()
        yield page


class _KeptPage:
    """The page itself is held by a task, so that a test may change it in the middle of anything."""

    def __init__(self, browser: Browser, nursery: trio.Nursery) -> None:
        self._browser = browser
        self._nursery = nursery
        self._leave, self._left = trio.Event(), trio.Event()
        self._left.set()

    async def renew(self) -> None:
        self._leave.set()
        await self._left.wait()
        self._leave, self._left = trio.Event(), trio.Event()
        self._page: Page = await self._nursery.start(self._hold, self._leave, self._left)

    async def _hold(self, leave: trio.Event, left: trio.Event, task_status: trio.TaskStatus[Page]) -> None:
        async with self._browser.page() as page:
            task_status.started(page)
            await leave.wait()
        left.set()

    @property
    def activity(self) -> str:
        return self._page.activity

    async def render(
        self,
        request: RenderRequest,
        to_print: ToPrint = print_immediately,
        on_progress: OnProgress = ignore_progress,
    ) -> Pdf:
        return await self._page.render(request, to_print, on_progress)

    async def pending(self) -> str:
        return await self._page.pending()

    async def evidence(self, activity: str) -> Evidence:
        return await self._page.evidence(activity)

    async def is_idle(self) -> bool:
        return await self._page.is_idle()

    async def scrub(self) -> bool:
        if not await self._page.scrub():
            await self.renew()
        return True


@contextmanager
def open_stage(data_dir: Path, settings: ChromiumSettings | None = None, *, container: bool = False) -> Iterator[Stage]:
    own_ports: set[int] = set()
    opened = open_launcher(settings or ChromiumSettings(), data_dir, lambda _address, port: port in own_ports)
    with (
        start_blocking_portal("trio", backend_options={"instruments": [guard := Standstill()]}) as portal,
        portal.wrap_async_context_manager(opened) as launcher,
        portal.wrap_async_context_manager(launcher.launch(container=container)) as browser,
    ):
        yield Stage(portal, launcher, browser, data_dir, own_ports, container, guard)


def on_stage(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test, run where its fixture ``stage`` lives."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        async def limited() -> None:
            with trio.fail_after(TEST_SECONDS):
                await test(**fixtures)

        stage: Stage = fixtures["stage"]
        stage.guard.forget()
        stage.portal.call(limited)
        stage.guard.check()

    return run


def request(*, url: str = "", html: str | None = None, hosts: tuple[str, ...] = (), **options: Any) -> RenderRequest:
    """``options`` are those of RenderOptions."""
    return RenderRequest(
        task_id="0190b6e0-0000-7000-8000-000000000000",
        report_type="test",
        rule=NetworkRule.of(hosts, url),
        options=RenderOptions(**options),
        timeout_seconds=TEST_SECONDS,
        html=html,
        inert=html is not None and is_inert(html),
        url=url or None,
    )


async def fault_of(page: Page, wanted: RenderRequest) -> Fault | None:
    """What the page fails with; None if it is printed."""
    try:
        (await page.render(wanted)).discard()
    except FaultError as error:
        return error.fault
    return None


def text_of(pdf: Pdf) -> str:
    """What is printed in it, a blank between any two words."""
    assert pdf.data is not None
    text = " ".join(page.extract_text() for page in PdfReader(BytesIO(pdf.data)).pages)
    return " ".join(unicodedata.normalize("NFKC", text).split())

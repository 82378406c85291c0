"""What the machine can do: warm pages of one browser, driven in a bare loop that neither scrubs nor stores."""

import base64
from pathlib import Path

import trio

from reportd.adapters.chromium.browser import FLAGS, find_executable
from reportd.adapters.chromium.process.process import open_process
from reportd.adapters.chromium.process.run_folder import open_run_folder
from reportd.adapters.chromium.protocol.cdp import Cdp, open_cdp
from reportd.config.pdf import PdfOptions

PRINT = PdfOptions().print_parameters()


async def renders_per_second(html: str, count: int, pages: int, folder: Path) -> float:
    """``count`` renders of the same page, shared by so many pages at once; each page has been warmed."""
    async with open_run_folder(folder) as run_folder:
        command = [find_executable(""), *FLAGS, "--no-sandbox"]
        async with (
            open_process(command, run_folder, 20) as process,
            open_cdp(process.read_fd, process.write_fd) as browser,
        ):
            drivers = [await _page(browser) for _ in range(pages)]
            async with trio.open_nursery() as nursery:
                for page, frame in drivers:
                    nursery.start_soon(_renders, page, frame, html, iter(range(2)))
            left = iter(range(count))
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                for page, frame in drivers:
                    nursery.start_soon(_renders, page, frame, html, left)
            seconds = trio.current_time() - begun
    return count / seconds


async def _page(browser: Cdp) -> tuple[Cdp, str]:
    target = await browser.call("Target.createTarget", url="about:blank")
    page = await browser.attach(target["targetId"])
    await page.call("Page.enable")
    tree = await page.call("Page.getFrameTree")
    return page, tree["frameTree"]["frame"]["id"]


async def _renders(page: Cdp, frame: str, html: str, left: object) -> None:
    loaded: list[trio.Event] = [trio.Event()]
    page.on("Page.loadEventFired", lambda _: loaded[0].set())
    for _ in left:  # type: ignore[attr-defined]
        loaded[0] = trio.Event()
        await page.call("Page.setDocumentContent", frameId=frame, html=html)
        await loaded[0].wait()
        printed = await page.call("Page.printToPDF", **PRINT)
        assert base64.b64decode(printed["data"]).startswith(b"%PDF-")

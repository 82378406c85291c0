"""A window of a real browser, and a user who clicks and types in it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.adapters.chromium.page.page import ChromiumPage
from reportd.core.pages.network import NetworkRule
from reportd.ports import Browser

LOOK_SECONDS = 0.02

MIDDLE = """
(() => {
  const seen = [...document.querySelectorAll(%s)].find((one) => one.checkVisibility());
  seen?.scrollIntoView({ block: "center", behavior: "instant" });
  const box = seen?.getBoundingClientRect();
  return box && [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


class Window:
    """``requested``: every requested URL. ``ran``: signs that a foreign script ran."""

    def __init__(self, page: ChromiumPage, url: str) -> None:
        page._egress.use(NetworkRule.of((), url), 2**30, lambda: None)
        self._page = page._page
        self._url = url
        self._loaded = trio.Event()
        self.requested: list[str] = []
        self.ran: list[str] = []
        self._page.on("Page.loadEventFired", lambda _: self._loaded.set())
        self._page.on("Network.requestWillBeSent", lambda event: self.requested.append(event["request"]["url"]))
        self._page.on("Page.javascriptDialogOpening", lambda event: self.ran.append(event["message"]))
        self._page.on("Runtime.exceptionThrown", lambda event: self.ran.append(str(event["exceptionDetails"])))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._page.call(method, **parameters)

    async def _then_loaded(self, method: str, **parameters: Any) -> None:
        self._loaded = trio.Event()
        await self.call(method, **parameters)
        await self._loaded.wait()

    async def open(self, path: str) -> None:
        await self._then_loaded("Page.navigate", url=self._url + path)

    async def submit(self, form: str, **fields: str) -> None:
        """Fill in a form, press its button, and wait for the next page."""
        script = "".join(
            f"document.querySelector('[name={name}]').value = {json.dumps(value)};" for name, value in fields.items()
        )
        script += f"document.querySelector({json.dumps(form)} + ' button').click()"
        await self._then_loaded("Runtime.evaluate", expression=script)

    async def shown(self, expression: str = "`${location.pathname} ${document.title}`") -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def text(self, selector: str = "main") -> str:
        """Return the visible text, with blanks between pieces."""
        text: str = await self.shown(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(text.split())

    async def until(self, expression: str) -> float:
        """Wait until the expression is true. Return how long that took."""
        begun = trio.current_time()
        while not await self.shown(f"!!({expression})"):
            await trio.sleep(LOOK_SECONDS)
        return trio.current_time() - begun

    async def click(self, selector: str) -> None:
        """Click with the mouse on the first visible match, when there is one."""
        place = None
        while not (place := await self.shown(MIDDLE % json.dumps(selector))):
            await trio.sleep(LOOK_SECONDS)
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    async def follow(self, selector: str) -> None:
        """Click a link or button, and wait for the next page."""
        self._loaded = trio.Event()
        await self.click(selector)
        await self._loaded.wait()

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def look(self, *, width: int = 1280, scheme: str = "light") -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Browser]:
    async with (
        open_launcher(ChromiumSettings(), folder, lambda _address, _port: False) as launcher,
        launcher.launch() as browser,
    ):
        yield browser


@asynccontextmanager
async def open_window(browser: Browser, url: str) -> AsyncIterator[Window]:
    async with browser.page() as page:
        assert isinstance(page, ChromiumPage)
        window = Window(page, url)
        for domain in ("Network", "Runtime"):
            await window.call(f"{domain}.enable")
        yield window

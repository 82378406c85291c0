"""The login in a real browser: what it does with the form, the cookie and the pages, no script of ours helping."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.adapters.chromium.page import ChromiumPage
from reportd.core.network import NetworkRule
from tests.web.secured import Secured
from tests.web.serving import serving

pytestmark = pytest.mark.browser


class Window:
    """A page that somebody sits in front of."""

    def __init__(self, page: ChromiumPage, url: str) -> None:
        page._egress.use(NetworkRule.of((), url), 2**30, lambda: None)
        self._page = page._page
        self._url = url
        self._loaded = trio.Event()
        self._page.on("Page.loadEventFired", lambda _: self._loaded.set())

    async def _then_loaded(self, method: str, **parameters: Any) -> None:
        self._loaded = trio.Event()
        await self._page.call(method, **parameters)
        await self._loaded.wait()

    async def open(self, path: str) -> None:
        await self._then_loaded("Page.navigate", url=self._url + path)

    async def submit(self, form: str, **fields: str) -> None:
        """Fill it in and press its button; until the next page is there."""
        script = "".join(
            f"document.querySelector('[name={name}]').value = {json.dumps(value)};" for name, value in fields.items()
        )
        script += f"document.querySelector({json.dumps(form)} + ' button').click()"
        await self._then_loaded("Runtime.evaluate", expression=script)

    async def shown(self, expression: str = "`${location.pathname} ${document.title}`") -> Any:
        answer = await self._page.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")


async def test_a_browser_logs_in_and_out(secured: Secured, tmp_path: Path) -> None:
    async with (
        serving(secured.running) as served,
        open_launcher(ChromiumSettings(), tmp_path, lambda _address, _port: False) as launcher,
        launcher.launch() as browser,
        browser.page() as page,
    ):
        assert isinstance(page, ChromiumPage)
        window = Window(page, served.url)
        await window.open("/")
        assert await window.shown() == "/login Log in · reportd"
        assert await window.shown("getComputedStyle(document.querySelector('.login')).display") == "grid"

        await window.submit(".login", token="reportd_unknown")
        assert await window.shown() == "/login Log in · reportd"
        assert await window.shown("document.querySelector('[role=alert]').textContent") == (
            "This is no token that is accepted."
        )

        await window.submit(".login", token=secured.secrets["operate"])
        assert await window.shown("location.pathname") == "/"
        assert await window.shown("document.cookie") == "", "no script sees it"

        await window.open("/login")
        await window.shown("document.querySelector('form').action = '/logout'")
        await window.submit(".login", token="x")
        assert await window.shown() == "/login Log in · reportd"
        await window.open("/")
        assert await window.shown() == "/login Log in · reportd"

"""The login in a real browser, without a script of ours: form, cookie and pages."""

from pathlib import Path

import pytest

from tests.web.secured import Secured
from tests.web.serving import serving
from tests.web.window import open_browser, open_window

pytestmark = pytest.mark.browser


async def test_a_browser_logs_in_and_out(secured: Secured, tmp_path: Path) -> None:
    async with (
        serving(secured.running) as served,
        open_browser(tmp_path) as browser,
        open_window(browser, served.url) as window,
    ):
        await window.open("/")
        assert await window.shown() == "/login Log in · reportd"
        assert await window.shown("getComputedStyle(document.querySelector('.login')).display") == "grid"

        await window.submit(".login", token="reportd_unknown")
        assert await window.shown() == "/login Log in · reportd"
        assert await window.shown("document.querySelector('[role=alert]').textContent") == (
            "This token is not accepted."
        )

        await window.submit(".login", token=secured.secrets["operate"])
        assert await window.shown("location.pathname") == "/"
        assert await window.shown("document.cookie") == "", "no script sees it"

        await window.follow("header form button")
        assert await window.shown() == "/login Log in · reportd"
        await window.open("/")
        assert await window.shown() == "/login Log in · reportd"

"""axe-core finds no fault on the page of a preview: with a report, with a fault, on each tab, in both schemes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.preview.preview import NOBODY
from reportd_web.http.server import serve
from tests.fakes.previews import Scene, open_scene
from tests.web.pages.test_accessible import axe, found
from tests.web.test_preview import Site
from tests.web.window import Window, open_browser, open_window

__all__ = ["axe"]

pytestmark = [pytest.mark.browser, pytest.mark.stands_still("files are read and checked in one step, as at a start")]


@asynccontextmanager
async def looked_at(folder: Path) -> AsyncIterator[tuple[Scene, Window]]:
    async with open_scene(folder, seconds=0.0) as scene, open_background() as nursery:
        site = Site(scene)
        url = await nursery.start(serve, site.app, "127.0.0.1:0", site.stop, 10)
        async with open_browser(folder / "window") as browser, open_window(browser, f"{url}/secret/") as window:
            yield scene, window
        site.stop.set()


async def test_nothing_is_found(tmp_path: Path, axe: str) -> None:
    async with looked_at(tmp_path) as (scene, window):
        scene.renderer.warnings[NOBODY] = (JobWarning(WarningKind.RESOURCES, "logo.png", "404", 3),)
        await scene.after("note.html", "<html lang=en><title>t</title><h1>h</h1><p>text")
        await window.open("")
        await window.until("document.querySelector('#link').className === 'live'")
        for width, scheme in ((1280, "light"), (390, "dark")):
            await window.look(width=width, scheme=scheme)
            for tab in ("html", "lacks", "pdf"):
                await window.click(f"#tab-{tab}")
                assert await found(window, axe) == [], (width, scheme, tab)
            assert await window.shown("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
        scene.renderer.evidence[NOBODY] = Evidence(b"", ("error: it broke",), ("http://x/a.js 404",), "waiting")
        scene.renderer.faults[NOBODY] = [FaultKind.TIMEOUT]
        await scene.after("note.html", "<p>fails")
        await window.until("document.querySelector('.finding pre')")
        assert await found(window, axe) == []
        await scene.after("note.html", "<p>\n{{ " + "long " * 60)
        await window.until("document.querySelector('.finding .marked')")
        for width, scheme in ((1280, "dark"), (390, "light")):
            await window.look(width=width, scheme=scheme)
            assert await found(window, axe) == [], (width, scheme)
            assert await window.shown("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"


async def test_tabs_are_used_by_keyboard(tmp_path: Path) -> None:
    async with looked_at(tmp_path) as (_, window):
        await window.open("")
        await window.until("document.querySelector('#link').className === 'live'")
        await window.shown("document.querySelector('#tab-pdf').focus()")
        press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
        panels = "[...document.querySelectorAll('[role=tabpanel]:not([hidden])')].map((one) => one.id).join()"
        seen = []
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
            await window.shown(press % key)
            seen.append(await window.shown(f"{panels} + ' ' + document.activeElement.id"))
        assert seen == ["html tab-html", "lacks tab-lacks", "pdf tab-pdf", "lacks tab-lacks"]

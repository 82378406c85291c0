"""axe-core finds no fault on any page, in both colour schemes, on a phone and on a desktop.

It comes from npm, only for the tests, and is kept in pytest's cache.
"""

import json
import shutil
import subprocess
import tarfile
from dataclasses import fields
from pathlib import Path

import pytest

from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.status.snapshot import Snapshot
from tests.web.busy import busy
from tests.web.secured import Secured
from tests.web.serving import serving
from tests.web.window import Window, open_browser, open_window

pytestmark = pytest.mark.browser

AXE = "axe-core@4.10.3"
RUN = """
axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map(
  (one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`))
"""


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its source."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir("axe") if cache else tmp_path_factory.mktemp("axe")
    file: Path = folder / f"{AXE}.js"
    if not file.exists():
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), AXE]
        packed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, timeout=120)
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            source = archive.extractfile("package/axe.min.js")
            assert source is not None
            (folder / "new").write_bytes(source.read())
        (folder / "new").replace(file)
    return file.read_text()


async def found(window: Window, axe: str) -> list[str]:
    if await window.shown("typeof axe") == "undefined":
        assert await window.shown(f"{axe};typeof axe.run") == "function"
    violations: list[str] = await window.shown(RUN)
    return violations


async def test_nothing_is_found(secured: Secured, tmp_path: Path, axe: str) -> None:
    running = secured.running
    lacking = await secured.task()
    running.renderer.warnings[lacking] = (JobWarning(WarningKind.FONTS, "https://cdn.internal/inter.woff2", "404", 2),)
    await running.work()
    failed, waiting = await secured.task(), await secured.task()
    await running.quarantine(failed)
    seen = Evidence(b"\xff\xd8\xff", ("log: rows 3",) * 50, ("https://cdn.internal/logo.png answered 404",), "printing")
    await running.evidence.put(failed, 1, 1.8e9, seen)
    trouble: dict[str, list[str]] = {}

    async def look(what: str, *widths: int) -> None:
        for width in widths or (375, 1280):
            for scheme in ("light", "dark"):
                await window.look(width=width, scheme=scheme)
                if violations := await found(window, axe):
                    trouble[f"{what}, {width}, {scheme}"] = violations

    async with (
        serving(running, within_seconds=180) as served,
        open_browser(tmp_path) as browser,
        open_window(browser, served.url) as window,
    ):
        await window.open("/login")
        await window.submit(".login", token="x")
        await look("login in vain")
        await window.submit(".login", token=secured.secrets["operate"])
        await look("status")
        for name, path in (
            ("a search in vain", "/?q=nonsense"),
            ("a job that failed", f"/jobs/{failed}"),
            ("a job whose PDF lacks something", f"/jobs/{lacking}"),
            ("a job that waits", f"/jobs/{waiting}"),
            ("no job", "/jobs/99999999-2222-4333-8444-555555555555"),
        ):
            await window.open(path)
            await look(name)
        running.shown = {one.name: getattr(busy(1.8e9), one.name) for one in fields(Snapshot)}
        await window.open("/")
        await window.click("summary")
        await look("status of a night", 375, 1280, 1920)
        await window.click("[popovertarget=open-sales_summary]")
        await look("an order")
    assert trouble == {}, json.dumps(trouble, indent=1)

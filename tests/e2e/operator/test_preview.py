"""``reportd init`` and ``reportd preview`` as commands, with a real browser that looks at the page."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from reportd.ports import Pdf
from tests.servers.chromium import text_of
from tests.web.window import open_browser, open_window

pytestmark = pytest.mark.browser

START_SECONDS = 30.0
END_SECONDS = 10.0
"""It takes a third of a second on an idle machine."""

SHOWN = "document.querySelector('#pdf img')?.src.includes('/pages/%d/') && document.querySelector('#pdf img').complete"


def command(folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPORTD_")}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return [sys.executable, "-m", "reportd.cli.main", *arguments], {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(temporary),
    }


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words, environ = command(folder, *arguments)
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False)


class Running:
    def __init__(self, child: subprocess.Popen[bytes], url: str, folder: Path) -> None:
        self.child = child
        self.url = url
        self.folder = folder

    async def end(self) -> int:
        """Press Ctrl-C. Return the exit status."""
        self.child.send_signal(signal.SIGINT)
        with trio.fail_after(END_SECONDS):
            return await trio.to_thread.run_sync(self.child.wait, abandon_on_cancel=True)


def launched(words: list[str], environ: dict[str, str], folder: Path, told: Path) -> subprocess.Popen[bytes]:
    with told.open("wb") as log:
        return subprocess.Popen(words, cwd=folder, env=environ, stderr=log, stdout=log, start_new_session=True)


@asynccontextmanager
async def previewing(folder: Path, *arguments: str) -> AsyncIterator[Running]:
    words, environ = command(folder, "preview", *arguments)
    told = folder / "tmp" / "told"
    child = launched(words, environ, folder, told)
    try:
        with trio.fail_after(START_SECONDS):
            while (url := re.search(r"http://\S+", told.read_text())) is None:
                assert child.poll() is None, told.read_text()
                await trio.sleep(0.05)
        yield Running(child, url[0], folder)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def processes(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


async def test_a_new_type_is_seen_and_each_save_changes_the_picture(tmp_path: Path) -> None:
    assert (await trio.to_thread.run_sync(run, tmp_path, "init", "bill")).returncode == 0
    async with (
        previewing(tmp_path, "bill") as preview,
        open_browser(tmp_path / "window") as browser,
        open_window(browser, preview.url) as window,
    ):
        await window.open("")
        await window.until(SHOWN % 1)
        template = tmp_path / "bill.html"
        await window.shown("window.mark = 'not loaded again'; scrollTo(0, 300)")
        scrolled = await window.shown("scrollY")
        first = await window.shown("document.querySelector('#pdf img').naturalWidth")
        assert first > 700
        # As an editor that renames, and as one that truncates.
        part = tmp_path / ".bill.html.part"
        part.write_text(template.read_text().replace("<h1>", "<h1>First "))
        part.rename(template)
        await window.until(SHOWN % 2)
        template.write_text(template.read_text().replace("First ", "Second "))
        await window.until(SHOWN % 3)
        assert await window.shown("window.mark") == "not loaded again"
        assert await window.shown("scrollY") == scrolled > 0
        template.write_text(template.read_text() + "{{ numbr }}")
        await window.until("document.querySelector('.finding .marked')")
        assert "numbr" in await window.text(".finding .marked")
        assert await window.shown(SHOWN % 3), "the last good one stays"
        template.write_text(template.read_text().replace("{{ numbr }}", ""))
        await window.until(SHOWN % 4)
        assert await window.shown("document.querySelector('.finding')") is None
        await window.shown("document.querySelector('iframe').addEventListener('load', () => window.framed = true)")
        await window.click("#tab-html")
        await window.until("window.framed")
        inside = "document.querySelector('iframe').contentDocument"
        assert await window.shown(f"getComputedStyle({inside}.querySelector('h1')).fontWeight") == "600", "of its sheet"
        assert await window.shown(f"{inside}.querySelector('header img').naturalWidth") > 0
        assert window.ran == []
        async with httpx.AsyncClient(trust_env=False) as client:
            pdf = await client.get(f"{preview.url}report.pdf")
            assert pdf.content.startswith(b"%PDF")
            assert (await client.get(preview.url.replace(preview.url.split("/")[3], "guess"))).status_code == 404
        assert await preview.end() == 0
    assert processes(tmp_path) == []
    assert list((tmp_path / "tmp").glob("reportd-preview-*")) == []


async def test_scripts_of_a_template_run_in_its_print_and_never_in_the_page_of_the_preview(tmp_path: Path) -> None:
    (tmp_path / "reportd.toml").write_text('[reports.bad]\ntemplate = "bad.html"\n')
    (tmp_path / "bad.html").write_text(
        "<p>text</p><img src='data:x' onerror='alert(1)'><script>alert(2); document.body.append('ran')</script>"
        "<img src='http://elsewhere.example/x.png'>"
    )
    async with (
        previewing(tmp_path, "bad") as preview,
        open_browser(tmp_path / "window") as browser,
        open_window(browser, preview.url) as window,
    ):
        await window.open("")
        await window.until(SHOWN % 1)
        assert await window.text("#count"), "it has warnings"
        await window.shown("document.querySelector('iframe').addEventListener('load', () => window.framed = true)")
        await window.click("#tab-html")
        await window.until("window.framed")
        assert any("/html/" in url for url in window.requested)
        await window.click("#tab-lacks")
        assert "elsewhere.example" in await window.text("#lacks")
        assert window.ran == []
        async with httpx.AsyncClient(trust_env=False) as client:
            pdf = await client.get(f"{preview.url}report.pdf")
        assert "ran" in text_of(Pdf(len(pdf.content), "", data=pdf.content))


@pytest.mark.parametrize(
    ("arguments", "config", "told"),
    [
        (("nonsense",), "", "there is no report type of this name; accepted: "),
        (("sales_summary",), "[pool]\nbrowsers = -1\n", "pool.browsers"),
        (("sales_summary", "--port", "99999"), "", "99999 is no port; accepted: 0 to 65535"),
    ],
)
def test_what_cant_be_previewed_is_refused_at_once(
    arguments: tuple[str, ...], config: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "reportd.toml").write_text(config)
    done = run(tmp_path, "preview", *arguments)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


async def test_it_opens_the_page_and_a_second_one_is_told_that_the_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    async with previewing(tmp_path, "sales_summary", "--open") as preview:
        with trio.fail_after(START_SECONDS):
            while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text().strip():
                await trio.sleep(0.05)
        assert (tmp_path / "opened").read_text().strip() == preview.url
        port = preview.url.split("/")[2].rpartition(":")[2]
        done = await trio.to_thread.run_sync(run, tmp_path, "preview", "sales_summary", "--port", port)
        assert done.returncode == 1
        assert f"--port {port} can't be used: Address already in use" in done.stderr

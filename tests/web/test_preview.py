"""The page of a preview: secret addresses, nothing for other sites, outside text as text, and live events (I11)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.preview.preview import NOBODY
from reportd_web.http.server import serve
from reportd_web.preview import create_preview_app
from tests.fakes.previews import Scene, open_scene

pytestmark = pytest.mark.stands_still("files are read and checked in one step, as at a start; only their author waits")

PATH = "secret"
HOST = "127.0.0.1:8080"
HOSTILE = "<script>alert(1)</script><img src=data:x onerror=alert(2)>"


class Site:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.stop = trio.Event()
        self.app = create_preview_app(scene.preview, scene.pictures, PATH, self.stop)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=f"http://{HOST}", follow_redirects=False
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)


@asynccontextmanager
async def opened(folder: Path, **options: str) -> AsyncIterator[Site]:
    async with open_scene(folder, seconds=0.0, **options) as scene:
        yield Site(scene)


async def test_the_page_shows_the_report_without_a_script(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        page = await site.get(f"/{PATH}/")
        assert page.status_code == 200
        assert f'<img src="/{PATH}/pages/1/0.png" width="794" height="1123" alt="Page 1"' in page.text
        assert 'alt="Page 2"' in page.text
        assert "parameters of <code>note.sample.json</code>" in page.text
        pdf = await site.get(f"/{PATH}/report.pdf")
        assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
        picture = await site.get(f"/{PATH}/pages/1/1.png?scale=2")
        assert (picture.headers["content-type"], picture.content) == ("image/png", b"\x89PNG\r\n\x1a\n page 1 at 2.0")


@pytest.mark.parametrize("path", ["/", "/report.pdf", "/events", "/again", "/wrong/", "/wrong/html", "/pages/1/0.png"])
async def test_nothing_is_there_without_the_secret_path(path: str, tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        answer = await site.get(path)
        assert answer.status_code == 404
        assert PATH not in answer.text
        assert "the whole address that the command has printed" in answer.json()["detail"]


async def test_a_foreign_name_that_resolves_to_this_machine_gets_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        for host in ("evil.example", "127.0.0.1.evil.example"):
            assert (await site.get(f"/{PATH}/", Host=host)).status_code == 421
        assert (await site.get(f"/{PATH}/", Host="localhost:9")).status_code == 200


async def test_another_site_can_neither_print_nor_embed(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        number = site.scene.preview.view.number
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
            assert (await site.client.post(f"/{PATH}/again", headers=headers)).status_code == 403
        assert site.scene.preview.view.number == number
        for name in ("", "report.pdf", "html", "report.txt", "pages/1/0.png"):
            answer = await site.get(f"/{PATH}/{name}")
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_button_prints_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        answer = await site.client.post(f"/{PATH}/again", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 204
        while len(site.scene.renderer.rendered) < 2:
            await site.scene.preview.changed.wait()


async def test_the_reports_html_is_in_a_sandbox_where_no_script_runs_and_nothing_is_loaded(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        await site.scene.after("note.html", HOSTILE)
        answer = await site.get(f"/{PATH}/html")
        assert answer.text == HOSTILE
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"sandbox allow-same-origin", "default-src 'none'", "base-uri 'none'"} <= {*policy}
        assert not [rule for rule in policy if rule.startswith("script-src") or "allow-scripts" in rule]
        source = await site.get(f"/{PATH}/report.txt")
        assert (source.headers["content-type"], source.text) == ("text/plain; charset=utf-8", HOSTILE)


async def test_the_reports_html_has_its_files_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "logo.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg'>{HOSTILE}</svg>")
    (tmp_path / "note.css").write_text("p { color: red }")
    async with opened(tmp_path) as site:
        assert (await site.get(f"/{PATH}/html/note.css")).status_code == 404, "the page asks for no file yet"
        await site.scene.after("note.html", '<link rel="stylesheet" href="note.css"><img src="assets/logo.svg">')
        sheet = await site.get(f"/{PATH}/html/note.css")
        assert (sheet.headers["content-type"].partition(";")[0], sheet.text) == ("text/css", "p { color: red }")
        logo = await site.get(f"/{PATH}/html/assets/logo.svg")
        assert logo.headers["content-type"] == "image/svg+xml"
        # Opened by itself it would be a document of this origin.
        assert logo.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        others = ("note.html", "note.sample.json", "reportd.toml", "gone.png", "%2e%2e/x.png", "assets/..%2fnote.css")
        for name in others:
            assert (await site.get(f"/{PATH}/html/{name}")).status_code == 404, name


async def test_outside_text_is_shown_as_text(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        warning = JobWarning(WarningKind.RESOURCES, HOSTILE, HOSTILE)
        site.scene.renderer.warnings[NOBODY] = (warning,)
        await site.scene.after("note.html", "<p>warned")
        await site.scene.after("note.html", f"{HOSTILE}\n{{% {HOSTILE} %}}")
        page = await site.get(f"/{PATH}/")
        assert page.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
        assert "<script>alert" not in page.text
        assert "<img src=data:x" not in page.text
        assert "script-src 'self';" in page.headers["content-security-policy"]


async def test_a_fault_is_shown_with_its_line_above_the_last_good_report(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        await site.scene.after("note.html", "<p>\n{{ numbr }}")
        text = (await site.get(f"/{PATH}/")).text
        assert "The template can&#39;t be rendered" in text
        assert "Below is the last report that could be printed." in text
        assert "<code>note.html</code>, line 2" in text
        assert '<span class="marked"><i>2</i><bdi>{{ numbr }}</bdi>' in text
        assert 'alt="Page 1"' in text


async def test_a_page_that_failed_is_shown_with_its_console_and_a_picture_of_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        site.scene.renderer.evidence[NOBODY] = Evidence(b"JPEG", (f"error: {HOSTILE}",), ("http://x/a.js 404",), "x")
        site.scene.renderer.faults[NOBODY] = [FaultKind.TIMEOUT]
        assert (await site.get(f"/{PATH}/failed/1.jpg")).status_code == 404
        view = await site.scene.after("note.html", "<p>fails")
        text = (await site.get(f"/{PATH}/")).text
        assert "error: &lt;script&gt;alert(1)" in text
        assert "http://x/a.js 404" in text
        picture = f"/{PATH}/failed/{view.number}.jpg"
        assert f'<img src="{picture}"' in text
        assert (await site.get(picture)).content == b"JPEG"


async def test_before_the_first_report_nothing_is_missing_but_the_report(tmp_path: Path) -> None:
    (tmp_path / "note.bad.json").write_text("{")
    async with opened(tmp_path, parameters="note.bad.json") as site:
        assert (await site.get(f"/{PATH}/")).status_code == 200
        for name in ("report.pdf", "html", "report.txt", "pages/1/0.png"):
            assert (await site.get(f"/{PATH}/{name}")).status_code == 404


@pytest.mark.parametrize("path", ["pages/9/0.png", "pages/1/2.png", "pages/1/0.png?scale=much", "pages/1/x.png"])
async def test_a_picture_that_is_not_there_is_a_404(path: str, tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        assert (await site.get(f"/{PATH}/{path}")).status_code == 404


async def test_the_scale_of_a_picture_is_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as site:
        assert (await site.get(f"/{PATH}/pages/1/0.png?scale=99")).content == b"\x89PNG\r\n\x1a\n page 0 at 3.0"
        assert (await site.get(f"/{PATH}/pages/1/0.png?scale=nan")).status_code == 404


async def test_a_page_of_ones_own_has_no_html_here(tmp_path: Path) -> None:
    config = '[reports.note]\nurl = "http://127.0.0.1/report?key=s3cret"\n'
    async with opened(tmp_path, config=config) as site:
        assert (await site.get(f"/{PATH}/html")).status_code == 404
        text = (await site.get(f"/{PATH}/")).text
        assert "http://127.0.0.1/report" in text
        assert "s3cret" not in text


async def test_events_bring_each_view_and_end_with_the_preview(tmp_path: Path) -> None:
    async with opened(tmp_path) as site, open_background() as nursery:
        url = await nursery.start(serve, site.app, "127.0.0.1:0", site.stop, 10)
        async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", f"{url}/{PATH}/events") as events:
            lines = events.aiter_lines()
            assert await anext(lines) == "event: view"
            first = json.loads((await anext(lines)).removeprefix("data: "))
            assert (first["level"], first["version"], first["busy"]) == ("good", 1, False)
            assert first["pages"] == [[794, 1123], [794, 1123]]
            site.scene.renderer.faults[NOBODY] = [FaultKind.TIMEOUT]
            site.scene.preview.again()
            last = first
            while last["level"] != "bad":
                line = await anext(lines)
                if line.startswith("data: {"):
                    last = json.loads(line.removeprefix("data: "))
            assert "The report took too long" in last["sections"]["state"]
            site.stop.set()
            with trio.fail_after(5):
                assert [line async for line in lines if line.startswith("data: {")] == []

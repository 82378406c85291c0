"""Files of a template come from the daemon, whole and without the network; no other page gets them (I10, I13)."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import pytest
import trio
from pypdf import PdfReader

from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.assets import ORIGIN, base_url, with_base
from reportd.core.pages.network import NetworkRule
from reportd.ports import Pdf, Ready, RenderRequest
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.fonts import font_with
from tests.servers.site import open_site

pytestmark = pytest.mark.browser

EDITION = "0123456789ab"
LETTERS = "HeadingTextmargin"


@pytest.fixture(scope="module", params=["browser", "container"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium"), container=request.param == "container") as opened:
        yield opened


@dataclass(slots=True)
class Files:
    """The files of a template; ``asked``: those that a page asked for."""

    files: Mapping[str, bytes]
    template: str = "own.html"
    edition: str = EDITION
    asked: list[str] = field(default_factory=list)

    async def find(self, name: str) -> bytes:
        self.asked.append(name)
        await trio.lowlevel.checkpoint()
        if name not in self.files:
            raise FaultError(FaultKind.TEMPLATE_ERROR, f"{self.template}: there is no file {name}")
        return self.files[name]


def wanted(html: str, files: Files, **options: Any) -> RenderRequest:
    based = with_base(html, base_url(files.edition))
    return replace(request(html=based, **options), assets=files)


def png(red: int, green: int, blue: int) -> bytes:
    """A picture of one colour, 8 by 8 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * 8) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def fonts_in(pdf: Pdf) -> set[str]:
    assert pdf.data is not None
    fonts: list[Any] = []
    for page in PdfReader(BytesIO(pdf.data)).pages:
        resources: Any = page["/Resources"]
        fonts += resources["/Font"].values()
    return {str(each.get_object().get("/BaseFont")).removeprefix("/").rpartition("+")[2] for each in fonts}


CSS = b"""
@import "type.css";
.logo { width: 40px; height: 40px; background: url(../img/logo.png); }
"""
TYPE = b"""
@font-face { font-family: First; src: url("../fonts/first.ttf") format("truetype"); }
@font-face { font-family: Second; src: url("../fonts/second.ttf"); }
@page { @bottom-left { content: "margin"; font-family: Third; } }
@font-face { font-family: Third; src: url("../fonts/third.ttf"); }
h1 { font: 20px First } p { font-family: Second }
"""
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><text y="15">drawn</text></svg>'
PAGE = """<!doctype html><link rel="stylesheet" href="css/print.css">
<h1>Heading</h1><p>Text</p><div class=logo></div><img src="img/logo.png"><img src="img/mark.svg">
<a href="#end">to the end</a><div style="break-before: page" id=end>End</div>"""


@pytest.fixture(scope="module")
def files() -> Files:
    return Files(
        {
            "css/print.css": CSS,
            "css/type.css": TYPE,
            "img/logo.png": png(200, 0, 0),
            "img/mark.svg": SVG,
            "fonts/first.ttf": font_with(LETTERS, "First"),
            "fonts/second.ttf": font_with(LETTERS, "Second"),
            "fonts/third.ttf": font_with(LETTERS, "Third"),
        }
    )


@on_stage
async def test_a_page_is_printed_with_all_files_of_its_template(stage: Stage, files: Files) -> None:
    for page_of in (PAGE, PAGE + "<script>document.body.append('scripted')</script>"):
        files.asked.clear()
        async with stage.page() as page, open_site() as trap:
            pdf = await page.render(wanted(page_of, files))
            assert fonts_in(pdf) >= {"First", "Second", "Third"}
            assert "drawn" in text_of(pdf)
            assert pdf.warnings == ()
            assert set(files.asked) == set(files.files)
            assert trap.connections == 0


@on_stage
async def test_a_link_within_the_page_stays_one(stage: Stage, files: Files) -> None:
    async with stage.page() as page:
        pdf = await page.render(wanted(PAGE, files))
        assert pdf.data is not None
        found: Any = PdfReader(BytesIO(pdf.data)).pages[0]["/Annots"]
        (link,) = [each.get_object() for each in found]
        assert "/URI" not in link.get("/A", {})


@on_stage
async def test_a_page_with_files_stays_in_use_and_leaves_none_of_them(stage: Stage) -> None:
    async with stage.browser.page() as page:
        for number in range(3):
            own = Files({"a.svg": SVG.replace(b"drawn", b"drawn%d" % number)})
            for _ in range(2):
                text = text_of(await page.render(wanted("<p>x</p><img src='a.svg?customer=7'>", own)))
                assert text == f"x drawn{number}"
                assert await page.scrub()
                assert text_of(await page.render(request(html="<p>plain"))) == "plain"
                assert await page.scrub()
            assert own.asked == ["a.svg", "a.svg"]
        tell = "<p id=p><script>p.textContent = performance.getEntries().map((e) => e.name + '.').join(' ')</script>"
        assert "customer" not in text_of(await page.render(request(html=f"tells {tell}")))


@on_stage
async def test_a_later_job_does_not_find_a_file_in_the_browsers_memory(stage: Stage) -> None:
    """The page asks for the very address, and has no files: the egress refuses the name."""
    async with stage.browser.page() as page:
        await page.render(wanted("<p>x</p><img src='a.svg'>", Files({"a.svg": SVG})))
        assert await page.scrub()
        plain = await page.render(request(html=f"<p>y</p><img width=9 height=9 src='{base_url(EDITION)}a.svg'>"))
        assert text_of(plain) == "y"
        assert [warning.what for warning in plain.warnings] == ["a.svg"]


@on_stage
async def test_a_file_that_is_not_there_fails_the_job_and_is_named(stage: Stage) -> None:
    async with stage.page() as page:
        for html in ("<img src=gone.png>", "<link rel=stylesheet href=gone.png>", "<script>fetch('gone.png')</script>"):
            fault = await fault_of(page, wanted(f"<p>x{html}", Files({})))
            assert fault is not None
            assert (fault.kind, fault.detail) == (FaultKind.TEMPLATE_ERROR, "own.html: there is no file gone.png")
            await page.scrub()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/logo.png", "own.html: /logo.png leads out"),
        ("../logo.png", "own.html: /logo.png leads out"),
        ("%2e%2e/logo.png", "own.html: /logo.png leads out"),
        ("a/..%2f..%2flogo.png", "leads out"),
        ("%2fetc/passwd", "leads out"),
        (".env", "is hidden"),
        ("own.html", "of a kind that is not served"),
        ("own.sample.json", "of a kind that is not served"),
        ("reportd.toml", "of a kind that is not served"),
        ("a%00.png", "no name of a file"),
        ("a%5c..%5c.png", "no name of a file"),
    ],
)
@on_stage
async def test_no_address_leads_to_another_file(stage: Stage, address: str, says: str) -> None:
    files = Files({})
    async with stage.page() as page:
        fault = await fault_of(page, wanted(f"<p>x<img src='{address}'>", files))
        assert fault is not None
        assert fault.kind is FaultKind.TEMPLATE_ERROR
        assert says in fault.detail
        assert files.asked == []


@on_stage
async def test_all_files_together_are_bounded(stage: Stage) -> None:
    files = Files({f"{number}.png": png(1, 2, number) + bytes(1000) for number in range(4)})
    html = "<p>x" + "".join(f"<img src={name}>" for name in files.files)
    async with stage.page() as page:
        fault = await fault_of(page, wanted(html, files, max_page_bytes=3000))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_TOO_LARGE


@on_stage
async def test_a_page_of_a_url_can_not_reach_the_origin(stage: Stage) -> None:
    async with open_site() as site, stage.page() as page:
        site.pages["/"] = f"""<p id=p>waits</p><script>
          fetch("{base_url(EDITION)}a.svg").then(() => p.textContent = "reached", () => p.textContent = "refused")
        </script>"""
        text = text_of(await page.render(request(url=site.url("/"), ready=ready_when_told())))
        assert text == "refused"


def ready_when_told() -> Ready:
    return Ready("expression", "p.textContent !== 'waits'")


@on_stage
async def test_own_headers_do_not_reach_the_files(stage: Stage) -> None:
    files = Files({"a.svg": SVG})
    async with open_site() as site, stage.page() as page:
        site.pages["/b.png"] = "x"
        html = f"<p>x<img src=a.svg><img src='{site.url('/b.png')}'>"
        hosts = NetworkRule.of(["127.0.0.1"])
        one = wanted(html, files, hosts=("127.0.0.1",), headers={"X-Key": "k"}, header_hosts=hosts)
        assert "drawn" in text_of(await page.render(one))
        assert [each.headers.get("x-key") for each in site.asked("/b.png")] == ["k"]


def test_the_origin_can_not_exist() -> None:
    assert ORIGIN.endswith(".invalid")

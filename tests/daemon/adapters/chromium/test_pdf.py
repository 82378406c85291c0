"""PDFs on their way out of the browser: small ones in memory, large ones in a file that is always removed."""

import base64
import hashlib
import random
import struct
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import trio
from pypdf import PdfReader

from reportd.adapters.chromium.page.pdf import IN_MEMORY_BYTES, PdfWriter
from reportd.core.faults import FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import Pdf
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of

MIB = 1024 * 1024

NOISE = """
<style>@page { margin: 0; size: 300px } div { break-after: page } img { width: 290px }</style><body><script>
const canvas = document.createElement('canvas');
canvas.width = canvas.height = 480;
const context = canvas.getContext('2d');
const noise = context.createImageData(480, 480);
const words = new Uint32Array(noise.data.buffer);
for (let n = 0; n < words.length; n += 1) words[n] = Math.random() * 0x1000000 | 0xff000000;
for (let page = 0; page < 120; page += 1) {
  words.copyWithin(0, 977);
  context.putImageData(noise, 0, 0);
  const image = new Image();
  image.src = canvas.toDataURL('image/jpeg', 0.95);
  const sheet = document.createElement('div');
  sheet.append(image);
  document.body.append(sheet);
}
</script>
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def spooled(stage: Stage) -> list[Path]:
    return list(stage.data_dir.glob("spool/*"))


@pytest.mark.browser
@on_stage
async def test_a_large_pdf_passes_in_pieces(stage: Stage) -> None:
    wanted = request(html=NOISE, print_parameters={"generateTaggedPDF": False, "preferCSSPageSize": True})
    async with stage.page() as page:
        tracemalloc.start()
        try:
            pdf = await page.render(wanted)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await page.scrub()
    assert pdf.size_bytes > 20_000_000
    assert peak < 14 * MIB
    assert pdf.data is None
    assert pdf.path is not None
    assert spooled(stage) == [pdf.path]
    data = pdf.path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (pdf.size_bytes, pdf.sha256)
    assert len(PdfReader(pdf.path).pages) in (120, 121)
    pdf.discard()
    assert spooled(stage) == []


@pytest.mark.browser
@on_stage
async def test_a_pdf_that_is_cut_off_leaves_no_file(stage: Stage) -> None:
    wanted = request(html=NOISE, print_parameters={"generateTaggedPDF": False})
    async with stage.page() as page:
        with trio.CancelScope() as cut:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(page.render, wanted)
                while not spooled(stage):
                    await trio.sleep(0.001)
                cut.cancel()
        assert cut.cancelled_caught
        assert page.activity == "reading the PDF"
        assert spooled(stage) == []


@pytest.mark.browser
@on_stage
async def test_a_page_that_leaves_once_it_is_printed_is_printed(stage: Stage) -> None:
    script = "onafterprint = () => { location = 'about:blank'; nothing.here() }"
    async with stage.page() as page:
        wanted = request(html=f"<script>{script}</script><p>printed", fail_on={WarningKind.SCRIPTS})
        assert await fault_of(page, wanted) is None
        assert await page.scrub()
        closes = request(html="<script>onafterprint = () => close()</script><p>printed")
        fault = await fault_of(page, closes)
        assert fault is None or fault.kind is FaultKind.PAGE_CLOSED


@pytest.mark.parametrize("size", [0, 1, IN_MEMORY_BYTES])
def test_a_small_pdf_stays_in_memory(tmp_path: Path, size: int) -> None:
    with PdfWriter(tmp_path) as writer:
        writer.write(b"x" * size)
        pdf = writer.finish()
    assert pdf.data == b"x" * size
    assert (pdf.size_bytes, pdf.sha256) == (size, hashlib.sha256(b"x" * size).hexdigest())
    assert list(tmp_path.iterdir()) == []


def test_a_large_pdf_goes_to_a_file(tmp_path: Path) -> None:
    pieces = [bytes([n]) * MIB for n in range(7)]
    with PdfWriter(tmp_path) as writer:
        for piece in pieces:
            writer.write(piece)
        pdf = writer.finish()
    assert pdf.path is not None
    assert pdf.path.read_bytes() == b"".join(pieces)
    assert pdf.size_bytes == 7 * MIB
    assert pdf.sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_what_was_written_of_a_pdf_is_removed_when_the_rest_does_not_come(tmp_path: Path) -> None:
    def break_off() -> None:
        with PdfWriter(tmp_path) as writer:
            writer.write(b"x" * (IN_MEMORY_BYTES + 1))
            assert list(tmp_path.iterdir()) != []
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        break_off()
    assert list(tmp_path.iterdir()) == []


SAYS = """<!doctype html><html lang="zh-Hant"><title>四月</title><meta name="author" content="Ada Lovelace">
<meta name="Description" content="Umsätze"><meta name="keywords" content="a, b"><p>report"""


@pytest.mark.parametrize("tagged", [False, True])
@on_stage
async def test_what_a_page_says_about_itself_is_in_its_pdf(stage: Stage, tagged: bool) -> None:
    large = "<img src='data:image/bmp;base64," + base64.b64encode(bmp(1500)).decode() + "'>"
    async with stage.page() as page:
        for html in (SAYS, SAYS + large):
            pdf = await page.render(request(html=html, print_parameters={"generateTaggedPDF": tagged}))
            content = pdf.data if pdf.path is None else pdf.path.read_bytes()
            assert content is not None
            assert (pdf.size_bytes, pdf.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            reader = PdfReader(BytesIO(content), strict=True)
            assert reader.metadata is not None
            assert (reader.metadata.title, reader.metadata.author) == ("四月", "Ada Lovelace")
            assert (reader.metadata.subject, reader.metadata.keywords) == ("Umsätze", "a, b")
            assert str(reader.root_object["/Lang"]) == "zh-Hant"
            assert text_of(Pdf(len(content), "", content)) == "report"
            pdf.discard()
            assert await page.scrub()


def bmp(side: int) -> bytes:
    """A picture of noise, which no compression makes smaller."""
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + side * side * 3, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6)
    return head + random.Random(1).randbytes(side * side * 3)

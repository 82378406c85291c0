"""Pictures of a PDF's pages: their size, their colours, and what is refused."""

import io
import struct
import zlib

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, NameObject

from reportd.adapters.page_pictures import MAX_PIXELS, PdfiumPictures

A5 = (420, 595)
RED, WHITE = b"\xff\0\0", b"\xff\xff\xff"


def document(*sizes: tuple[float, float], content: bytes = b"1 0 0 rg 0 0 100 100 re f") -> bytes:
    """A PDF with a red square of 100 points in the corner at the bottom left of each page."""
    writer = pypdf.PdfWriter()
    for width, height in sizes:
        page = writer.add_blank_page(width, height)
        stream = DecodedStreamObject()
        stream.set_data(content)
        page[NameObject("/Contents")] = writer._add_object(stream)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height, and the rows of a picture of 24 bits a pixel, each without its filter."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (depth, colour) == (8, 2)
    start = png.index(b"IDAT") + 4
    size = struct.unpack(">I", png[start - 8 : start - 4])[0]
    raw, step = zlib.decompress(png[start : start + size]), width * 3 + 1
    return width, height, [raw[at + 1 : at + step] for at in range(0, height * step, step)]


async def test_sizes_are_those_on_a_screen() -> None:
    sizes = await PdfiumPictures().sizes(document(A5, (792, 612)))
    assert sizes == ((560, 793), (1056, 816))


@pytest.mark.parametrize("scale", [1.0, 2.0])
async def test_a_picture_shows_the_page(scale: float) -> None:
    width, height, rows = pixels(await PdfiumPictures().png(document(A5), 0, scale))
    assert (width, height) == pytest.approx((560 * scale, 793 * scale), abs=2)
    assert rows[-5][:3] == RED
    assert rows[-5][-3:] == WHITE
    assert rows[5][:3] == WHITE


async def test_a_huge_page_is_shown_smaller() -> None:
    width, height, _ = pixels(await PdfiumPictures().png(document((6000, 6000)), 0, 3.0))
    assert width * height == pytest.approx(MAX_PIXELS, rel=0.01)


@pytest.mark.parametrize(("pdf", "page"), [(b"no PDF", 0), (document(A5), 1), (document(A5), -1)])
async def test_what_is_not_there_is_an_error(pdf: bytes, page: int) -> None:
    with pytest.raises(ValueError, match="it"):
        await PdfiumPictures().png(pdf, page, 1.0)

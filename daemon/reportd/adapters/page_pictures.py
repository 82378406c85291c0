"""Implements the port ``PagePictures`` with PDFium.

PDFium is the PDF engine of Chromium: what it shows is what most readers see. It is not thread-safe, so one thread at a
time uses it.
"""

import struct
import zlib
from typing import Any

import trio

CSS_PIXELS_PER_POINT = 96 / 72

MAX_PIXELS = 24_000_000
"""A page with more pixels is shown at a smaller scale. An A4 page has 8 million at three times its size on a screen."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR, _GREY = 2, 0
_COMPRESSION = 1
"""The fastest. The picture travels over the loopback interface only."""


class PdfiumPictures:
    """One object for all PDFs."""

    def __init__(self) -> None:
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def sizes(self, pdf: bytes) -> tuple[tuple[int, int], ...]:
        return await trio.to_thread.run_sync(_sizes, pdf, limiter=self._one_at_a_time)

    async def png(self, pdf: bytes, page: int, scale: float) -> bytes:
        return await trio.to_thread.run_sync(_png, pdf, page, scale, limiter=self._one_at_a_time)


def _opened(pdf: bytes) -> Any:
    import pypdfium2  # a command that makes no pictures is quicker without it

    try:
        return pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"it is no PDF: {error}") from error


def _sizes(pdf: bytes) -> tuple[tuple[int, int], ...]:
    with _opened(pdf) as document:
        sizes = (document.get_page_size(page) for page in range(len(document)))
        return tuple((round(w * CSS_PIXELS_PER_POINT), round(h * CSS_PIXELS_PER_POINT)) for w, h in sizes)


def _png(pdf: bytes, page: int, scale: float) -> bytes:
    with _opened(pdf) as document:
        if not 0 <= page < len(document):
            raise ValueError(f"it has {len(document)} pages")
        width, height = (each * CSS_PIXELS_PER_POINT for each in document.get_page_size(page))
        scale = min(scale, (MAX_PIXELS / (width * height)) ** 0.5)
        bitmap = document[page].render(scale=scale * CSS_PIXELS_PER_POINT, rev_byteorder=True)
        return _encoded(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride, bitmap.n_channels)


def _encoded(pixels: bytes, width: int, height: int, stride: int, channels: int) -> bytes:
    """Return a PNG (ISO/IEC 15948) of 8-bit samples: one channel is grey, three are red, green and blue."""
    row_bytes = width * channels
    # Each row begins with the number of its filter; 0 is none.
    rows = b"".join(b"\0" + pixels[start : start + row_bytes] for start in range(0, height * stride, stride))
    colour = _GREY if channels == 1 else _TRUE_COLOUR
    return b"".join(
        (
            _PNG,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(rows, _COMPRESSION)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

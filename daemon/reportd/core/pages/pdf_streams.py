"""Reads the compressed streams of a PDF that Chromium has written, without reading the whole PDF.

Skia, which writes it, compresses streams with Flate, ends each dictionary with the stream's length, and keeps no
objects in streams. A stream of another make is skipped.
"""

import mmap
import re
import sys
import zlib
from collections.abc import Iterator

PIECE_BYTES = 1024 * 1024
"""Of an inflated stream that is looked at at once. A page decides how long its streams are."""

_SEARCH_BYTES = 16 * 1024 * 1024
"""Searched in one go, which takes milliseconds and keeps all other threads waiting."""

MAPPING = b"/CIDInit"
"""How a stream begins that maps the glyphs of a font to characters (``ToUnicode``)."""

_DICTIONARY_BYTES = 16 * 1024
_BEGIN = b" obj\n"
_MARK = b">> stream\n"
_CATALOG = b"/Type /Catalog"
_LENGTH = re.compile(rb"/Length (\d+)\Z")
_NO_CONTENT = (b"/Subtype /Image", b"/Length1 ", b"/Subtype /CIDFontType0C", b"/Subtype /Type1C")


class TooLongError(Exception):
    """The streams of a PDF are longer than the caller wants to read."""


def content_streams(pdf: bytes | mmap.mmap, *, fonts: bool = True, max_bytes: int = sys.maxsize) -> Iterator[bytes]:
    """Yield the streams that may hold text or the mapping of a font: all but images and font files.

    A long stream comes in pieces that end with a line. ``fonts``: also what belongs to fonts, which comes after all
    pages. Raises TooLongError when what is read is longer than ``max_bytes``.
    """
    position = 0
    while (found := _find(pdf, position)) >= 0:
        if not fonts and pdf.rfind(_CATALOG, position, found) >= 0:
            return
        position = found + len(_MARK)
        earliest = max(0, found - _DICTIONARY_BYTES)
        dictionary = pdf[max(earliest, pdf.rfind(_BEGIN, earliest, found)) : found]
        length = _LENGTH.search(dictionary)
        if length is None:
            continue
        start, position = position, position + int(length[1])
        if b"/FlateDecode" in dictionary and not any(name in dictionary for name in _NO_CONTENT):
            for piece in _inflated(pdf[start:position]):
                max_bytes -= len(piece)
                if max_bytes < 0:
                    raise TooLongError
                yield piece


def _find(pdf: bytes | mmap.mmap, position: int) -> int:
    for start in range(position, len(pdf), _SEARCH_BYTES):
        found = pdf.find(_MARK, start, start + _SEARCH_BYTES + len(_MARK))
        if found >= 0:
            return found
    return -1


def _inflated(compressed: bytes) -> Iterator[bytes]:
    inflater, rest = zlib.decompressobj(), b""
    try:
        while compressed:
            piece = rest + inflater.decompress(compressed, PIECE_BYTES)
            compressed = inflater.unconsumed_tail
            cut = piece.rfind(b"\n") + 1 or len(piece)
            piece, rest = piece[:cut], piece[cut:]
            yield piece
        yield rest + inflater.flush()
    except zlib.error:
        return

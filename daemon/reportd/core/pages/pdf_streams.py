"""Reads the compressed streams of a PDF that Chromium has written, without reading the whole PDF.

Skia, which writes it, compresses streams with Flate, ends each dictionary with the stream's length, and keeps no
objects in streams. A stream of another make is skipped.
"""

import mmap
import re
import zlib
from collections.abc import Iterator

PIECE_BYTES = 1024 * 1024
"""Of an inflated stream that is looked at at once. A page decides how long its streams are."""

_SEARCH_BYTES = 16 * 1024 * 1024
"""Searched in one go, which takes milliseconds and keeps all other threads waiting."""

MAPPING = b"/CIDInit"
"""How a stream begins that maps the glyphs of a font to characters (``ToUnicode``)."""

_DICTIONARY_BYTES = 16 * 1024
_MARK = b">> stream\n"
_LENGTH = re.compile(rb"/Length (\d+)\Z")
_NO_CONTENT = (b"/Subtype /Image", b"/Length1 ", b"/Subtype /CIDFontType0C", b"/Subtype /Type1C")


def content_streams(pdf: bytes | mmap.mmap) -> Iterator[bytes]:
    """Yield the streams that may hold text or the mapping of a font: all but images and font files.

    A long stream comes in pieces that end with a line.
    """
    position = 0
    while (found := _find(pdf, position)) >= 0:
        position = found + len(_MARK)
        dictionary = pdf[max(0, found - _DICTIONARY_BYTES) : found]
        dictionary = dictionary[dictionary.rfind(b" obj\n") + 1 :]
        length = _LENGTH.search(dictionary)
        if length is None:
            continue
        start, position = position, position + int(length[1])
        if b"/FlateDecode" in dictionary and not any(name in dictionary for name in _NO_CONTENT):
            yield from _inflated(pdf[start:position])


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

"""Finds the characters of a PDF that no font has: Chromium prints a box for each of them.

The box is glyph 0 of a font (``.notdef``), so the PDF is certain about it, whatever the page loads and generates. Of
the character Skia leaves two traces. The first one that a font lacks has none. Each other one is the ``ActualText``
of its box. So the first one is found by what is left: a character of the page that the PDF never prints.
"""

import mmap
import re
import sys
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages.pdf_streams import MAPPING, content_streams
from reportd.core.pages.scripts import described

# A font of type 3 has two digits per glyph, and Skia writes each glyph by itself; any other font has four.
# That two zeros come at all is looked at first: most strings have none, and so it takes half the time.
_BOX = re.compile(rb"<(?=[0-9A-F]*00)(?:(00)|((?>(?:[0-9A-F]{4})*?0000)[0-9A-F]*+))>")
_SPAN = re.compile(rb"/ActualText <((?:[0-9A-F]{2})*)> >> BDC\n(.*?)EMC", re.DOTALL)

_MAP_PART = re.compile(rb"beginbf(?:char|range)\n(.*?)endbf", re.DOTALL)
_MAP_LINE = re.compile(rb"<([0-9A-F]{2,4})> (?:<([0-9A-F]{2,4})> )?<((?:[0-9A-F]{4})+)>")

_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point: joiners, soft hyphens, variation selectors. They print nothing."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of a PDF. ``characters``: those that boxes stand for. ``printed``: those that it prints otherwise."""

    count: int
    characters: frozenset[str]
    printed: frozenset[str]


def find_boxes(pdf: bytes | mmap.mmap, *, max_bytes: int = sys.maxsize) -> Boxes | None:
    """Return the boxes of a PDF that Chromium has printed; None if it has none.

    It takes 3 ms per megabyte of text operators, and twice that if there are boxes. Raises TooLongError when the
    streams are longer than ``max_bytes``.
    """
    count = sum(map(_boxes_in, content_streams(pdf, fonts=False, max_bytes=max_bytes)))
    return Boxes(count, *_characters(content_streams(pdf, max_bytes=max_bytes))) if count else None


def missing_characters(boxes: Boxes, page: Collection[str]) -> frozenset[str]:
    """Return the characters that boxes stand for. ``page``: the characters of its text."""
    unprinted = {one for one in page if boxes.printed.isdisjoint((one, one.upper(), one.lower()))}
    return frozenset(one for one in boxes.characters | unprinted if _prints(one))


def warning_of(boxes: Boxes, page: Collection[str]) -> JobWarning:
    """Return the warning about the boxes of a PDF, of which there is at least one."""
    characters = missing_characters(boxes, page)
    # What a style sheet generates and an image writes is not in the page's text.
    what = described(characters) if characters else "a character that is not in the page's text"
    return JobWarning(WarningKind.GLYPHS, what, "no font has these characters", boxes.count)


def _boxes_in(stream: bytes) -> int:
    if stream.startswith(MAPPING):
        return 0
    return sum(1 if one else _zeros(many) for one, many in _BOX.findall(stream))


def _zeros(glyphs: bytes) -> int:
    return sum(glyphs[start : start + 4] == b"0000" for start in range(0, len(glyphs), 4))


def _characters(streams: Iterator[bytes]) -> tuple[frozenset[str], frozenset[str]]:
    missing: set[str] = set()
    perhaps: set[str] = set()
    printed: set[str] = set()
    for stream in streams:
        if stream.startswith(MAPPING):
            printed.update(*_mapped(stream))
            continue
        for text, operators in _SPAN.findall(stream):
            characters = _decoded(text)
            if _BOX.search(operators) is None:
                printed.update(characters)
            else:  # of a letter with its marks, one may be a box and the others not
                (missing if len(characters) == 1 else perhaps).update(characters)
    return frozenset(missing | (perhaps - printed)), frozenset(printed)


def _mapped(mapping: bytes) -> Iterator[str]:
    """Yield the texts of a font's glyphs. Those of a range differ in their last character, by one from each other."""
    for part in _MAP_PART.findall(mapping):
        for first, last, text in _MAP_LINE.findall(part):
            start = _utf16(text)
            yield start
            for offset in range(1, int(last or first, 16) - int(first, 16) + 1):
                yield chr(min(ord(start[-1]) + offset, sys.maxunicode))


def _decoded(text: bytes) -> str:
    """Decode a text string of a PDF (PDF 32000-1, 7.9.2.2): UTF-16 after its mark, else PDFDocEncoding."""
    if text.startswith(b"FEFF"):
        return _utf16(text[4:])
    return bytes.fromhex(text.decode()).decode("latin-1")


def _utf16(text: bytes) -> str:
    return bytes.fromhex(text.decode()).decode("utf-16-be", "replace")


def _prints(character: str) -> bool:
    return not (character.isspace() or unicodedata.category(character) in "Zs Zl Zp" or _IGNORABLE.match(character))

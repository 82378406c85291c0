"""What is on the sheets of a PDF, as poppler sees it: sizes, words and where they stand, colours. Lengths are in mm.

Poppler has nothing in common with Chromium, so a mistake of one is not hidden by the same mistake of the other.
"""

import html
import re
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

PER_INCH = 72
"""Points of a PDF, and pixels of a drawing: so a pixel is a point."""

MM = 25.4 / PER_INCH
_PAGE = re.compile(r'<page width="([\d.]+)" height="([\d.]+)">(.*?)</page>', re.DOTALL)
_WORD = re.compile(r'<word xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word>', re.DOTALL)
_WHITE = b"\xff"
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Poppler marks the direction of words that run from right to left."""

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    box: Box


@dataclass(frozen=True)
class Drawing:
    """A page as pixels: three bytes each, row by row."""

    width: int
    height: int
    pixels: bytes = field(repr=False)

    def colour(self, x: float, y: float) -> tuple[int, int, int]:
        """Of the point so far from the left and from the top."""
        column, row = (min(int(at / MM), size - 1) for at, size in ((x, self.width), (y, self.height)))
        red, green, blue = self.pixels[(row * self.width + column) * 3 :][:3]
        return red, green, blue

    def painted(self) -> Box | None:
        """The smallest box that holds all that is not white."""
        left, right, rows = self.width, 0, []
        for number in range(self.height):
            row = self.pixels[number * self.width * 3 : (number + 1) * self.width * 3]
            if ink := row.strip(_WHITE):
                rows.append(number)
                left = min(left, (len(row) - len(row.lstrip(_WHITE))) // 3)
                right = max(right, -(-len(row.rstrip(_WHITE)) // 3))
                assert ink
        return (left * MM, rows[0] * MM, right * MM, (rows[-1] + 1) * MM) if rows else None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page of a PDF. ``text``: all of it in the order of reading, a blank between any two words."""

    width: float
    height: float
    text: str
    words: Sequence[Word]

    def boxes_of(self, text: str) -> list[Box]:
        return [word.box for word in self.words if word.text == text]


def sheets_of(pdf: bytes) -> list[Sheet]:
    sheets = []
    for width, height, content in _PAGE.findall(_poppler("pdftotext", "-bbox", "-", "-", given=pdf).decode()):
        words = []
        for *corners, word in _WORD.findall(content):
            left, top, right, bottom = (float(corner) * MM for corner in corners)
            words.append(Word(plain(html.unescape(word)), (left, top, right, bottom)))
        text = " ".join(word.text for word in words)
        sheets.append(Sheet(float(width) * MM, float(height) * MM, text, words))
    if any(_RIGHT_TO_LEFT.search(sheet.text) for sheet in sheets):
        # The letters of these words are there as they stand, from left to right. Here they are in their order.
        texts = _poppler("pdftotext", "-", "-", given=pdf).decode().split("\f")
        sheets = [replace(sheet, text=plain(text)) for sheet, text in zip(sheets, texts, strict=False)]
    return sheets


def drawings_of(pdf: bytes, *, first: int = 1, last: int = 0, per_inch: int = PER_INCH) -> list[Drawing]:
    """The pages as pixels; ``last`` 0: to the end."""
    ends = ["-f", str(first), *(["-l", str(last)] if last else [])]
    data = _poppler("pdftoppm", "-r", str(per_inch), *ends, "-", given=pdf)
    drawings = []
    while data:
        head = re.match(rb"P6\n(\d+) (\d+)\n255\n", data)
        assert head is not None
        width, height = int(head[1]), int(head[2])
        end = head.end() + width * height * 3
        drawings.append(Drawing(width, height, data[head.end() : end]))
        data = data[end:]
    return drawings


def plain(text: str) -> str:
    """A text as it can be compared: compatible characters, and a blank between any two words."""
    return " ".join(_DIRECTION.sub("", unicodedata.normalize("NFKC", text)).split())


def _poppler(*command: str, given: bytes) -> bytes:
    return subprocess.run([*command], input=given, capture_output=True, check=True).stdout

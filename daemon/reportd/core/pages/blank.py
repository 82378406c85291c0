"""Whether a PDF of Chromium shows anything at all.

The check reads the content streams of a small PDF. White paint and text of spaces show nothing on a sheet of paper.
"""

import re
from collections.abc import Iterable

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages.glyphs import find_boxes
from reportd.core.pages.pdf_streams import MAPPING, TooLongError, content_streams

MAX_BYTES = 65536
"""A larger PDF is not blank: an empty sheet has a few hundred bytes, a font with one glyph four thousand."""

MAX_CONTENT_BYTES = 256 * 1024
"""Of all content streams. Longer ones are not blank; a page can make 64 KB of PDF out of 60 MB that paint in white."""

_MAPPING = re.compile(rb"<[0-9A-Fa-f]+> *<([0-9A-Fa-f]+)> *(?:<([0-9A-Fa-f]+)>)?")
_TOKEN = re.compile(rb"\S+")
_WHITE = ([b"1", b"1", b"1"], [b"1"])
_FILL, _STROKE = {b"f", b"F", b"f*"}, {b"S", b"s"}
_BOTH = {b"B", b"B*", b"b", b"b*"}
_TEXT = {b"Tj", b"TJ", b"'", b'"'}
_OBJECTS = {b"Do", b"sh", b"BI"}
_COLOURS = {b"rg": 3, b"RG": 3, b"g": 1, b"G": 1}
_OTHER_COLOURS = {b"k": "fill", b"sc": "fill", b"scn": "fill", b"K": "stroke", b"SC": "stroke", b"SCN": "stroke"}


def blank_fault(warnings: Iterable[JobWarning]) -> Fault:
    """Return the fault of a page that shows nothing. A script that failed is named, as it was to paint the page.

    ``warnings``: all of its job.
    """
    error = next(
        (f"; a script failed: {warning.what}" for warning in warnings if warning.kind == WarningKind.SCRIPTS), ""
    )
    return Fault(FaultKind.NOT_A_REPORT, f"nothing is painted on any of its pages{error}")


def is_blank(pdf: bytes) -> bool:
    """Return whether no page shows anything. False for a PDF that is too large to be blank.

    A box in place of a character that no font has is shown.
    """
    if len(pdf) > MAX_BYTES:
        return False
    try:
        return _is_blank(pdf)
    except TooLongError:
        return False


def _is_blank(pdf: bytes) -> bool:
    text = False
    for stream in content_streams(pdf, fonts=False, max_bytes=MAX_CONTENT_BYTES):
        painted, has_text = _paint(stream)
        if painted:
            return False
        text = text or has_text
    if not text:
        return True
    mappings = [each for each in content_streams(pdf, max_bytes=MAX_CONTENT_BYTES) if each.startswith(MAPPING)]
    return not _visible_text(mappings) and find_boxes(pdf) is None


def _paint(content: bytes) -> tuple[bool, bool]:
    """Return whether a content stream paints with a colour other than white, and whether it shows such text."""
    colour: dict[str, list[bytes]] = {"fill": [b"0"], "stroke": [b"0"]}
    saved: list[dict[str, list[bytes]]] = []
    text = False
    operands: list[bytes] = []
    # One by one: most pages paint at once, and have much more to read.
    for match in _TOKEN.finditer(content):
        token = match[0]
        if token in _COLOURS:
            colour["fill" if token.islower() else "stroke"] = operands[-_COLOURS[token] :]
        elif token in _OTHER_COLOURS:
            colour[_OTHER_COLOURS[token]] = []
        elif token == b"q":
            saved.append(dict(colour))
        elif token == b"Q" and saved:
            colour = saved.pop()
        elif token in _TEXT:
            text = text or colour["fill"] not in _WHITE
        elif (
            token in _OBJECTS
            or (token in _FILL | _BOTH and colour["fill"] not in _WHITE)
            or (token in _STROKE | _BOTH and colour["stroke"] not in _WHITE)
        ):
            return True, text
        else:
            operands.append(token)
            continue
        operands = []
    return False, text


def _visible_text(mappings: list[bytes]) -> bool:
    """Return whether a font of the PDF maps a glyph to anything but space; True if none says what its glyphs are."""
    shown = b"".join(mappings)
    if not shown:
        return True
    targets = []
    for section in re.findall(rb"beginbf(?:char|range)(.*?)endbf", shown, re.DOTALL):
        targets += [last or first for first, last in _MAPPING.findall(section)]
    texts = [
        bytes.fromhex(target.decode()).decode("utf-16-be", "replace") for target in targets if len(target) % 4 == 0
    ]
    return not texts or any(text.strip() for text in texts)

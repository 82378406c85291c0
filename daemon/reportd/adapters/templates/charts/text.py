"""How wide a text is about, and how it is made to fit. Only the browser knows it exactly."""

import unicodedata
from bisect import bisect_right
from itertools import accumulate

SIZE = 11.0
"""Of the text in charts, in CSS pixels."""

_NARROW = frozenset("iljtfrI.,:;'|!()[]/ \u00a0\u202f")
_BROAD = frozenset("mwMW@%…—")
_LARGE = ("Lu", "Sc", "Sm")
_NO_WIDTH = ("Mn", "Me", "Cf")
_ARABIC = ("\u0600", "\u06ff")
"""Its letters are joined, and narrower than Latin ones."""


def text_width(text: str, size: float = SIZE) -> float:
    """Estimate the width in CSS pixels, a little too wide for common fonts."""
    return size * sum(map(_ems, text))


def fitted(text: str, width: float) -> str:
    """Return the text, cut with an ellipsis where it is wider."""
    if text_width(text) <= width:
        return text
    ends = list(accumulate(map(_ems, text)))
    count = bisect_right(ends, width / SIZE - _ems("…"))
    return f"{text[:count].rstrip()}…" if count > 0 else ""


def wrapped(text: str, width: float, lines: int = 2) -> list[str]:
    """Return the text in at most that many lines, broken at spaces where there are some; the last one may be cut."""
    if text_width(text) <= width or lines == 1:
        return [line] if (line := fitted(text, width)) else []
    ends = list(accumulate(map(_ems, text)))
    count = max(bisect_right(ends, width / SIZE), 1)
    space = text.rfind(" ", 1, count + 1)
    if space > 0:
        return [text[:space].rstrip(), *wrapped(text[space:].lstrip(), width, lines - 1)]
    # An ideograph may begin a line; a word in letters has a hyphen where it is broken.
    end = bisect_right(ends, width / SIZE - _ems("-"))
    if end > 1 and _has_cases(text[end - 1 : end + 1]):
        return [f"{text[:end]}-", *wrapped(text[end:], width, lines - 1)]
    return [text[:count], *wrapped(text[count:], width, lines - 1)]


def _has_cases(text: str) -> bool:
    return all(char.lower() != char.upper() for char in text)


def _ems(char: str) -> float:
    if char in _NARROW:
        return 0.36
    if char in _BROAD:
        return 0.98
    if unicodedata.east_asian_width(char) in "WF":
        return 1.0
    category = unicodedata.category(char)
    if category in _NO_WIDTH:
        return 0.0
    if _ARABIC[0] <= char <= _ARABIC[1]:
        return 0.5
    return 0.74 if category in _LARGE else 0.62

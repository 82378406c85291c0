"""A few lines of a file around the one that an error speaks of."""

from dataclasses import dataclass

from reportd.core.text import cut

AROUND = 3
"""Lines shown before and after the marked one."""

MAX_CHARS = 200
"""Characters of a line that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """``number`` counts from 1. ``marked``: the error speaks of this line."""

    number: int
    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Excerpt:
    """``file``: its name as people know it. ``lines``: none where the file can't be read."""

    file: str
    line: int
    lines: tuple[Line, ...] = ()


def excerpt(file: str, text: str, line: int) -> Excerpt:
    """Return the lines around number ``line``; the last line stands for one beyond the end."""
    # Not `splitlines`: it also splits at form feeds and the like, and then the numbers would not be those of an editor.
    lines = text.split("\n")
    line = min(max(line, 1), len(lines))
    first = max(line - AROUND, 1)
    shown = lines[first - 1 : line + AROUND]
    return Excerpt(
        file,
        line,
        tuple(
            Line(number, cut(each.rstrip("\r"), MAX_CHARS), number == line) for number, each in enumerate(shown, first)
        ),
    )

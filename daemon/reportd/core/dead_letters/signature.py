"""The signature of a cause: the same for five thousand failures by one bug, whatever their numbers and names.

It is the kind of the fault and its detail, with all that differs from one failure to the next taken out of it.
"""

import re
from collections.abc import Callable
from hashlib import sha256

MAX_CHARACTERS = 300
"""Of a normalised detail. What differs only after so many is the same."""

SIGNATURE = re.compile(r"g-[0-9a-f]{16}")
"""What a signature looks like, so that it is told from the UUID of a single letter."""

_SUBSTITUTES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\b"), "{uuid}"),
    # Of an address its scheme, host and path say something; port, user, query and encoded parameters differ.
    (
        re.compile(r"\b(https?|wss?)://(?:[^\s/?#@]*@)?([^\s/?#:@]+)(?::\d+)?([^\s?#]*)[^\s]*"),
        lambda found: f"{found[1]}://{found[2].lower()}{_path(found[3])}",
    ),
    (re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|(?<!\w)'[^']*'(?!\w)"), "{value}"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "{time}"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b"), "{hex}"),
    (re.compile(r"(?<=\w):\d{1,5}\b"), ""),
    (re.compile(r"[-+]?\d+(?:[.,]\d+)*"), "{n}"),
    (re.compile(r"\s+"), " "),
)


def signature(kind: str, detail: str) -> str:
    """``g-`` and sixteen hexadecimal digits."""
    text = f"{kind}\n{normalised(detail)}"
    return "g-" + sha256(text.encode(errors="replace")).hexdigest()[:16]


def normalised(detail: str) -> str:
    """The detail with placeholders for all that differs from one failure to the next."""
    text = detail[: 10 * MAX_CHARACTERS]
    for pattern, substitute in _SUBSTITUTES:
        text = pattern.sub(substitute, text)
    return text.strip()[:MAX_CHARACTERS]


def _path(path: str) -> str:
    return "/".join("{value}" if "%" in step else step for step in path.split("/"))

"""The signature of a cause: five thousand failures by one bug share it, whatever numbers and names they hold.

It is a hash of the fault's kind and of its detail, in which placeholders replace all that varies between failures.
"""

import re
from collections.abc import Callable
from hashlib import sha256

MAX_CHARACTERS = 300
"""Length at which a normalised detail is cut, so details that differ only after it share a signature."""

SIGNATURE = re.compile(r"g-[0-9a-f]{16}")
"""Form of a signature. It differs from the UUID of a single letter."""

_CHANCE = re.compile(r"; (?:pending|last value|last progress): .*", re.DOTALL)
"""What a timeout adds to its cause: which of a slow server's pictures was missing when the time was up,
and how far the page was, is chance."""

_THERE = re.compile(r"(is undefined|has no attribute '[^']*'); accepted: .*", re.DOTALL)
"""What a template's fault adds to its cause: which other names this job's parameters have."""

_SUBSTITUTES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\b"), "{uuid}"),
    # Keep scheme, host and path of a URL; port, user, query and encoded parameters vary.
    (
        re.compile(r"\b(https?|wss?)://(?:[^\s/?#@]*@)?([^\s/?#:@]+)(?::\d+)?([^\s?#]*)[^\s]*"),
        lambda url: f"{url[1]}://{url[2].lower()}{_path(url[3])}",
    ),
    (re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|(?<!\w)'[^']*'(?!\w)"), "{value}"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "{time}"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,}\b"), "{hex}"),
    (re.compile(r"(?<=\w):\d{1,5}\b"), ""),
    (re.compile(r"[-+]?\d+(?:[.,]\d+)*"), "{n}"),
    (re.compile(r"\s+"), " "),
)


def signature(kind: str, detail: str) -> str:
    """Return ``g-`` and sixteen hexadecimal digits."""
    text = f"{kind}\n{normalised(detail)}"
    return "g-" + sha256(text.encode(errors="replace")).hexdigest()[:16]


def normalised(detail: str) -> str:
    """Return the detail with placeholders for all that varies between failures of one cause."""
    text = _THERE.sub(r"\1", _CHANCE.sub("", detail[: 10 * MAX_CHARACTERS]))
    for pattern, substitute in _SUBSTITUTES:
        text = pattern.sub(substitute, text)
    return text.strip()[:MAX_CHARACTERS]


def _path(path: str) -> str:
    return "/".join("{value}" if "%" in step else step for step in path.split("/"))

"""An edition: all files that one template prints with, as they were at one moment.

A job prints by one edition, whatever is saved meanwhile.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from reportd.core.pages.assets import media_type

MAX_BYTES = 64 * 2**20
"""Of all files of an edition."""

HASH_CHARS = 12

_TAIL = 64
"""Bytes at the end of a picture that hold its last mark."""


@dataclass(frozen=True, slots=True)
class Edition:
    """``template``: the name of the one that is rendered. ``sources``: its text, and that of all it is made of, by
    name. ``assets``: the files that its pages ask for, by name. ``hash``: of all of these.
    """

    template: str
    sources: Mapping[str, str] = field(repr=False)
    assets: Mapping[str, bytes] = field(repr=False)
    hash: str = ""

    @classmethod
    def of(cls, template: str, sources: Mapping[str, str], assets: Mapping[str, bytes]) -> Self:
        """Return the edition of these files, with its hash."""
        digest = hashlib.sha256(template.encode())
        for kind, files in (("template", _encoded(sources)), ("asset", assets)):
            for name, data in sorted(files.items()):
                digest.update(f"\0{kind}\0{name}\0{len(data)}\0".encode())
                digest.update(data)
        return cls(template, sources, assets, digest.hexdigest()[:HASH_CHARS])

    def half_saved(self, before: Self) -> str:
        """Return what seems to be saved only in part, compared with the edition ``before``; empty if nothing does.

        A file that had an end and has none now was cut off. One that never had one says nothing, unless it is empty.
        """
        for name, data, old in self._changed(before):
            if (old.strip() and not data.strip()) or (has_end(name, old) and not has_end(name, data)):
                accepted = "accepted: the whole file; if it is whole, save it once more"
                return f"{name} is cut off: the end is missing that it had before; {accepted}"
        return ""

    def may_go_on(self, before: Self) -> bool:
        """Return whether a file is the beginning of what it was before: the rest may be still to come."""
        return any(
            old.startswith(data.rstrip()) and old[len(data.rstrip()) :].strip()
            for _, data, old in self._changed(before)
        )

    def _changed(self, before: Self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield name, contents and earlier contents of the files that both have and that differ."""
        for now, then in ((_encoded(self.sources), _encoded(before.sources)), (self.assets, before.assets)):
            for name in now.keys() & then.keys():
                if now[name] != then[name]:
                    yield name, now[name], then[name]


def _encoded(sources: Mapping[str, str]) -> Mapping[str, bytes]:
    return {name: text.encode() for name, text in sources.items()}


_EXTENDS = re.compile(rb"\{%[-+]?\s*+extends\b")
_CSS_PART = re.compile(
    rb"/\*(?:[^*]|\*(?!/))*+\*/|\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+'|[{}]|/\*|[\"']", re.DOTALL
)


def has_end(name: str, data: bytes) -> bool:
    """Return whether a file has the mark that ends its kind. One of a kind without a mark has it unless it is empty."""
    tail = data[-_TAIL:]
    match media_type(name):
        case None:
            # What extends another has the end of that one.
            found = b"</html" in data[-200:].lower() or _EXTENDS.search(data) is not None
        case "text/css":
            found = bool(data.strip()) and _closed(data)
        case "image/svg+xml":
            found = b"</svg" in tail
        case "image/png":
            found = b"IEND" in tail
        case "image/jpeg":
            found = tail.endswith(b"\xff\xd9")
        case "image/webp":
            found = int.from_bytes(data[4:8], "little") + 8 <= len(data)
        case "font/woff" | "font/woff2":
            found = int.from_bytes(data[8:12], "big") == len(data)
        case _:
            found = bool(data)
    return found


def _closed(css: bytes) -> bool:
    """Return whether all blocks, comments and strings of a style sheet are closed."""
    depth = 0
    for match in _CSS_PART.finditer(css):
        part = match[0]
        if part in (b"/*", b'"', b"'"):
            return False
        depth += (part == b"{") - (part == b"}")
    return depth == 0

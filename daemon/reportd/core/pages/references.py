"""Which files the text of a template or of a style sheet asks for, as far as the text alone says it."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

UNKNOWN = "\ufffc"
"""Stands in the text of a template for what is known only when a job is rendered."""


@dataclass(frozen=True, slots=True)
class References:
    """``required``: addresses of files that a browser asks for. ``optional``: of those it may ask for instead.

    ``own_base``: the text sets a base address, so its relative addresses are not files of the template.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    own_base: bool = False


@dataclass(frozen=True, slots=True)
class TemplateParts:
    """What a template is made of: ``templates`` that it extends, includes or imports, those that may be missing, and
    what its text asks for.
    """

    templates: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    references: References = References()


def html_references(text: str) -> References:
    """Return the references of a template. What it computes must be ``UNKNOWN`` in the text."""
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError:
        pass  # a declaration that the parser can't read; the rest is found when the page asks for it
    return References(*_known(reader.required, reader.optional), own_base=reader.own_base)


def css_references(text: str) -> References:
    """Return the references of a style sheet."""
    return References(*_known(*_of_css(text)))


def _known(required: list[str], optional: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    def known(items: list[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item for item in items if UNKNOWN not in item))

    return known(required), known(optional)


_SOURCES = {
    "audio": ("src",),
    "body": ("background",),
    "feimage": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
    "img": ("src",),
    "input": ("src",),
    "script": ("src",),
    "source": ("src",),
    "table": ("background",),
    "td": ("background",),
    "th": ("background",),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
_LINKS = frozenset({"stylesheet", "preload", "modulepreload"})


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.required: list[str] = []
        self.optional: list[str] = []
        self.own_base = False
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        # A condition in a template may give an attribute twice, so it is no mapping.
        given = [(name, value) for name, value in attrs if value]
        self.own_base |= tag == "base" and any(name == "href" for name, _ in given)
        self.required += [value for name, value in given if name in _SOURCES.get(tag, ())]
        if tag == "link" and any(name == "rel" and _LINKS & set(value.lower().split()) for name, value in given):
            self.required += [value for name, value in given if name == "href"]
        for name, value in given:
            if name == "srcset":
                self.required += _candidates(value)
            elif name == "style":
                self._add_css(value)

    def handle_endtag(self, tag: str) -> None:
        self._style &= tag != "style"

    def handle_data(self, data: str) -> None:
        if self._style:
            self._add_css(data)

    def _add_css(self, text: str) -> None:
        required, optional = _of_css(text)
        self.required += required
        self.optional += optional


_CANDIDATE = re.compile(r"[\s,]*+(?P<address>\S++)")
_DESCRIPTORS = re.compile(r"(?:[^,(]|\([^)]*+\)?)*+")


def _candidates(srcset: str) -> Iterator[str]:
    """Yield the addresses of a list of images. Each goes to the next space: it may have commas (HTML, 4.8.4.2.1)."""
    end = 0
    while match := _CANDIDATE.match(srcset, end):
        address = match["address"].rstrip(",")
        described = _DESCRIPTORS.match(srcset, match.end()) if address == match["address"] else None
        end = described.end() if described else match.end()
        yield address


_STRING = r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?"
_CSS = re.compile(
    rf"/\*(?:[^*]|\*(?!/))*+(?:\*/)?|@import\s*+(?P<sheet>{_STRING})"
    rf"|\burl\(\s*+(?P<url>{_STRING}|[^)]*+)(?P<font>\s*+\)\s*+format\()?|{_STRING}",
    re.DOTALL | re.IGNORECASE,
)
_ANOTHER_SOURCE = re.compile(r"[^;{}()]*+\)(?:\s*+tech\([^;{}()]*+\))?\s*+,\s*+", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)


def _of_css(text: str) -> tuple[list[str], list[str]]:
    required: list[str] = []
    optional: list[str] = []
    end = -1
    for match, address in _addresses(text):
        # Of the sources of a font, a browser asks for the first that it can read. No browser that prints reads .eot.
        old = re.split(r"[?#]", address, maxsplit=1)[0].lower().endswith(".eot")
        another = end >= 0 and _ANOTHER_SOURCE.fullmatch(text, end, match.start()) is not None
        (optional if another or old else required).append(address)
        end = match.end() if match["font"] is not None and not old else -1
    return required, optional


def _addresses(text: str) -> Iterator[tuple[re.Match[str], str]]:
    for match in _CSS.finditer(text):
        given = match["sheet"] or match["url"]
        if given is not None:
            bare = given.strip()
            if bare[:1] in ("'", '"'):
                bare = bare[1:].removesuffix(bare[0])
            yield match, _ESCAPE.sub(_unescaped, bare)


def _unescaped(match: re.Match[str]) -> str:
    code = int(match[1], 16) if match[1] else 0
    return (chr(code) if 0 < code <= sys.maxunicode else "\ufffd") if match[1] else match[2]

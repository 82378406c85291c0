"""What a header or footer template is, and what it can't have: Chromium prints it in a document without network and
scripts.

Pictures and frames are left out there without a word. A style sheet or a font that would have to be loaded ends the
page's process (seen with Chromium 156).
"""

import re
import sys
from html.parser import HTMLParser

from reportd.core.pages.documents import shown
from reportd.core.text import cut

_ELEMENTS = frozenset({"script", "iframe", "frame", "object", "embed"})
"""Elements that do nothing there."""

_ATTRIBUTES = frozenset({"src", "srcset", "poster", "background"})
_LINKED = frozenset({"link", "image", "use", "feimage"})
"""Elements whose ``href`` is loaded. That of ``<a>`` is a link in the PDF, which works."""

_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|([^\n]))")
"""In CSS. A name may be written so, too: ``u\\72l(`` is ``url(``."""

_COMMENT = re.compile(
    r"""("(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|\burl\((?!\s*["'])[^)]*\)?)|/\*.*?(?:\*/|\Z)""",
    re.DOTALL | re.IGNORECASE,
)
"""A comment, or what begins none: a text, or an address without quotes. What does not end is one to the end: to look
for the end again at each beginning would take the square of the time.
"""

_IMPORT = re.compile(r"@import\b", re.IGNORECASE)
_URL = re.compile(r"""\burl\(\s*["']?\s*([^"')]*)""", re.IGNORECASE)
_SHOWN = 60

_FILE = re.compile(r"[^<>{}\n]+\.html")
_JINJA = ("{{", "{%")
"""Not ``{#``, which a style sheet may have: ``@media print{#total{…}}``."""
_JINJA_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def is_file(template: str) -> bool:
    """Return whether it is the name of a template file, instead of the header's or footer's own text."""
    return _FILE.fullmatch(template) is not None


def is_rendered(template: str) -> bool:
    """Return whether it is a Jinja template, and not printed as it is."""
    return is_file(template) or any(mark in template for mark in _JINJA)


def unloadable(html: str) -> str:
    """Return what the HTML would have to load, as it is written there; empty if it needs nothing."""
    return _first_found(html, ())


def unloadable_as_written(template: str) -> str:
    """Return what a header or footer would have to load whatever it is filled with; empty if it needs nothing.

    An address that a Jinja template fills in is not looked at: it may become a ``data:`` URI.
    """
    if not is_rendered(template):
        return unloadable(template)
    return _first_found(_JINJA_COMMENT.sub("", template), _JINJA)


def _first_found(html: str, unknown: tuple[str, ...]) -> str:
    finder = _Finder(unknown)
    finder.feed(html)
    finder.close()
    return finder.found[0] if finder.found else ""


class _Finder(HTMLParser):
    """``unknown``: what an address holds that is not known yet."""

    def __init__(self, unknown: tuple[str, ...]) -> None:
        super().__init__()
        self._unknown = unknown
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag in _ELEMENTS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text = (value or "").strip()
            if name == "style":
                self._look_at_css(text)
            loads = name in _ATTRIBUTES or (tag in _LINKED and name in ("href", "xlink:href"))
            if loads and text and not self._is_fine(text):
                self.found.append(f"<{tag} {name}={cut(shown(text.strip()), _SHOWN)}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._look_at_css(data)

    def _look_at_css(self, css: str) -> None:
        css = _ESCAPE.sub(_unescaped, _COMMENT.sub(lambda match: match[1] or " ", css))
        if _IMPORT.search(css):
            self.found.append("@import")
        urls = (url.strip() for url in _URL.findall(css))
        self.found += [f"url({cut(shown(url), _SHOWN)})" for url in urls if not self._is_fine(url)]

    def _is_fine(self, url: str) -> bool:
        return _is_inline(url) or any(mark in url for mark in self._unknown)


def _unescaped(escape: re.Match[str]) -> str:
    code = int(escape[1], 16) if escape[1] else 0
    return chr(code) if 0 < code <= sys.maxunicode else escape[2] or ""


def _is_inline(url: str) -> bool:
    return url.lower().startswith(("data:", "#")) or not url

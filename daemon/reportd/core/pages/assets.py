"""The files that a template may use: which names are served, under which address, and what in a page asks for them.

A template's page has a base address of a private origin. Only the daemon answers there: the name can't be resolved.
"""

import re
from collections.abc import Iterator
from posixpath import dirname, normpath
from urllib.parse import unquote, urlsplit

ORIGIN = "https://assets.reportd.invalid"
"""RFC 6761 section 6.4: no name under ``invalid`` exists."""

MAX_NAME = 500

MEDIA_TYPES = {
    "apng": "image/apng",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "css": "text/css",
    "gif": "image/gif",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "otf": "font/otf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ttc": "font/collection",
    "ttf": "font/ttf",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
}
"""What is served, by the end of its name. So templates, schemas, samples and the configuration never are."""

KINDS = "accepted: an image, a font, a style sheet or a script (" + ", ".join(sorted(MEDIA_TYPES)) + ")"

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_WORDS = ("src", "href", "poster", "data", "background", "url(", "@import", "image-set(")
_REFERS = re.compile(
    # An address that has no scheme and is no part of the same document.
    r"(?:(?:src|href|poster|data|background)\s*+=\s*+|url\(\s*+|@import\b\s*+)[\"']?\s*+"
    r"(?!#|//|[a-z][a-z0-9+.-]{0,20}+:|[\"'>\s)])"
    # A list of addresses: any of them may be one.
    r"|srcset\s*+=|image-set\("
)
"""Matches where one of the words begins, in lower case. A search for it would take 0.8 s per megabyte."""

_BASE = re.compile(r"<base\b[^<>]{0,2000}?\bhref\s*+=", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*+(?:<!--(?:[^-]|-(?!->))*+-->\s*+)*+(?:<!doctype[^>]*+>)?", re.IGNORECASE)


class AssetNameError(ValueError):
    """The name is of no file that a template may use. The text is a predicate, and says what is accepted."""


def media_type(name: str) -> str | None:
    """Return the media type by which a file is served; None if it is not served."""
    return MEDIA_TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


def checked_name(name: str) -> str:
    """Return a relative name that has been decoded, if such a file may be served. Raises AssetNameError."""
    parts = name.split("/")
    if not name or len(name) > MAX_NAME or _CONTROL.search(name):
        raise AssetNameError(f"is no name of a file; {KINDS}")
    if name.startswith("/") or ".." in parts:
        raise AssetNameError(_OUTSIDE)
    if any(part in ("", ".") for part in parts):
        raise AssetNameError("is no plain name of a file; accepted: folder/name.png")
    if any(part.startswith(".") for part in parts):
        raise AssetNameError("is hidden: its name, or that of a folder, begins with a dot; accepted: another name")
    if media_type(name) is None:
        raise AssetNameError(f"is of a kind that is not served; {KINDS}")
    return name


_OUTSIDE = "leads out of the template's folder; accepted: a file in that folder, or in the folder assets"


def resolved(reference: str, within: str = "") -> str | None:
    """Return the name of the file that a reference in a template means; None if it means something else.

    ``reference``: as written in the template, or in the style sheet ``within``. Raises AssetNameError.
    """
    # As a browser reads it (WHATWG URL).
    text = re.sub(r"[\t\n\r]", "", reference.strip("\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r ")).replace(
        "\\", "/"
    )
    if not text or text.startswith(("#", "?", "//")) or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text):
        return None
    path = _decoded(re.split(r"[?#]", text, maxsplit=1)[0])
    if path.startswith("/"):
        raise AssetNameError(f"is an absolute path; accepted: a relative one, such as {path.strip('/') or 'logo.png'}")
    return checked_name(normpath(f"{dirname(within)}/{path}" if dirname(within) else path))


def base_url(edition: str) -> str:
    """Return the base address of the pages that an edition makes."""
    return f"{ORIGIN}/{edition}/"


def name_in(url: str, base: str) -> str:
    """Return the name of the file that a page asks for at ``url``. Raises AssetNameError."""
    if not url.startswith(base):
        raise AssetNameError(_OUTSIDE)
    path = _decoded(urlsplit(url[len(ORIGIN) :]).path[len(base) - len(ORIGIN) :])
    return checked_name(normpath(path) if path else path)


def _decoded(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise AssetNameError(f"is no UTF-8; {KINDS}") from None


def may_refer(html: str) -> bool:
    """Return whether a page without scripts may ask for a file of its template.

    False is certain, unless a style sheet writes the word ``url`` or ``import`` with escapes.
    """
    text = html.lower()
    return any(_REFERS.match(text, at) for word in _WORDS for at in _positions(text, word))


def _positions(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def with_base(html: str, base: str) -> str:
    """Return the page with a base address; unchanged if it has a base of its own."""
    if "<base" in html.lower() and _BASE.search(html):
        return html
    match = _DOCTYPE.match(html)
    end = match.end() if match else 0
    # In front of a document type it would change how the page is laid out.
    return f'{html[:end]}<base href="{base}">{html[end:]}'

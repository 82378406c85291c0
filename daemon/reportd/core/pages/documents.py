"""Whether the document that an address led to is the report: its media type, and where the address redirected to.

A server that answers 200 can still answer with something else: a login form, an error as JSON, a page that sends its
reader on. Called by the Chromium adapter for each document that a page opens.
"""

import re
from collections.abc import Collection
from posixpath import normpath
from urllib.parse import unquote, urlsplit, urlunsplit

from reportd.core.faults import Fault, FaultKind
from reportd.core.pages.assets import ORIGIN

REPORT_TYPES = ("text/html", "application/xhtml+xml", "image/svg+xml")
"""Media types of a document that can be a report."""

REFRESH_SECONDS = 10.0
"""A page that refreshes itself within this time is not finished. A later refresh is for a reader who stays: a dashboard
that is kept up to date, or a session that ends.
"""


_OF_A_TEMPLATE = re.compile(rf"^{re.escape(ORIGIN)}/[^/?#]*/(?=[^/?#])")


def shown(url: str) -> str:
    """Return a URL without query and user part, for logs and errors: they may hold customer data and a password.

    Of a URL that holds its content, the content is left out, too. The URL may be relative. Of one that can't be read,
    only the scheme is left. Of a file of a template its name is left, as the template writes it.
    """
    url = _OF_A_TEMPLATE.sub("", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition(':')[0]}:…"
    if parts.scheme and not parts.netloc and not parts.path.startswith("/"):  # about:blank; data:image/png;base64,…
        kind, comma, _ = parts.path.partition(",")
        return f"{parts.scheme}:{kind}{comma and ',…'}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


_URL = re.compile(r"\b(?:https?|wss?)://[^\s\"'<>`]+", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return the text of a page or browser with its URLs as they may be shown."""
    return _URL.sub(lambda match: shown(match[0]), text)


def path_of(url: str) -> str:
    """Return the path of a URL, decoded and without a slash at its end."""
    path = normpath(unquote(urlsplit(url).path) or "/")
    return "/" + path.lstrip("/")


def same_place(one: str, other: str) -> bool:
    """Return whether two URLs have the same host and path. Scheme, port, query and a slash at the end do not matter."""
    return urlsplit(one).hostname == urlsplit(other).hostname and path_of(one) == path_of(other)


def lists(allowed: bool | Collection[str], url: str) -> bool:
    """Return whether a report type names this redirect. ``allowed``: all paths, none, or these."""
    return allowed if isinstance(allowed, bool) else path_of(url) in {path_of(path) for path in allowed}


def is_folder(url: str) -> bool:
    """Return whether the path of a URL ends with a slash, once ``.`` and ``..`` are resolved."""
    return unquote(urlsplit(url).path).rpartition("/")[2] in ("", ".", "..")


def may_redirect(requested: str, to: str, allowed: bool | Collection[str]) -> bool:
    """Return whether a report type may end up at ``to``. ``allowed``: all paths, none, or these."""
    return lists(allowed, to) or same_place(requested, to)


def document_fault(requested: str, found: str, media_type: str, allowed: bool | Collection[str]) -> Fault | None:
    """Return why the document at ``found`` is not the report that was requested; None if it may be."""
    if not may_redirect(requested, found, allowed):
        detail = f"{shown(requested)} redirected to {shown(found)}, which allow_redirects does not list"
        return Fault(FaultKind.REDIRECTED, detail)
    if media_type not in REPORT_TYPES:
        accepted = "HTML, XHTML or SVG"
        detail = f"{shown(found)} answered with {media_type or 'no media type'}; a report is {accepted}"
        return Fault(FaultKind.NOT_A_REPORT, detail)
    return None

"""Tells requests that a browser sends on behalf of another site: they change nothing here (I11).

Where no tokens are asked for, they read nothing either: a name that was made to resolve to this machine (DNS rebinding)
makes the browser take this daemon for the other site, so requests must name a host that is no other's.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^][@/?#:\s]+)(:[0-9]*)?")
"""RFC 9110, section 7.2, in lower case."""


class Hosts:
    """Whom a request may be meant for. ``public_url`` may be empty."""

    def __init__(self, public_url: str) -> None:
        public = urlsplit(public_url).hostname
        self.names = ("localhost", *([public] if public else []))

    def include(self, host: bytes) -> bool:
        """Judges a ``Host`` header."""
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        if found is None:
            return False
        name = found[1].strip("[]").removesuffix(".")
        return name in self.names or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def from_elsewhere(headers: Mapping[bytes, bytes], server_address: str) -> bool:
    """By what only a browser can say of a request; one that says nothing comes from no browser.

    ``Sec-Fetch-Site`` is the browser's own judgement and stands above ``Origin``, which a proxy that rewrites
    ``Host`` would make look foreign. It is left out on plain HTTP (Fetch, section 3.2).
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    return origin.partition(b"://")[2] != headers.get(b"host") or _rebound(origin, server_address)


def _rebound(origin: bytes, server_address: str) -> bool:
    """A foreign name that was made to resolve to this machine (DNS rebinding): to the browser it is the same site.

    Such a page must have come over plain HTTP, by a name, and through a loopback address, where nobody else
    uses a name.
    """
    try:
        if not ip_address(server_address).is_loopback:
            return False
        parts = urlsplit(origin.decode("ascii"))
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    return not _is_address(host)

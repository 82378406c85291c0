"""Recognizes requests that a browser sends for another site. They may change nothing (I11).

Without tokens they may read nothing either. With DNS rebinding, a foreign name resolves to this machine, and the
browser takes the daemon for the other site; so requests must name a host that belongs to this daemon.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^][@/?#:\s]+)(:[0-9]*)?")
"""The Host header (RFC 9110, section 7.2), in lower case."""


class Hosts:
    """The hosts that a request may name. ``public_url`` may be empty."""

    def __init__(self, public_url: str) -> None:
        public = urlsplit(public_url).hostname
        self.names = ("localhost", *([public] if public else []))

    def include(self, host: bytes) -> bool:
        """Return whether a ``Host`` header names this daemon."""
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name = match[1].strip("[]").removesuffix(".")
        return name in self.names or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def from_elsewhere(headers: Mapping[bytes, bytes], server_address: str) -> bool:
    """Return whether a browser sent the request for another site. Requests without these headers are not a browser's.

    ``Sec-Fetch-Site`` is the browser's own judgement and takes precedence over ``Origin``, which looks foreign behind a
    proxy that rewrites ``Host``. Browsers omit it on plain HTTP (Fetch, section 3.2).
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    return origin.partition(b"://")[2] != headers.get(b"host") or _rebound(origin, server_address)


def _rebound(origin: bytes, server_address: str) -> bool:
    """Return whether the origin is a foreign name that resolves to this machine (DNS rebinding).

    The browser takes it for the same site. Such a page comes over plain HTTP, by a name, and through a loopback
    address; other pages do not use a name there.
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

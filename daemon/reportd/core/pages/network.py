"""Which hosts a page may reach (I10): checked by name before resolving, and by address after.

The egress proxy checks both for every connection of a page. The configuration parses its entries with
``parse_host_pattern``. This module neither resolves nor connects.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

import idna

Address = IPv4Address | IPv6Address

ACCEPTED = (
    "accepted: a name (reports.internal), a wildcard for sub-domains (*.example.com) or an IP address "
    "(10.0.0.5, [::1]), each with :PORT if only that port is meant"
)


@dataclass(frozen=True, slots=True)
class HostDecision:
    """Allowed or not. ``reason`` is for the log and the job's error, in both cases."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One entry of ``allowed_hosts``, normalised. ``port`` None means every port.

    ``wildcard``: the sub-domains of ``host`` are meant, not ``host`` itself.
    """

    host: str | Address
    port: int | None = None
    wildcard: bool = False

    def __str__(self) -> str:
        shown = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return ("*." if self.wildcard else "") + shown + (f":{self.port}" if self.port else "")

    def matches(self, host: str | Address) -> bool:
        """Return whether the pattern covers the host, at any port."""
        if not self.wildcard:
            return self.host == host
        return isinstance(host, str) and host.endswith(f".{self.host}")

    def opens(self, port: int) -> bool:
        return self.port is None or self.port == port


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """What the pages of one report type may reach. Two rules of the same entries are equal."""

    patterns: frozenset[HostPattern]

    @classmethod
    def of(cls, allowed_hosts: Iterable[str], url: str = "") -> Self:
        """Return the rule of these entries, plus the host of the report's ``url`` at the URL's port.

        A URL without a port opens 80 and 443, so that a page can move from http to https. It does not open every port:
        a report on ``localhost`` could reach every service there. Raises ValueError.
        """
        return cls(frozenset(parse_host_pattern(entry) for entry in allowed_hosts) | _own_host(url))

    def may_name(self, host: str, port: int) -> HostDecision:
        """Check before resolving. ``host`` is as the page wrote it: a name or an IP literal."""
        try:
            normal = normal_host(host)
        except ValueError as error:
            return HostDecision(allowed=False, reason=str(error))
        matching = [pattern for pattern in self.patterns if pattern.matches(normal)]
        for pattern in matching:
            if pattern.opens(port):
                return HostDecision(allowed=True, reason=f"allowed by {pattern}")
        if matching:
            return HostDecision(allowed=False, reason=f"{normal} is allowed, but not on port {port}")
        if not isinstance(normal, str):
            return HostDecision(allowed=False, reason=f"{normal} is an IP address that allowed_hosts does not list")
        return HostDecision(allowed=False, reason=f"{normal} is not among the allowed hosts")

    def may_address(self, host: str, port: int, address: str | Address) -> HostDecision:
        """Check after resolving, for each address of ``host``. Includes the check of ``may_name``."""
        by_name = self.may_name(host, port)
        if not by_name.allowed:
            return by_name
        normal, target = normal_host(host), plain_address(ip_address(address))
        if not isinstance(normal, str):
            return by_name if normal == target else HostDecision(allowed=False, reason=f"{normal} is not {target}")
        exact = any(p.matches(normal) and p.opens(port) for p in self.patterns if not p.wildcard)
        if not exact and not _is_public(target):
            return HostDecision(allowed=False, reason=f"{normal} resolves to {target}: a wildcard allows public only")
        listed = any(p.host == target and p.opens(port) for p in self.patterns)
        kind = _forbidden_kind(target)
        if kind and not listed:
            return HostDecision(allowed=False, reason=f"{normal} resolves to {target}, a {kind} address")
        return HostDecision(allowed=True, reason=f"{by_name.reason}, at {target}")


def parse_host_pattern(text: str) -> HostPattern:
    """Parse an entry of ``allowed_hosts``. Raises ValueError that says what is wrong and what is accepted."""
    host, port = _split_port(text)
    wildcard = host.startswith("*.")
    try:
        normal = normal_host(host[2:] if wildcard else host)
        if wildcard and not isinstance(normal, str):
            raise ValueError("an IP address has no sub-domains")  # noqa: TRY301 - one place adds what is accepted
    except ValueError as error:
        raise ValueError(f"{text!r} is not a host: {error}; {ACCEPTED}") from None
    return HostPattern(normal, port, wildcard)


def normal_host(text: str) -> str | Address:
    """Return the canonical form of a host: an address, or a name in lower-case ASCII without the trailing dot.

    IPv4 in any form but four decimal numbers (``0x7f.1``, ``2130706433``) is refused, because a resolver would read it
    as an address. Raises ValueError.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or _DOTTED_QUAD.fullmatch(bare):
        return _literal(bare)
    name = bare.removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError(f"{_shown(text)} is not an internationalised name") from None
    name = name.lower()
    labels = name.split(".")
    if bare != text or len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{_shown(text)} is not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{_shown(text)} is neither a name nor an IP address in its usual spelling")
    return name


def url_target(url: str) -> tuple[str, int]:
    """Return host (as written) and port of an http or https URL. Raises ValueError."""
    problem = "must be an absolute http or https URL"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise ValueError(problem) from None
    if not host:
        raise ValueError(problem)
    return host, port


def url_origin(url: str) -> str:
    """Return the origin of an http or https URL as browsers write it (RFC 6454, section 6.2). Raises ValueError."""
    host, port = url_target(url)
    # A browser tells a name with a dot at its end from one without, and IPv4 within IPv6 from IPv4.
    shown = f"[{IPv6Address(host)}]" if ":" in host else str(normal_host(host)) + "." * host.endswith(".")
    scheme = urlsplit(url).scheme
    return f"{scheme}://{shown}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


def plain_address(address: Address) -> Address:
    """Return the address that the system connects to: IPv4 for IPv4-mapped IPv6, and no zone."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


_DEFAULT_PORTS = {"http": 80, "https": 443}

_MAX_NAME = 253
"""RFC 1035 section 2.3.4: 255 octets, minus the first length octet and the root label."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_DOTTED_QUAD = re.compile(r"[0-9]+(\.[0-9]+){3}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A name whose last label is one of these is read as IPv4 (WHATWG URL, "ends in a number")."""

_PORT = re.compile(r"[0-9]{1,5}")

_FORBIDDEN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("link-local", ("169.254.0.0/16", "fe80::/10")),
    # Metadata services, which give credentials to machines, outside the link-local range:
    # Alibaba, Azure, Oracle; AWS and Google on IPv6.
    ("cloud metadata", ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::/32", "fd20:ce::254")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    # Linux connects 0.0.0.0 and :: to itself.
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("broadcast or reserved", ("240.0.0.0/4",)),
)
_NEVER = tuple((kind, ip_network(net)) for kind, nets in _FORBIDDEN for net in nets)

_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC = tuple(
    # Networks of IANA's special-purpose registries that Python 3.11's ``is_global`` lacks.
    ip_network(net)
    for net in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "3fff::/20")
)

_EMBEDDING = (
    # IPv4 inside IPv6: the network, and the number of bits to the right of the IPv4 address.
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("::ffff:0:0:0/96"), 0),  # SIIT, RFC 7915
    (IPv6Network("::/96"), 0),  # "IPv4-compatible", RFC 4291
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)


def _own_host(url: str) -> frozenset[HostPattern]:
    if not url:
        return frozenset()
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError("accepted: http:// and https://")  # noqa: TRY301 - one place names the URL
        host, port = normal_host(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a report's URL: {error}") from None
    return frozenset(HostPattern(host, opened) for opened in ((80, 443) if port is None else (port,)))


def _split_port(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text, None
    if not _PORT.fullmatch(port) or not 0 < int(port) < 1 << 16 or (":" in host and not host.endswith("]")):
        raise ValueError(f"{text!r} is not a host: what follows the last colon is no port; {ACCEPTED}")
    return host, int(port)


def _literal(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{_shown(text)} has a zone")
    return plain_address(address)


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a translator or tunnel would deliver to; None when there is none."""
    if isinstance(address, IPv6Address) and int(address) > 1:  # :: and ::1 are themselves
        for network, shift in _EMBEDDING:
            if address in network:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None


def _forbidden_kind(address: Address) -> str:
    """Return the kind of address that no name may resolve to; empty when names may resolve to it."""
    for kind, network in _NEVER:
        if address in network:
            return kind
    inner = _embedded(address)
    return _forbidden_kind(inner) if inner else ""


def _is_public(address: Address) -> bool:
    inner = _embedded(address)
    if inner:
        return _is_public(inner)
    if _forbidden_kind(address) or any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global if isinstance(address, IPv4Address) else address in _PUBLIC_V6


def _shown(text: str) -> str:
    """Return a text of a page in ASCII and cut, fit for a log line."""
    return ascii(text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "…")

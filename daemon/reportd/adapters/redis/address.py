"""Parses a ``breaker.store`` URL: the servers, and how to log in."""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from coredis.connection import TCPLocation

REDIS_PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True, slots=True)
class Address:
    """``hosts`` are Redis servers; if ``primary_name`` is set, Sentinels that know the primary of this name."""

    hosts: tuple[TCPLocation, ...]
    primary_name: str
    database: int
    tls: bool
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"Address({', '.join(map(repr, self.hosts))})"

    def connection_options(self) -> dict[str, Any]:
        """Return the options of a connection to Redis."""
        return self.credentials() | {
            "db": self.database,
            "ssl_context": self.ssl_context(),
            "client_name": "reportd",
        }

    def credentials(self) -> dict[str, Any]:
        return {"username": self.username, "password": self.password}

    def ssl_context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.tls else None


def parse(url: str) -> Address:
    """Parse ``redis[s]://[USER:PASSWORD@]HOST[:PORT],…[/NUMBER]`` or ``redis[s]+sentinel://…/NAME[/NUMBER]``.

    The configuration has validated it.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = map(unquote, credentials.partition(":"))
    *name, number = parts.path.strip("/").split("/")
    if kind and not name:
        name, number = [number], ""
    default_port = SENTINEL_PORT if kind else REDIS_PORT
    locations = [urlsplit(f"//{host}") for host in hosts.split(",")]
    return Address(
        hosts=tuple(TCPLocation(host.hostname or "localhost", host.port or default_port) for host in locations),
        primary_name="".join(name),
        database=int(number or 0),
        tls=scheme == "rediss",
        username=username or None,
        password=password or None,
    )

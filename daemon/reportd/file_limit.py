"""How many files this process may have open, and how many of them HTTP may take: connections are files, too.

Pure but for ``raise_limit`` and ``limit``.
"""

import resource
from dataclasses import dataclass

MOST_CONNECTIONS = 4096
"""However many files there are: a connection costs memory as well, 32 KiB where its client is up to no good."""

LEAST_CONNECTIONS = 16

RESERVE = 128
"""For database, log, browsers and their pipes, requests to other servers, health checks."""

FILES_PER_PAGE = 512
"""A page may have 256 connections to its hosts, each of which is one from the browser and one to the host."""

FILES_PER_CONNECTION = 2
"""The connection itself, and the PDF that is sent over it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """``connections`` of HTTP clients, and files for each page, that together stay below the limit."""

    connections: int
    page_files: int


def raise_limit() -> None:
    """Up to what the system allows. systemd starts a service with a soft limit of 1024, for the sake of programs that
    use select(2); neither the daemon nor Chromium does.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """How many there may be now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def shares(files: int, pages: int) -> Shares:
    """Of so many files, with so many pages at once. Pages come first; where there are few files, they have half."""
    spare = max(0, files - RESERVE)
    page_files = min(FILES_PER_PAGE * pages, spare // 2)
    connections = (spare - page_files) // FILES_PER_CONNECTION
    return Shares(min(MOST_CONNECTIONS, max(LEAST_CONNECTIONS, connections)), page_files // pages)

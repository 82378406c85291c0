"""Divides the limit of open files between the connections of pages and of HTTP clients.

Pure, except ``raise_limit`` and ``limit``.
"""

import resource
from dataclasses import dataclass

import structlog

MOST_CONNECTIONS = 4096
"""The most HTTP connections, however high the limit. Each also costs memory: up to 32 KiB for a malicious client."""

LEAST_CONNECTIONS = 16

RESERVE = 128
"""Files for database, log, browsers and their pipes, requests to other servers, health checks."""

MOST_PAGE_CONNECTIONS = 256
"""The most connections of one page. Chromium 156 keeps at most 128 WebSockets open through a proxy and queues the rest,
so a normal page never reaches this.
"""

LEAST_PAGE_CONNECTIONS = 16

FILES_PER_PAGE_CONNECTION = 2.25
"""One from the browser, one to the host, and one for every four that has not named its host yet."""

FILES_PER_CONNECTION = 2
"""The connection, and the PDF that is sent over it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shares:
    """``connections`` of HTTP clients, and ``page_connections`` of each page to its hosts.

    Together their files stay below the limit, unless the limit is so low that the minimum of either applies.
    """

    connections: int
    page_connections: int


def raise_limit() -> None:
    """Raise the soft limit to the hard limit.

    systemd starts a service with a soft limit of 1024, for programs that use select(2). The daemon and Chromium do not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # e.g. when fs.nr_open was lowered below it (getrlimit(2))
        log.warning("files.limit_not_raised", limit=soft, allowed=hard, error=str(error))


def limit() -> int:
    """Return the current soft limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def shares(files: int, pages: int) -> Shares:
    """Divide ``files`` between HTTP and ``pages`` parallel pages. Pages come first, with half of the files at most."""
    spare = max(0, files - RESERVE)
    page_files = min(MOST_PAGE_CONNECTIONS * FILES_PER_PAGE_CONNECTION, spare / 2 / pages)
    connections = int((spare - page_files * pages) / FILES_PER_CONNECTION)
    page_connections = int(page_files / FILES_PER_PAGE_CONNECTION)
    return Shares(
        min(MOST_CONNECTIONS, max(LEAST_CONNECTIONS, connections)), max(LEAST_PAGE_CONNECTIONS, page_connections)
    )

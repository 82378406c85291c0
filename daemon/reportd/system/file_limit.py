"""How many files this process may have open, and how many of them pages and HTTP may take: connections are files, too.

Pure but for ``raise_limit`` and ``limit``.
"""

import resource
from dataclasses import dataclass

import structlog

MOST_CONNECTIONS = 4096
"""However many files there are: a connection costs memory as well, 32 KiB where its client is up to no good."""

LEAST_CONNECTIONS = 16

RESERVE = 128
"""For database, log, browsers and their pipes, requests to other servers, health checks."""

MOST_PAGE_CONNECTIONS = 256
"""Of one page, at once. Chromium 156 itself keeps no more than 128 WebSockets open through a proxy and lets the others
wait, so no honest page misses any.
"""

LEAST_PAGE_CONNECTIONS = 16

FILES_PER_PAGE_CONNECTION = 2.25
"""The one from the browser and the one to the host; and for each four of them one that has not asked for a host yet."""

FILES_PER_CONNECTION = 2
"""The connection itself, and the PDF that is sent over it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shares:
    """``connections`` of HTTP clients, and ``page_connections`` of each page to its hosts: together their files stay
    below the limit. Where those are so few that somebody would have next to none, he has the least there may be.
    """

    connections: int
    page_connections: int


def raise_limit() -> None:
    """Up to what the system allows. systemd starts a service with a soft limit of 1024, for the sake of programs that
    use select(2); neither the daemon nor Chromium does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # as where fs.nr_open was lowered below it (getrlimit(2))
        log.warning("files.limit_not_raised", limit=soft, allowed=hard, error=str(error))


def limit() -> int:
    """How many there may be now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def shares(files: int, pages: int) -> Shares:
    """Of so many files, with so many pages at once. Pages come first; where there are few files, they have half."""
    spare = max(0, files - RESERVE)
    page_files = min(MOST_PAGE_CONNECTIONS * FILES_PER_PAGE_CONNECTION, spare / 2 / pages)
    connections = int((spare - page_files * pages) / FILES_PER_CONNECTION)
    page_connections = int(page_files / FILES_PER_PAGE_CONNECTION)
    return Shares(
        min(MOST_CONNECTIONS, max(LEAST_CONNECTIONS, connections)), max(LEAST_PAGE_CONNECTIONS, page_connections)
    )

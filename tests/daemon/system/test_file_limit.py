"""The limit of open files: raised to what the system allows, and divided."""

import resource
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from reportd.adapters.egress.proxy import CONNECTIONS_PER_HANDSHAKE
from reportd.system.file_limit import (
    LEAST_CONNECTIONS,
    LEAST_PAGE_CONNECTIONS,
    MOST_CONNECTIONS,
    MOST_PAGE_CONNECTIONS,
    RESERVE,
    limit,
    raise_limit,
    shares,
)


@pytest.mark.parametrize("files", [256, 1024, 4096, 65536, 524288, 1048576])
@pytest.mark.parametrize("pages", [1, 2, 12, 64, 2048])
def test_all_shares_together_stay_below_the_limit(files: int, pages: int) -> None:
    given = shares(files, pages)
    assert LEAST_CONNECTIONS <= given.connections <= MOST_CONNECTIONS
    assert LEAST_PAGE_CONNECTIONS <= given.page_connections <= MOST_PAGE_CONNECTIONS
    of_a_page = 2 * given.page_connections + given.page_connections // CONNECTIONS_PER_HANDSHAKE
    if given.page_connections > LEAST_PAGE_CONNECTIONS:
        assert 2 * given.connections + of_a_page * pages + RESERVE <= files


def test_where_there_are_plenty_everybody_has_all_he_may() -> None:
    """The hard limit under systemd."""
    given = shares(524288, 12)
    assert given.connections == 4096
    assert given.page_connections == 256


def test_where_there_are_few_pages_have_half() -> None:
    given = shares(1024, 4)
    assert given.connections == 224
    assert given.page_connections == 49


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    script = "from reportd.system import file_limit; file_limit.raise_limit(); print(file_limit.limit())"
    hard = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    answer = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
        capture_output=True,
        check=True,
    )
    assert int(answer.stdout) == hard
    assert limit() > 0


@pytest.mark.parametrize("error", [ValueError("not allowed to raise maximum limit"), OSError(1, "not permitted")])
def test_a_limit_that_the_kernel_refuses_stays_and_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """For example, when the hard limit is above fs.nr_open."""

    def refused(*_: object) -> None:
        raise error

    before = limit()
    monkeypatch.setattr(resource, "setrlimit", refused)
    with capture_logs() as captured:
        raise_limit()
    assert [entry["event"] for entry in captured] == ["files.limit_not_raised"]
    assert limit() == before

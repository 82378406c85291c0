"""How the files that the process may open are divided, and that it may open as many as the system allows."""

import resource
import subprocess
import sys

import pytest

from reportd.file_limit import MOST_CONNECTIONS, RESERVE, limit, shares


@pytest.mark.parametrize("files", [256, 1024, 4096, 65536, 524288, 1048576])
@pytest.mark.parametrize("pages", [1, 2, 12, 64, 2048])
def test_all_shares_together_stay_below_the_limit(files: int, pages: int) -> None:
    given = shares(files, pages)
    assert 2 * given.connections + given.page_files * pages + RESERVE <= files
    assert 16 <= given.connections <= MOST_CONNECTIONS
    assert given.page_files <= 512


def test_where_there_are_plenty_everybody_has_all_he_may() -> None:
    """What systemd allows."""
    given = shares(524288, 12)
    assert given.connections == 4096
    assert given.page_files == 512


def test_where_there_are_few_pages_have_half() -> None:
    given = shares(1024, 4)
    assert given.connections == 224
    assert given.page_files == 112


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    script = "from reportd import file_limit; file_limit.raise_limit(); print(file_limit.limit())"
    hard = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    answer = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
        capture_output=True,
        check=True,
    )
    assert int(answer.stdout) == hard
    assert limit() > 0

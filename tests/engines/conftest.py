"""Real engines, one of each for all tests of this folder, started when the first one needs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import brought
from tests.engines.started import running_elasticmq, running_s3

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest picks by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("engines")
            # A real server may refuse a large upload before it has seen all of it; then httpx leaves the rest unsent.
            item.add_marker(pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"))


@pytest.fixture(scope="session")
def elasticmq() -> Iterator[str]:
    """The URL of a server that speaks SQS."""
    with running_elasticmq() as url:
        yield url


@pytest.fixture(scope="session")
def old_elasticmq() -> Iterator[str]:
    """The same, of a version that knows less of SQS."""
    with running_elasticmq(brought.OLD_ELASTICMQ) as url:
        yield url


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    with running_s3() as url:
        yield url

"""Servers that tests of several folders share. Each is started when the first test asks for it."""

from collections.abc import Iterator

import pytest

from tests.cloud import running_moto
from tests.servers import postgres

__all__ = ["moto", "postgres"]


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a server that speaks SQS and S3."""
    with running_moto() as url:
        yield url

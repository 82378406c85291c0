"""Servers that tests of several folders share. Each is started when the first test asks for it."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.cloud import running_moto
from tests.servers import postgres
from tests.standstill import guarded_run

__all__ = ["moto", "postgres"]

# How long an example takes is a property of the machine, which others may be using.
settings.register_profile("reportd", deadline=None)
settings.load_profile("reportd")


@pytest.hookimpl(trylast=True)  # pytest-trio has said by then which tests are its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("trio") and not item.get_closest_marker("stands_still"):
            item.add_marker(pytest.mark.trio(run=guarded_run), append=False)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a server that speaks SQS and S3."""
    with running_moto() as url:
        yield url

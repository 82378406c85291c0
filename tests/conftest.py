"""Servers that tests of several folders share. Each is started when the first test asks for it."""

import importlib
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.cloud import running_moto
from tests.servers import postgres
from tests.standstill import guarded_run

__all__ = ["moto", "postgres"]

# Tracebacks in colours take a second each, and libraries that are imported where they are asked for are so before the
# daemon is ready. Neither is what a test is about that looks at how long the event loop is held.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
LOG_OF_THE_RUN = structlog.get_config()
importlib.import_module("aiobotocore.session")

# How long an example takes is a property of the machine, which others may be using.
settings.register_profile("reportd", deadline=None)
settings.load_profile("reportd")


@pytest.hookimpl(trylast=True)  # pytest-trio has said by then which tests are its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # To make an AWS client takes a quarter of a second of parsing; the daemon does it before it is ready.
        exempt = item.get_closest_marker("stands_still") or "moto" in getattr(item, "fixturenames", ())
        if item.get_closest_marker("trio") and not exempt:
            item.add_marker(pytest.mark.trio(run=guarded_run), append=False)


configure = structlog.configure


def configure_uncached(**options: object) -> None:
    """A command that runs in a test configures the log. A cached logger would write to that test's output for good."""
    configure(**{**options, "cache_logger_on_first_use": False})  # type: ignore[arg-type]


structlog.configure = configure_uncached  # type: ignore[assignment]


def pytest_runtest_teardown() -> None:
    """The next test has the log of the run again."""
    configure(**LOG_OF_THE_RUN)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a server that speaks SQS and S3."""
    with running_moto() as url:
        yield url

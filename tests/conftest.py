"""What all tests share: servers, which are started when the first test asks for them, the log, clocks, the order."""

import importlib
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from hypothesis import settings
from trio.abc import Clock, Instrument

from tests.servers.aws import running_moto
from tests.servers.postgresql import postgres
from tests.standstill import guarded_run

__all__ = ["moto", "postgres"]

# A traceback in colours takes a second, and the daemon has imported its lazy libraries before it is ready. Neither
# belongs to what a test measures that looks at how long the event loop is held.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
LOG_OF_THE_RUN = structlog.get_config()
UMASK_OF_RUN = os.umask(0o022)
os.umask(UMASK_OF_RUN)
importlib.import_module("aiobotocore.session")

# How long an example takes depends on the machine, which others may be using: no deadline. A run draws the same
# examples each time, so that a commit that passed once passes again; `make search` draws new ones, and many more.
settings.register_profile("reportd", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("reportd")

FIRST = ("e2e", "simulation", "web")
"""The folders of the longest files. Begun last, one of them would keep one worker busy while the others are idle."""


def turn(item: pytest.Item) -> int:
    """Return when a test's folder is begun: those of FIRST in that order, then all others."""
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


@pytest.hookimpl(trylast=True)  # pytest-trio has said by then which tests are its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("trio"):
            # An AWS client parses for a quarter of a second when it is made; the daemon makes it before it is ready.
            exempt = item.get_closest_marker("stands_still") or "moto" in item.fixturenames
            run = partial(run_on_clock, item, trio.run if exempt else guarded_run)
            item.add_marker(pytest.mark.trio(run=run), append=False)


def run_on_clock(
    item: pytest.Function,
    run: Callable[..., object],
    main: Callable[[], Coroutine[Any, Any, object]],
    *,
    clock: Clock | None = None,
    instruments: Iterable[Instrument] = (),
) -> object:
    """Run on the clock among the test's fixtures. pytest-trio finds it only among the arguments of the test."""
    clocks = [fixture for fixture in item.funcargs.values() if isinstance(fixture, Clock)]
    return run(main, clock=clock or next(iter(clocks), None), instruments=instruments)


configure = structlog.configure


def configure_uncached(**options: object) -> None:
    """Configure without caching. A cached logger would write for ever to the output of the test that made it."""
    configure(**{**options, "cache_logger_on_first_use": False})  # type: ignore[arg-type]


structlog.configure = configure_uncached  # type: ignore[assignment]


def pytest_runtest_teardown() -> None:
    """Give the next test the log and the umask of the run again: a command that a test calls sets both."""
    configure(**LOG_OF_THE_RUN)
    os.umask(UMASK_OF_RUN)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Yield the URL of a server that speaks SQS and S3."""
    with running_moto() as url:
        yield url

"""The implementations that the suites are run on."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.jobs import SqlJobs
from reportd.ports import Jobs
from tests.cloud import pretend_credentials
from tests.contract.artifacts_lab import ArtifactsLab, folder_lab
from tests.contract.databases import shared_schema, sqlite_copy, sweep
from tests.contract.queue_lab import QueueLab, open_embedded
from tests.contract.s3_lab import open_s3_lab
from tests.contract.sqs_lab import open_sqs
from tests.servers import Postgres

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema") / "reportd.db"


@pytest.fixture(scope="session")
def schema_url(postgres: Postgres) -> Iterator[str]:
    with shared_schema(postgres) as url:
        yield url


def _database(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database of that kind."""
    if kind == "sqlite":
        return sqlite_copy(request.getfixturevalue("schema_file"), request.getfixturevalue("tmp_path"))
    url: str = request.getfixturevalue("schema_url")
    sweep(request.getfixturevalue("postgres"))
    return url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    return _database(request.param, request)


def _aws(request: pytest.FixtureRequest) -> str:
    """The URL of a server for SQS and S3."""
    pretend_credentials(request.getfixturevalue("monkeypatch"))
    url: str = request.getfixturevalue("moto")
    return url


@pytest.fixture(params=[*(f"embedded-{kind}" for kind in DATABASES), "sqs-standard", "sqs-fifo"])
def open_lab(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[QueueLab]]:
    if request.param.startswith("sqs-"):
        return partial(open_sqs, _aws(request), fifo=request.param == "sqs-fifo")
    return partial(open_embedded, _database(request.param.removeprefix("embedded-"), request))


@pytest.fixture
async def jobs(database_url: str) -> AsyncIterator[Jobs]:
    async with open_database(database_url) as database:
        yield SqlJobs(database)


@pytest.fixture
async def other_node(database_url: str) -> AsyncIterator[Jobs]:
    """The same job store, from another node."""
    async with open_database(database_url) as database:
        yield SqlJobs(database)


@pytest.fixture
async def lab(open_lab: Callable[[], AbstractAsyncContextManager[QueueLab]]) -> AsyncIterator[QueueLab]:
    async with open_lab() as lab:
        yield lab


@pytest.fixture(params=["folder", "s3"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArtifactsLab]:
    if request.param == "folder":
        yield folder_lab(tmp_path / "artifacts")
        return
    async with open_s3_lab(_aws(request)) as lab:
        yield lab

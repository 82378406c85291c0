"""The implementations that the suites are run on."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.dead_letters import SqlDeadLetters
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.ports import Jobs
from tests.contract.artifacts.artifacts_lab import ArtifactsLab, folder_lab
from tests.contract.artifacts.s3_lab import open_s3_lab
from tests.contract.database.databases import shared_schema, sqlite_copy, sweep
from tests.contract.queue.queue_lab import QueueLab, open_embedded
from tests.contract.queue.sqs_lab import open_sqs
from tests.contract.records import outbox_lab
from tests.contract.records.letters_lab import LettersLab
from tests.contract.records.outbox_lab import OutboxLab, open_sql_lab
from tests.fakes import MemoryDeadLetters, MemoryJobs
from tests.fakes.labs import memory_artifacts_lab, open_fleet_lab, open_memory_lab
from tests.servers.aws import pretend_credentials
from tests.servers.pgbouncer import PgBouncer, running_pgbouncer
from tests.servers.postgresql import Postgres

DATABASES = ("sqlite", "postgresql", "pgbouncer")


@pytest.fixture(scope="session")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema") / "reportd.db"


@pytest.fixture(scope="session")
def schema_url(postgres: Postgres) -> Iterator[str]:
    with shared_schema(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres) as pooler:
        yield pooler


def _database(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database of that kind."""
    if kind == "sqlite":
        return sqlite_copy(request.getfixturevalue("schema_file"), request.getfixturevalue("tmp_path"))
    url: str = request.getfixturevalue("schema_url")
    sweep(request.getfixturevalue("postgres"))
    if kind == "pgbouncer":
        pooler: PgBouncer = request.getfixturevalue("pgbouncer")
        return pooler.url("contract")
    return url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    return _database(request.param, request)


def _aws(request: pytest.FixtureRequest) -> str:
    """The URL of a server for SQS and S3."""
    pretend_credentials(request.getfixturevalue("monkeypatch"))
    url: str = request.getfixturevalue("moto")
    return url


@pytest.fixture(params=[*(f"embedded-{kind}" for kind in DATABASES), "sqs-standard", "sqs-fifo", "memory", "fleet"])
def open_lab(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[QueueLab]]:
    if request.param == "memory":
        return open_memory_lab
    if request.param == "fleet":
        return open_fleet_lab
    if request.param.startswith("sqs-"):
        return partial(open_sqs, _aws(request), fifo=request.param == "sqs-fifo")
    return partial(open_embedded, _database(request.param.removeprefix("embedded-"), request))


@pytest.fixture(params=[*DATABASES, "memory"])
def store(request: pytest.FixtureRequest) -> str | MemoryJobs:
    """The URL of an empty, migrated database, or a job store in memory."""
    return MemoryJobs() if request.param == "memory" else _database(request.param, request)


@pytest.fixture
async def jobs(store: str | MemoryJobs) -> AsyncIterator[Jobs]:
    async with open_jobs(store) as jobs:
        yield jobs


@pytest.fixture
async def other_node(store: str | MemoryJobs) -> AsyncIterator[Jobs]:
    """The same job store, from another node."""
    async with open_jobs(store) as jobs:
        yield jobs


@asynccontextmanager
async def open_jobs(store: str | MemoryJobs) -> AsyncIterator[Jobs]:
    if isinstance(store, MemoryJobs):
        yield store
        return
    async with open_database(store) as database:
        yield SqlJobs(database)


@pytest.fixture
async def letters_lab(store: str | MemoryJobs) -> AsyncIterator[LettersLab]:
    if isinstance(store, MemoryJobs):
        letters = MemoryDeadLetters(store)
        yield LettersLab(store, letters, letters)
        return
    async with open_database(store) as database, open_database(store) as other:
        yield LettersLab(SqlJobs(database), SqlDeadLetters(database), SqlDeadLetters(other))


@pytest.fixture
async def lab(open_lab: Callable[[], AbstractAsyncContextManager[QueueLab]]) -> AsyncIterator[QueueLab]:
    async with open_lab() as lab:
        yield lab


@pytest.fixture
async def told(store: str | MemoryJobs) -> AsyncIterator[OutboxLab]:
    async with outbox_lab.open_memory_lab() if isinstance(store, MemoryJobs) else open_sql_lab(store) as lab:
        yield lab


@pytest.fixture(params=["folder", "s3", "memory"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArtifactsLab]:
    if request.param != "s3":
        yield folder_lab(tmp_path / "artifacts") if request.param == "folder" else memory_artifacts_lab()
        return
    async with open_s3_lab(_aws(request)) as lab:
        yield lab

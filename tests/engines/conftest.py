"""Real engines, one of each for all tests of this folder, started when the first one needs it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.engines import brought
from tests.engines.started import running_elasticmq, running_s3
from tests.servers.pgbouncer import running_pgbouncer
from tests.servers.postgresql import Postgres
from tests.servers.redis_cluster import running_cluster

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest picks by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("engines")
            item.add_marker(pytest.mark.stands_still("engines are started, and asked, in the way of the event loop"))
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


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """An empty database behind a pooler in transaction mode, as the daemons of a cluster reach it."""
    name = f"engines_{uuid4().hex[:12]}"
    with postgres.new_database(name), running_pgbouncer(postgres) as pooler:
        yield pooler.url(name)


@pytest.fixture
def breaker_store() -> Iterator[str]:
    """Redis Cluster, where the daemons share their breakers."""
    with running_cluster() as cluster:
        yield f"redis://{','.join(url.removeprefix('redis://').removesuffix('/0') for url in cluster.urls)}"

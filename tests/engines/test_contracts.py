"""The contract suites of queue and artifacts, on ElasticMQ and on a real S3 server."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.artifacts.artifacts_lab import ArtifactsLab
from tests.contract.artifacts.s3_lab import open_s3_lab
from tests.contract.artifacts.test_artifacts import *  # noqa: F403 - the suite, with the fixtures below
from tests.contract.queue.queue_lab import QueueLab
from tests.contract.queue.sqs_lab import open_sqs
from tests.contract.queue.test_queue_delivery import *  # noqa: F403
from tests.contract.queue.test_queue_receipts import *  # noqa: F403
from tests.contract.queue.test_queue_waiting import *  # noqa: F403
from tests.servers.aws import pretend_credentials


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)


@pytest.fixture(params=["elasticmq-standard", "elasticmq-fifo", "old_elasticmq-standard", "old_elasticmq-fifo"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[QueueLab]:
    engine, kind = request.param.split("-")
    async with open_sqs(request.getfixturevalue(engine), fifo=kind == "fifo") as lab:
        yield lab


@pytest.fixture
async def kept(s3: str) -> AsyncIterator[ArtifactsLab]:
    async with open_s3_lab(s3) as lab:
        yield lab

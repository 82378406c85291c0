"""What the daemon leaves out for servers that know less: of SQS, an older ElasticMQ; of S3, one without conditions."""

from pathlib import Path

import pytest
import structlog
import trio

from reportd.adapters.artifacts.s3 import open_s3_artifacts
from reportd.adapters.sqs import check, open_sqs_queue
from reportd.cli import provision as provisioning
from reportd.cli.provision import provision
from reportd.config import ArtifactStore, Config, QueueOptions
from tests.contract.queue.queue_lab import message
from tests.servers.aws import ask_s3, new_bucket, new_queue, pretend_credentials
from tests.servers.faulty_proxy import open_proxy, without_conditions


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    monkeypatch.setattr(provisioning, "SETTLE_SECONDS", 0.0)


async def test_a_queue_without_groups_takes_messages_and_it_is_said_once(old_elasticmq: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_sqs_queue(new_queue(old_elasticmq), visibility_seconds=10) as queue:
            for _ in range(2):
                assert await queue.send([message() for _ in range(12)]) == [None] * 12
            [received] = await queue.receive(1, 1.0)
    assert received.receive_count == 1
    assert received.sent_at > 0
    assert [entry["parameter"] for entry in logs] == ["MessageGroupId"]


async def test_a_store_without_conditions_passes_the_check(s3: str) -> None:
    async with open_proxy(s3) as proxy:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            proxy.plan(operation, *[without_conditions()] * 20)
        bucket = await trio.to_thread.run_sync(new_bucket, s3)
        async with open_s3_artifacts(bucket, "pdfs", presign_seconds=60, endpoint_url=proxy.url) as store:
            assert await store.check() == []
    assert "<Key>" not in ask_s3(s3, "GET", bucket).text


async def test_a_store_passes_the_check_and_a_wrong_secret_is_told(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(s3)
    async with open_s3_artifacts(bucket, "pdfs", presign_seconds=60, endpoint_url=s3) as store:
        assert await store.check() == []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    async with open_s3_artifacts(bucket, "pdfs", presign_seconds=60, endpoint_url=s3) as store:
        [problem] = await store.check()
    assert "AWS_SECRET_ACCESS_KEY" in problem


@pytest.mark.parametrize("engine", ["elasticmq", "old_elasticmq"])
@pytest.mark.parametrize("end", ["", ".fifo"], ids=["standard", "fifo"])
async def test_what_can_be_provisioned_is(s3: str, engine: str, end: str, request: pytest.FixtureRequest) -> None:
    """Also a second time; and no refusal is of what the daemon needs."""
    url = f"{request.getfixturevalue(engine)}/000000000000/made"
    bucket = f"made-{engine.replace('_', '-')}{end.replace('.', '-')}"
    config = Config(
        data_dir=Path("/nonexistent"),
        queue=QueueOptions(url=f"{url}{end}", dead_letter_url=f"{url}-dead{end}"),
        artifacts=ArtifactStore(url=f"s3://{bucket}/pdfs", endpoint_url=s3),
    )
    for _ in range(2):
        undone = await provision(config, lambda _: None, dry_run=False)
        assert not any(each.needed for each in undone)
        named = {"SetQueueAttributes", "PutPublicAccessBlock", "PutBucketEncryption", "PutBucketLifecycleConfiguration"}
        assert {each.text.split(": ")[-3] for each in undone} <= named
    queue = config.queue
    problems = await check(queue.url, queue.dead_letter_url, max_receive_count=queue.max_receive_count)
    assert problems == []
    async with open_s3_artifacts(bucket, "pdfs", presign_seconds=60, endpoint_url=s3) as store:
        assert await store.check() == []

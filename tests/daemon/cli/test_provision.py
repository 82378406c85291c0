"""Provisioning makes queues, bucket and policies, can run twice, and loosens nothing that exists."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import trio

from reportd.adapters.artifacts.s3 import open_s3_artifacts
from reportd.adapters.aws.client import open_client
from reportd.adapters.sqs import check
from reportd.cli import provision as provisioning
from reportd.cli.main import main
from reportd.cli.provision import provision
from reportd.cli.provision_plan import WantedBucket
from reportd.config import ArtifactStore, Config, QueueOptions
from reportd.config.report_types import ReportType
from tests.servers.aws import ask_s3, ask_sqs, new_bucket, pretend_credentials, running_moto
from tests.servers.faulty_proxy import Forward, Request, Response, answer, open_proxy


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    monkeypatch.setattr(provisioning, "SETTLE_SECONDS", 0.0)


def configured(server: str, name: str, *, fifo: bool = False, bucket: str = "") -> Config:
    end = ".fifo" if fifo else ""
    account = f"{server}/123456789012"
    return Config(
        data_dir=Path("/nonexistent"),
        queue=QueueOptions(url=f"{account}/{name}{end}", dead_letter_url=f"{account}/{name}-dead{end}"),
        artifacts=ArtifactStore(url=f"s3://{bucket or name}/reports", endpoint_url=server),
        reports={"slow": ReportType(url="https://x.test/", queue_url=f"{account}/{name}-slow{end}")},
    )


def attributes(server: str, name: str) -> dict[str, str]:
    url = ask_sqs(server, "GetQueueUrl", QueueName=name)["QueueUrl"]
    answered = ask_sqs(server, "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {key: str(value) for key, value in answered.items()}


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
async def test_what_is_provisioned_can_be_used(server: str, *, fifo: bool) -> None:
    name = f"fleet-{fifo}".lower()
    config = configured(server, name, fifo=fifo)
    said: list[str] = []
    await provision(config, said.append, dry_run=False)
    queue = config.queue
    assert await check(queue.url, queue.dead_letter_url, max_receive_count=queue.max_receive_count) == []
    slow = config.reports["slow"].queue_url
    assert await check(slow, queue.dead_letter_url, max_receive_count=queue.max_receive_count) == []
    async with open_s3_artifacts(name, "reports", presign_seconds=60, endpoint_url=server) as store:
        assert await store.check() == []
    told = attributes(server, queue.url.rpartition("/")[2])
    assert told["SqsManagedSseEnabled"] == "true"
    assert orjson.loads(told["RedrivePolicy"])["maxReceiveCount"] == 20
    assert "<Days>31</Days>" in ask_s3(server, "GET", f"{name}?lifecycle").text
    assert ask_s3(server, "GET", f"{name}?publicAccessBlock").text.count("true") == 4
    assert "AES256" in ask_s3(server, "GET", f"{name}?encryption").text
    assert len(said) == 8


async def test_running_it_again_changes_nothing(server: str) -> None:
    """Except the redrive-allow policy, which this server does not return."""
    config = configured(server, "again")
    await provision(config, lambda _: None, dry_run=False)
    said: list[str] = []
    await provision(config, said.append, dry_run=False)
    assert [line for line in said if "let only" not in line] == []


async def test_a_dry_run_says_it_all_and_does_nothing(server: str) -> None:
    said: list[str] = []
    await provision(configured(server, "dry"), said.append, dry_run=True)
    assert len(said) == 8
    assert all(line.startswith("would ") for line in said)
    assert ask_s3(server, "HEAD", "dry").status_code == 404
    assert "dry" not in str(ask_sqs(server, "ListQueues", QueueNamePrefix="dry"))


async def test_notes_are_said_and_what_they_are_about_is_left(server: str) -> None:
    ask_sqs(server, "CreateQueue", QueueName="noted-other")
    policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:123456789012:noted-other", "maxReceiveCount": 3}
    ask_sqs(server, "CreateQueue", QueueName="noted", Attributes={"RedrivePolicy": orjson.dumps(policy).decode()})
    said: list[str] = []
    await provision(configured(server, "noted", bucket=new_bucket(server)), said.append, dry_run=False)
    assert [line for line in said if line.startswith("note: noted redrives to")]
    assert orjson.loads(attributes(server, "noted")["RedrivePolicy"])["maxReceiveCount"] == 3


async def test_there_is_nothing_to_do_for_what_is_local() -> None:
    said: list[str] = []
    await provision(Config(data_dir=Path("/nonexistent")), said.append, dry_run=False)
    assert said == ["nothing to provision: queue and artifacts are local"]


async def test_what_is_denied_or_refused_is_told_and_the_rest_is_done(server: str) -> None:
    """The refused operation is named. The daemon can't run without a queue, but can without encryption."""
    async with open_proxy(server) as proxy:
        config = configured(proxy.url, "denied")
        proxy.plan("CreateQueue", answer(403, "AccessDenied", "not authorized to perform: sqs:createqueue"))
        undone = await provision(config, lambda _: None, dry_run=False)
        assert [each.needed for each in undone] == [True, True, True, False]
        assert "CreateQueue" in undone[0].text
        assert "sqs:createqueue" in undone[0].text
        assert ask_s3(server, "HEAD", "denied").status_code == 200
        proxy.plan("SetQueueAttributes", answer(400, "InvalidAttributeName", "RedriveAllowPolicy is unknown"))
        [refused] = await provision(config, lambda _: None, dry_run=False)
        assert not refused.needed
        assert "SetQueueAttributes: InvalidAttributeName" in refused.text


@pytest.mark.parametrize("code", ["NotImplemented", "MalformedXML"])
async def test_what_a_server_of_s3_does_not_know_is_named_and_the_rest_is_done(server: str, code: str) -> None:
    name = f"other-server-{code.lower()}"
    async with open_proxy(server) as proxy:
        config = configured(proxy.url, name)
        for operation in ("GetObject", "PutObject"):  # every request for a bucket, by the proxy's names

            async def unknown(request: Request, forward: Forward) -> Response:
                known = "encryption" not in request.target and "publicAccessBlock" not in request.target
                return await (forward(request) if known else answer(501, code)(request, forward))

            proxy.plan(operation, *[unknown] * 20)
        undone = await provision(config, lambda _: None, dry_run=False)
    assert [each.needed for each in undone] == [False, False]
    assert [f"PutPublicAccessBlock: {code}" in undone[0].text, f"PutBucketEncryption: {code}" in undone[1].text] == [
        True
    ] * 2
    assert "<Days>31</Days>" in ask_s3(server, "GET", f"{name}?lifecycle").text


async def test_a_server_that_is_away_is_told_for_each_part() -> None:
    undone = await provision(configured("http://127.0.0.1:9", "away"), lambda _: None, dry_run=False)
    assert [each.needed for each in undone] == [True, True]
    assert "GetQueueUrl" in undone[0].text
    assert "HeadBucket" in undone[1].text


async def test_a_bucket_in_the_first_region_is_made_without_naming_it(server: str) -> None:
    async with open_client("s3", "artifacts", region="us-east-1", endpoint_url=server) as client:
        await provisioning.provision_bucket(client, WantedBucket("first-region", "", 30), print, dry_run=False)
    assert ask_s3(server, "HEAD", "first-region").status_code == 200


@pytest.mark.parametrize(
    ("refused", "status", "words"), [("PutObject", 3, "PutPublicAccessBlock"), ("CreateQueue", 1, "CreateQueue")]
)
def test_the_exit_status_says_whether_the_daemon_lacks_what_it_needs(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: str, status: int, words: str
) -> None:
    name = f"status-{status}"
    file = tmp_path / "reportd.toml"

    async def run() -> int:
        async with open_proxy(server) as proxy:

            async def unknown(request: Request, forward: Forward) -> Response:
                meant = refused == "CreateQueue" or "publicAccessBlock" in request.target
                return await (answer(400, "NotImplemented")(request, forward) if meant else forward(request))

            proxy.plan(refused, *[unknown] * 20)
            queue = f"{proxy.url}/123456789012/{name}"
            file.write_text(
                f'[queue]\nurl = "{queue}"\ndead_letter_url = "{queue}-d"\n'
                f'[artifacts]\nurl = "s3://{name}/reports"\nendpoint_url = "{proxy.url}"\n'
            )
            return await trio.to_thread.run_sync(main, ["provision", "--config", str(file)])

    assert trio.run(run) == status
    assert words in capsys.readouterr().err

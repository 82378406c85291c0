"""Queues, bucket and policies are made as wanted, twice does no harm, and nothing that is there is loosened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from reportd import provision as provisioning
from reportd.adapters.aws import RejectedError, open_client
from reportd.adapters.s3 import open_s3_artifacts
from reportd.adapters.sqs import check
from reportd.config import ArtifactStore, Config, QueueOptions
from reportd.config.report_types import ReportType
from reportd.core.provisioning import (
    ByName,
    FoundBucket,
    FoundQueue,
    Step,
    WantedBucket,
    WantedQueues,
    plan_bucket,
    plan_queues,
)
from reportd.ports import UnavailableError
from reportd.provision import provision
from tests.cloud import ask_s3, ask_sqs, new_bucket, pretend_credentials, running_moto
from tests.faulty import answer, open_proxy

WANTED = WantedQueues(("jobs",), "dead", 60, 20)
ARN = "arn:aws:sqs:eu-central-1:123456789012:"


def queue(name: str, **attributes: Any) -> FoundQueue:
    """As it would be after provisioning, but for these attributes."""
    sound: dict[str, Any] = {
        "jobs": {
            "MessageRetentionPeriod": "345600",
            "RedrivePolicy": {"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": "20"},
        },
        "dead": {
            "MessageRetentionPeriod": "1209600",
            "RedriveAllowPolicy": {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}jobs"]},
        },
    }[name]
    return FoundQueue(ARN + name, {"SqsManagedSseEnabled": "true", **sound, **attributes}, (f"{ARN}jobs",))


def planned(wanted: WantedQueues = WANTED, /, **found: FoundQueue) -> list[Step]:
    return list(plan_queues(wanted, found))


def changes(**found: FoundQueue) -> dict[str, Any]:
    """The attributes that would be set; anything else in the plan is a failure."""
    steps = planned(**{"jobs": queue("jobs"), "dead": queue("dead"), **found})
    assert {step.operation for step in steps} <= {"SetQueueAttributes"}
    return {name: value for step in steps for name, value in step.parameters["Attributes"].items()}


def notes(**found: FoundQueue) -> list[str]:
    """What would be said; nothing may be done."""
    steps = planned(**{"jobs": queue("jobs"), "dead": queue("dead"), **found})
    assert {step.operation for step in steps} <= {""}
    return [step.text for step in steps]


class TestQueues:
    def test_the_dead_letter_queue_is_made_first(self) -> None:
        steps = planned()
        made = [step.parameters["QueueName"] for step in steps if step.operation == "CreateQueue"]
        assert made == ["dead", "jobs"]
        [policy] = [step.parameters["Attributes"] for step in steps if step.operation == "SetQueueAttributes"]
        sources = [ByName("jobs")]
        assert policy == {"RedriveAllowPolicy": {"redrivePermission": "byQueue", "sourceQueueArns": sources}}

    def test_queues_of_one_kind_are_made_with_what_the_kind_needs(self) -> None:
        for names, dead, fifo in ((("a", "b"), "d", None), (("a.fifo", "b.fifo"), "d.fifo", True)):
            steps = planned(WantedQueues(names, dead, 60, 20))
            made = {step.parameters["QueueName"]: step.parameters["Attributes"] for step in steps[:3]}
            assert set(made) == {*names, dead}
            assert all(attributes["SqsManagedSseEnabled"] is True for attributes in made.values())
            assert all(attributes.get("FifoQueue") is fifo for attributes in made.values())
            assert made[names[0]]["RedrivePolicy"] == {"deadLetterTargetArn": ByName(dead), "maxReceiveCount": 20}
            assert "RedrivePolicy" not in made[dead]

    def test_what_is_as_wanted_or_better_is_left(self) -> None:
        assert planned(jobs=queue("jobs"), dead=queue("dead")) == []
        better = {"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": "500"}
        assert notes(jobs=queue("jobs", RedrivePolicy=better, MessageRetentionPeriod="1209600")) == []
        assert notes(jobs=queue("jobs", SqsManagedSseEnabled="false", KmsMasterKeyId="alias/own")) == []

    def test_what_is_less_than_wanted_is_tightened(self) -> None:
        assert changes(jobs=queue("jobs", MessageRetentionPeriod="60")) == {"MessageRetentionPeriod": 345600}
        assert changes(dead=queue("dead", MessageRetentionPeriod="60")) == {"MessageRetentionPeriod": 1209600}
        assert changes(jobs=queue("jobs", SqsManagedSseEnabled="false")) == {"SqsManagedSseEnabled": True}
        wanted = {"RedrivePolicy": {"deadLetterTargetArn": ByName("dead"), "maxReceiveCount": 20}}
        low = {"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": "3"}
        assert changes(jobs=queue("jobs", RedrivePolicy=low)) == wanted
        assert changes(jobs=queue("jobs", RedrivePolicy={})) == wanted

    def test_a_redrive_policy_to_elsewhere_is_left(self) -> None:
        elsewhere = {"deadLetterTargetArn": f"{ARN}other", "maxReceiveCount": "3"}
        [note] = notes(jobs=queue("jobs", RedrivePolicy=elsewhere))
        assert f"{ARN}other" in note

    def test_a_redrive_policy_to_a_queue_that_is_gone_is_left(self) -> None:
        steps = planned(jobs=queue("jobs"))
        assert [step.operation for step in steps] == ["CreateQueue", "", "SetQueueAttributes"]

    def test_who_redrives_now_may_go_on(self) -> None:
        others = FoundQueue(f"{ARN}dead", queue("dead", RedriveAllowPolicy={}).attributes, (f"{ARN}theirs",))
        [policy] = changes(dead=others).values()
        assert policy["sourceQueueArns"] == [f"{ARN}theirs", f"{ARN}jobs"]
        by_queue = {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}theirs"]}
        [policy] = changes(dead=queue("dead", RedriveAllowPolicy=by_queue)).values()
        assert policy["sourceQueueArns"] == [f"{ARN}theirs", f"{ARN}jobs"]

    def test_a_policy_that_allows_all_is_closed_behind_those_who_use_it(self) -> None:
        [policy] = changes(dead=queue("dead", RedriveAllowPolicy={"redrivePermission": "allowAll"})).values()
        assert policy == {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}jobs"]}

    def test_a_policy_that_forbids_all_is_left(self) -> None:
        [note] = notes(dead=queue("dead", RedriveAllowPolicy={"redrivePermission": "denyAll"}))
        assert "by hand" in note

    def test_more_sources_than_a_policy_can_name_are_not_shut_out(self) -> None:
        full = {"redrivePermission": "byQueue", "sourceQueueArns": [f"{ARN}q{number}" for number in range(10)]}
        [note] = notes(dead=queue("dead", RedriveAllowPolicy=full))
        assert "more than 10" in note


BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
BUCKET = WantedBucket("bucket", "reports", 30)


def rule(days: int = 31, **more: Any) -> dict[str, Any]:
    return {"ID": "reportd-retention-reports", "Status": "Enabled", "Expiration": {"Days": days}, **more}


def bucket_steps(found: FoundBucket | None, wanted: WantedBucket = BUCKET) -> list[Step]:
    return list(plan_bucket(wanted, found))


class TestBucket:
    def test_a_bucket_is_made_closed_encrypted_and_forgetful(self) -> None:
        for prefix, there in (("reports", "reports/"), ("", "")):
            steps = bucket_steps(None, WantedBucket("bucket", prefix, 1.5))
            operations = ["CreateBucket", "PutPublicAccessBlock", "PutBucketEncryption"]
            assert [step.operation for step in steps] == [*operations, "PutBucketLifecycleConfiguration"]
            [made] = steps[3].parameters["LifecycleConfiguration"]["Rules"]
            assert (made["Filter"], made["Expiration"]) == ({"Prefix": there}, {"Days": 3})
            assert made["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}

    def test_what_is_as_wanted_is_left(self) -> None:
        assert bucket_steps(FoundBucket(encrypted=True, public_access=BLOCKED, rules=[rule()])) == []

    def test_a_single_open_door_is_closed(self) -> None:
        found = FoundBucket(encrypted=True, public_access={**BLOCKED, "BlockPublicPolicy": False}, rules=[rule()])
        [step] = bucket_steps(found)
        assert step.parameters["PublicAccessBlockConfiguration"] == BLOCKED

    def test_rules_of_others_are_kept_and_a_short_one_is_lengthened(self) -> None:
        theirs = {"ID": "theirs", "Status": "Enabled"}
        found = FoundBucket(encrypted=True, public_access=BLOCKED, rules=[theirs, rule(3)])
        [step] = bucket_steps(found)
        rules = step.parameters["LifecycleConfiguration"]["Rules"]
        assert [each["ID"] for each in rules] == ["theirs", "reportd-retention-reports"]
        assert rules[1]["Expiration"] == {"Days": 31}

    @pytest.mark.parametrize("there", [rule(90), rule(Status="Disabled")])
    def test_a_longer_rule_and_one_that_is_switched_off_are_left(self, there: dict[str, Any]) -> None:
        [step] = bucket_steps(FoundBucket(encrypted=True, public_access=BLOCKED, rules=[there]))
        assert step.operation == ""
        assert "left so" in step.text

    def test_nothing_in_a_bucket_of_others_is_made_to_expire(self) -> None:
        found = FoundBucket(encrypted=True, public_access=BLOCKED)
        [step] = bucket_steps(found, WantedBucket("bucket", "", 30))
        assert step.operation == ""
        assert "s3://bucket/reports" in step.text


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
    """But for the redrive-allow policy, which this server does not give back."""
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
    policy = {"deadLetterTargetArn": f"{ARN}noted-other", "maxReceiveCount": 3}
    ask_sqs(server, "CreateQueue", QueueName="noted", Attributes={"RedrivePolicy": orjson.dumps(policy).decode()})
    said: list[str] = []
    await provision(configured(server, "noted", bucket=new_bucket(server)), said.append, dry_run=False)
    assert [line for line in said if line.startswith("note: noted redrives to")]
    assert orjson.loads(attributes(server, "noted")["RedrivePolicy"])["maxReceiveCount"] == 3


async def test_there_is_nothing_to_do_for_what_is_local() -> None:
    said: list[str] = []
    await provision(Config(data_dir=Path("/nonexistent")), said.append, dry_run=False)
    assert said == ["nothing to provision: queue and artifacts are local"]


async def test_what_is_denied_or_refused_is_told(server: str) -> None:
    async with open_proxy(server) as proxy:
        config = configured(proxy.url, "denied")
        proxy.plan("CreateQueue", answer(403, "AccessDenied", "not authorized to perform: sqs:createqueue"))
        with pytest.raises(UnavailableError, match="sqs:createqueue"):
            await provision(config, lambda _: None, dry_run=False)
        proxy.plan("CreateQueue", answer(400, "InvalidAttributeValue", "no"))
        with pytest.raises(RejectedError, match="InvalidAttributeValue"):
            await provision(config, lambda _: None, dry_run=False)


async def test_a_bucket_in_the_first_region_is_made_without_naming_it(server: str) -> None:
    async with open_client("s3", "artifacts", region="us-east-1", endpoint_url=server) as client:
        await provisioning.provision_bucket(client, WantedBucket("first-region", "", 30), print, dry_run=False)
    assert ask_s3(server, "HEAD", "first-region").status_code == 200

"""The provisioning plan: it makes what is missing, tightens what is loose, and loosens nothing."""

from typing import Any

import pytest

from reportd.cli.provision_plan import (
    ByName,
    FoundBucket,
    FoundQueue,
    Step,
    WantedBucket,
    WantedQueues,
    plan_bucket,
    plan_queues,
)

WANTED = WantedQueues(("jobs",), "dead", 60, 20)
ARN = "arn:aws:sqs:eu-central-1:123456789012:"


def queue(name: str, **attributes: Any) -> FoundQueue:
    """A queue as after provisioning, except for these attributes."""
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
    """Return the attributes that would be set; fail on anything else in the plan."""
    steps = planned(**{"jobs": queue("jobs"), "dead": queue("dead"), **found})
    assert {step.operation for step in steps} <= {"SetQueueAttributes"}
    return {name: value for step in steps for name, value in step.parameters["Attributes"].items()}


def notes(**found: FoundQueue) -> list[str]:
    """Return the notes; fail on any operation."""
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


def test_what_the_daemon_cannot_do_without_is_told_from_what_only_protects() -> None:
    assert [step.operation for step in planned() if step.needed] == ["CreateQueue", "CreateQueue"]
    assert Step("", "CreateBucket").needed
    assert Step("", "SetQueueAttributes", {"Attributes": {"RedrivePolicy": {}}}).needed
    assert not Step("", "SetQueueAttributes", {"Attributes": {"SqsManagedSseEnabled": True}}).needed

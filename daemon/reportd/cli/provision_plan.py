"""What must be made or tightened in AWS for the daemon: wanted against found gives steps. Pure.

Nothing that exists is ever loosened. A longer retention, a higher receive count, an encryption or a block of public
access that is there stays; where the daemon would have it otherwise, a note says so.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RETENTION_SECONDS = 345600
DEAD_LETTER_RETENTION_SECONDS = 1209600
"""Fourteen days, the longest SQS knows. A message that is redriven keeps its age."""

MAX_SOURCES = 10
"""The most queues a redrive-allow policy names (SetQueueAttributes, RedriveAllowPolicy)."""

PUBLIC_ACCESS_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

Attributes = Mapping[str, Any]
"""Of a queue, named as SQS does; its policies are parsed, and ``ByName`` stands for an ARN in them."""


@dataclass(frozen=True, slots=True)
class WantedQueues:
    """Queues by name, and the one that takes their dead letters: all FIFO, or none."""

    names: tuple[str, ...]
    dead_letter_name: str
    visibility_seconds: int
    max_receive_count: int


@dataclass(frozen=True, slots=True)
class WantedBucket:
    """A bucket, and the prefix below which everything is the daemon's."""

    name: str
    prefix: str
    retention_days: float


@dataclass(frozen=True, slots=True)
class FoundQueue:
    """A queue that is there. ``sources``: ARNs of the queues that redrive to it."""

    arn: str
    attributes: Attributes
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundBucket:
    """A bucket that is there. ``public_access``: its blocks; ``rules``: those of its lifecycle, as S3 has them."""

    encrypted: bool
    public_access: Mapping[str, bool] = field(default_factory=dict)
    rules: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class ByName:
    """Stands for the ARN of the queue with that name, which may not be there yet."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """``text`` says what it does and why. ``operation`` is a request of SQS or S3; without one it is only a note.

    ``queue`` is the one that a change is for.
    """

    text: str
    operation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""

    @property
    def needed(self) -> bool:
        """Whether the daemon can't do without it. The rest protects, or is a net under its own doing."""
        made = self.operation in ("CreateQueue", "CreateBucket")
        return made or "RedrivePolicy" in self.parameters.get("Attributes", {})


def plan_queues(wanted: WantedQueues, found: Mapping[str, FoundQueue]) -> Iterator[Step]:
    """Steps in the order in which they work: a queue can redrive only to one that is there."""
    dead = wanted.dead_letter_name
    yield from _queue(dead, found.get(dead), {}, DEAD_LETTER_RETENTION_SECONDS)
    policy = {"deadLetterTargetArn": ByName(dead), "maxReceiveCount": wanted.max_receive_count}
    own = {
        "VisibilityTimeout": wanted.visibility_seconds,
        "ReceiveMessageWaitTimeSeconds": 20,
        "RedrivePolicy": policy,
    }
    for name in wanted.names:
        yield from _queue(name, found.get(name), own, RETENTION_SECONDS)
        if name in found:
            yield from _redrive(name, found[name], found.get(dead), policy)
    yield from _redrive_allow(wanted, found)


def _queue(name: str, found: FoundQueue | None, own: Attributes, retention_seconds: int) -> Iterator[Step]:
    if found is None:
        attributes = {**own, "MessageRetentionPeriod": retention_seconds, "SqsManagedSseEnabled": True}
        if name.endswith(".fifo"):
            # Each task is a group, so order and throughput are the group's own.
            attributes |= {"FifoQueue": True, "DeduplicationScope": "messageGroup"}
            attributes |= {"FifoThroughputLimit": "perMessageGroupId"}
        text = f"create queue {name}, encrypted, keeping messages {retention_seconds} s"
        yield Step(text, "CreateQueue", {"QueueName": name, "Attributes": attributes})
        return
    kept = int(found.attributes.get("MessageRetentionPeriod", 0))
    if kept < retention_seconds:
        text = f"keep messages in {name} for {retention_seconds} s instead of {kept} s"
        yield _change(name, {"MessageRetentionPeriod": retention_seconds}, text)
    if found.attributes.get("SqsManagedSseEnabled") != "true" and not found.attributes.get("KmsMasterKeyId"):
        yield _change(name, {"SqsManagedSseEnabled": True}, f"encrypt {name} with the key of SQS")


def _change(name: str, attributes: Attributes, text: str) -> Step:
    return Step(text, "SetQueueAttributes", {"Attributes": attributes}, queue=name)


def _redrive(name: str, found: FoundQueue, dead: FoundQueue | None, policy: Attributes) -> Iterator[Step]:
    there = found.attributes.get("RedrivePolicy") or {}
    wanted_count = policy["maxReceiveCount"]
    if not there:
        text = f"redrive {name} to {policy['deadLetterTargetArn'].name} after {wanted_count} receives"
        yield _change(name, {"RedrivePolicy": policy}, text)
    elif dead is None or there["deadLetterTargetArn"] != dead.arn:
        yield Step(
            f"{name} redrives to {there['deadLetterTargetArn']}, which is left so: set queue.dead_letter_url to that "
            "queue, or change the redrive policy by hand"
        )
    elif int(there["maxReceiveCount"]) < wanted_count:
        text = f"redrive {name} after {wanted_count} receives instead of {there['maxReceiveCount']}"
        yield _change(name, {"RedrivePolicy": policy}, text)


def _redrive_allow(wanted: WantedQueues, found: Mapping[str, FoundQueue]) -> Iterator[Step]:
    """Only the queues that use it now, and ours, may redrive to the DLQ."""
    name = wanted.dead_letter_name
    dead = found.get(name, FoundQueue("", {}))
    there = dead.attributes.get("RedriveAllowPolicy") or {}
    permission = there.get("redrivePermission", "allowAll")
    if permission == "denyAll":
        yield Step(f"no queue may redrive to {name}, which is left so: change its redrive-allow policy by hand")
        return
    allowed = list(there.get("sourceQueueArns", ()) if permission == "byQueue" else dead.sources)
    missing = [
        found[source].arn if source in found else ByName(source)
        for source in wanted.names
        if source not in found or found[source].arn not in allowed
    ]
    if permission == "byQueue" and not missing:
        return
    if len(allowed) + len(missing) > MAX_SOURCES:
        yield Step(f"more than {MAX_SOURCES} queues redrive to {name}, more than a redrive-allow policy can name")
        return
    policy = {"redrivePermission": "byQueue", "sourceQueueArns": [*allowed, *missing]}
    text = f"let only {len(allowed) + len(missing)} queues redrive to {name}: {', '.join(wanted.names)}"
    yield _change(name, {"RedriveAllowPolicy": policy}, text + (" and those that do so now" if allowed else ""))


def plan_bucket(wanted: WantedBucket, found: FoundBucket | None) -> Iterator[Step]:
    """Steps for the bucket that PDFs are stored in."""
    name = wanted.name
    if found is None:
        yield Step(f"create bucket {name}", "CreateBucket", {"Bucket": name})
    there = found or FoundBucket(encrypted=False)
    if not all(there.public_access.get(block) for block in PUBLIC_ACCESS_BLOCKS):
        blocks = dict.fromkeys(PUBLIC_ACCESS_BLOCKS, True)
        parameters = {"Bucket": name, "PublicAccessBlockConfiguration": blocks}
        yield Step(f"block all public access to {name}", "PutPublicAccessBlock", parameters)
    if not there.encrypted:
        rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        parameters = {"Bucket": name, "ServerSideEncryptionConfiguration": {"Rules": rules}}
        yield Step(f"encrypt {name} with the key of S3", "PutBucketEncryption", parameters)
    if found is not None and not wanted.prefix:
        yield Step(
            f"{name} may hold other things and artifacts.url names no prefix, so no rule is set that expires PDFs: "
            f"name one, e.g. s3://{name}/reports, or set a lifecycle rule by hand"
        )
        return
    yield from _lifecycle(wanted, there)


def _lifecycle(wanted: WantedBucket, found: FoundBucket) -> Iterator[Step]:
    """A net under the daemon's own sweep, which therefore comes a day earlier."""
    days = math.ceil(wanted.retention_days) + 1
    rule = {
        "ID": f"reportd-retention-{wanted.prefix or 'all'}",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{wanted.prefix}/" if wanted.prefix else ""},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    there = next((each for each in found.rules if each.get("ID") == rule["ID"]), None)
    set_days = there.get("Expiration", {}).get("Days", days) if there else 0
    if there and there["Status"] != "Enabled":
        yield Step(f"the rule {rule['ID']} of {wanted.name} is switched off, which is left so")
    elif set_days > days:
        yield Step(f"{wanted.name} keeps PDFs for {set_days} days, which is left so: {days} are wanted")
    elif set_days < days:
        others = [each for each in found.rules if each is not there]
        text = f"expire PDFs in {wanted.name}/{wanted.prefix} after {days} days, and unfinished uploads after one"
        parameters = {"Bucket": wanted.name, "LifecycleConfiguration": {"Rules": [*others, rule]}}
        yield Step(text, "PutBucketLifecycleConfiguration", parameters)

"""Plans what to create or tighten in AWS: compares what is wanted with what was found. Pure.

Nothing that exists is loosened. A longer retention, a higher receive count, an encryption or a block of public access
stays as it is; where the daemon wants something else, a note says so.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RETENTION_SECONDS = 345600
DEAD_LETTER_RETENTION_SECONDS = 1209600
"""Fourteen days, the most that SQS allows. A redriven message keeps its age."""

MAX_SOURCES = 10
"""The most queues that a redrive-allow policy can name (SetQueueAttributes, RedriveAllowPolicy)."""

PUBLIC_ACCESS_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

Attributes = Mapping[str, Any]
"""Attributes of a queue, by SQS's names. Policies are parsed; ``ByName`` stands for an ARN in them."""


@dataclass(frozen=True, slots=True)
class WantedQueues:
    """Names of the queues, and of the queue for their dead letters. All are FIFO, or none."""

    names: tuple[str, ...]
    dead_letter_name: str
    visibility_seconds: int
    max_receive_count: int


@dataclass(frozen=True, slots=True)
class WantedBucket:
    """A bucket, and the prefix under which all objects belong to the daemon."""

    name: str
    prefix: str
    retention_days: float


@dataclass(frozen=True, slots=True)
class FoundQueue:
    """An existing queue. ``sources``: ARNs of the queues that redrive to it."""

    arn: str
    attributes: Attributes
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundBucket:
    """An existing bucket. ``public_access``: its blocks; ``rules``: its lifecycle rules, as S3 returns them."""

    encrypted: bool
    public_access: Mapping[str, bool] = field(default_factory=dict)
    rules: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class ByName:
    """Stands for the ARN of the queue with that name, which may not exist yet."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """``text`` says what the step does and why. ``operation``: the SQS or S3 request; empty for a note.

    ``queue``: the queue that a change is for.
    """

    text: str
    operation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""

    @property
    def needed(self) -> bool:
        """Whether the daemon can't work without it. Other steps only protect, or back up what it does itself."""
        creates = self.operation in ("CreateQueue", "CreateBucket")
        return creates or "RedrivePolicy" in self.parameters.get("Attributes", {})


def plan_queues(wanted: WantedQueues, found: Mapping[str, FoundQueue]) -> Iterator[Step]:
    """Return the steps in a working order: a queue can redrive only to a queue that exists."""
    dead = wanted.dead_letter_name
    yield from _queue(dead, found.get(dead), {}, DEAD_LETTER_RETENTION_SECONDS)
    policy = {"deadLetterTargetArn": ByName(dead), "maxReceiveCount": wanted.max_receive_count}
    attributes = {
        "VisibilityTimeout": wanted.visibility_seconds,
        "ReceiveMessageWaitTimeSeconds": 20,
        "RedrivePolicy": policy,
    }
    for name in wanted.names:
        yield from _queue(name, found.get(name), attributes, RETENTION_SECONDS)
        if name in found:
            yield from _redrive(name, found[name], found.get(dead), policy)
    yield from _redrive_allow(wanted, found)


def _queue(name: str, found: FoundQueue | None, extra: Attributes, retention_seconds: int) -> Iterator[Step]:
    if found is None:
        attributes = {**extra, "MessageRetentionPeriod": retention_seconds, "SqsManagedSseEnabled": True}
        if name.endswith(".fifo"):
            # Each task is a message group, so order and throughput are per group.
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
    current = found.attributes.get("RedrivePolicy") or {}
    wanted_count = policy["maxReceiveCount"]
    if not current:
        text = f"redrive {name} to {policy['deadLetterTargetArn'].name} after {wanted_count} receives"
        yield _change(name, {"RedrivePolicy": policy}, text)
    elif dead is None or current["deadLetterTargetArn"] != dead.arn:
        yield Step(
            f"{name} redrives to {current['deadLetterTargetArn']}, which is left so: set queue.dead_letter_url to that "
            "queue, or change the redrive policy by hand"
        )
    elif int(current["maxReceiveCount"]) < wanted_count:
        text = f"redrive {name} after {wanted_count} receives instead of {current['maxReceiveCount']}"
        yield _change(name, {"RedrivePolicy": policy}, text)


def _redrive_allow(wanted: WantedQueues, found: Mapping[str, FoundQueue]) -> Iterator[Step]:
    """Allow only our queues, and those that use the DLQ now, to redrive to it."""
    name = wanted.dead_letter_name
    dead = found.get(name, FoundQueue("", {}))
    current = dead.attributes.get("RedriveAllowPolicy") or {}
    permission = current.get("redrivePermission", "allowAll")
    if permission == "denyAll":
        yield Step(f"no queue may redrive to {name}, which is left so: change its redrive-allow policy by hand")
        return
    allowed = list(current.get("sourceQueueArns", ()) if permission == "byQueue" else dead.sources)
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
    """Return the steps for the bucket that holds the PDFs."""
    name = wanted.name
    if found is None:
        yield Step(f"create bucket {name}", "CreateBucket", {"Bucket": name})
    current = found or FoundBucket(encrypted=False)
    if not all(current.public_access.get(block) for block in PUBLIC_ACCESS_BLOCKS):
        blocks = dict.fromkeys(PUBLIC_ACCESS_BLOCKS, True)
        parameters = {"Bucket": name, "PublicAccessBlockConfiguration": blocks}
        yield Step(f"block all public access to {name}", "PutPublicAccessBlock", parameters)
    if not current.encrypted:
        rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        parameters = {"Bucket": name, "ServerSideEncryptionConfiguration": {"Rules": rules}}
        yield Step(f"encrypt {name} with the key of S3", "PutBucketEncryption", parameters)
    if found is not None and not wanted.prefix:
        yield Step(
            f"{name} may hold other things and artifacts.url names no prefix, so no rule is set that expires PDFs: "
            f"name one, e.g. s3://{name}/reports, or set a lifecycle rule by hand"
        )
        return
    yield from _lifecycle(wanted, current)


def _lifecycle(wanted: WantedBucket, found: FoundBucket) -> Iterator[Step]:
    """Back up the daemon's own sweep, a day later than that."""
    days = math.ceil(wanted.retention_days) + 1
    rule = {
        "ID": f"reportd-retention-{wanted.prefix or 'all'}",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{wanted.prefix}/" if wanted.prefix else ""},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    current = next((existing for existing in found.rules if existing.get("ID") == rule["ID"]), None)
    current_days = current.get("Expiration", {}).get("Days", days) if current else 0
    if current and current["Status"] != "Enabled":
        yield Step(f"the rule {rule['ID']} of {wanted.name} is switched off, which is left so")
    elif current_days > days:
        yield Step(f"{wanted.name} keeps PDFs for {current_days} days, which is left so: {days} are wanted")
    elif current_days < days:
        others = [existing for existing in found.rules if existing is not current]
        text = f"expire PDFs in {wanted.name}/{wanted.prefix} after {days} days, and unfinished uploads after one"
        parameters = {"Bucket": wanted.name, "LifecycleConfiguration": {"Rules": [*others, rule]}}
        yield Step(text, "PutBucketLifecycleConfiguration", parameters)

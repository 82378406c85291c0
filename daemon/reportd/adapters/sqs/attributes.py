"""The attributes of an SQS queue, and the check whether they fit the daemon. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_BATCH_BYTES = 1048576
"""The limit for all messages of a SendMessageBatch together."""

OLD_MAX_BYTES = 262144
"""The limit until 2025. Other servers still have it."""


@dataclass(frozen=True, slots=True)
class QueueAttributes:
    """The attributes of a queue that the daemon needs (GetQueueAttributes)."""

    arn: str
    fifo: bool
    visibility_seconds: int
    max_message_bytes: int
    retention_seconds: int
    kms_key: str = ""
    dead_letter_arn: str = ""
    max_receive_count: int = 0

    @property
    def max_batch_bytes(self) -> int:
        """The limit of a batch: a server that takes only small messages may take only small batches."""
        return min(MAX_BATCH_BYTES, max(OLD_MAX_BYTES, self.max_message_bytes))


REQUIRED = ("QueueArn", "RedrivePolicy", "VisibilityTimeout")
"""Attributes that every server knows by name."""


def parse(answer: Mapping[str, str], name: str = "") -> QueueAttributes:
    """Return the attributes from an answer for ``All``. An attribute that a server leaves out gets AWS's default.

    The ``name`` tells a FIFO queue as well: it ends in .fifo, and no other name does (CreateQueue).
    """
    policy: Mapping[str, Any] = orjson.loads(answer.get("RedrivePolicy") or "{}")
    return QueueAttributes(
        arn=answer.get("QueueArn", ""),
        fifo=answer.get("FifoQueue") == "true" or name.endswith(".fifo"),
        visibility_seconds=int(answer.get("VisibilityTimeout", 30)),
        max_message_bytes=int(answer.get("MaximumMessageSize", OLD_MAX_BYTES)),
        retention_seconds=int(answer.get("MessageRetentionPeriod", 345600)),
        kms_key=answer.get("KmsMasterKeyId", ""),
        dead_letter_arn=policy.get("deadLetterTargetArn", ""),
        max_receive_count=int(policy.get("maxReceiveCount", 0)),
    )


def misfits(queue: QueueAttributes, dead: QueueAttributes, max_receive_count: int) -> Iterator[str]:
    """Yield what does not fit between a queue, its DLQ and the configuration, each with what to do."""
    remedy = "run `reportd provision`, or set it in the queue's redrive policy"
    if not queue.dead_letter_arn:
        yield f"it has no redrive policy, so a message that kills every receiver returns for ever: {remedy}"
    elif queue.dead_letter_arn != dead.arn:
        yield (
            f"its redrive policy leads to {queue.dead_letter_arn}, but queue.dead_letter_url is {dead.arn}: "
            "make them the same"
        )
    elif queue.max_receive_count < max_receive_count:
        # A job deferred while its breaker is open is received again, without an attempt.
        yield (
            f"its redrive policy takes a message away after {queue.max_receive_count} receives, which is below "
            f"queue.max_receive_count = {max_receive_count}, so jobs may be taken away untried: {remedy}"
        )
    if queue.fifo != dead.fifo:
        yield "it and its DLQ are of different kinds, and SQS redrives only between two FIFO or two standard queues"
    if dead.retention_seconds < queue.retention_seconds:
        # A redriven message keeps its age.
        yield (
            f"its DLQ keeps messages for {dead.retention_seconds} s, less than the {queue.retention_seconds} s of the "
            "queue, so old ones vanish as they arrive: set the DLQ's MessageRetentionPeriod to 1209600"
        )

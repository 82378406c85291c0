"""Messages as SQS takes and gives them. Pure: its dictionaries end here and in ``queue.py``."""

import hashlib
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from reportd.ports import Outgoing, Received

GroupBy = Literal["task", "user", "reportType"]

MAX_ENTRIES = 10
"""The most entries of a batch request, and the most messages SQS hands out at once."""

MAX_DELAY_SECONDS = 900

# What may be in a body or an attribute: the Char production of XML 1.0 (SendMessage, MessageBody).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUP = re.compile(r"[\x21-\x7e]{1,128}")


def outgoing_entry(message: Outgoing, *, fifo: bool, group_by: GroupBy) -> dict[str, Any]:
    """The entry of SendMessageBatch for a message, without its Id.

    On a standard queue the group is the user, which makes the queue fair between users. A FIFO queue hands out one
    message of a group at a time, so there each task is a group of its own unless ``group_by`` says otherwise; it
    knows no delay of single messages.
    """
    built: dict[str, Any] = {"MessageBody": message.body}
    if attributes := {name: _attribute(value) for name, value in message.attributes.items() if value}:
        built["MessageAttributes"] = attributes
    if fifo:
        group = {"task": message.task_id, "user": message.group, "reportType": message.report_type}[group_by]
        built["MessageGroupId"] = _group(group) or str(uuid.uuid4())
        built["MessageDeduplicationId"] = _deduplication_id(message)
        return built
    if group := _group(message.group):
        built["MessageGroupId"] = group
    if message.delay_seconds > 0:
        built["DelaySeconds"] = min(math.ceil(message.delay_seconds), MAX_DELAY_SECONDS)
    return built


def _deduplication_id(message: Outgoing) -> str:
    """A job's first message is known by its task, so that a repeated submission adds none.

    One that says more is a dead letter or a redrive. It was sent on purpose, and must not be taken for the one before
    it, which may have been consumed within the five minutes in which SQS remembers.
    """
    if message.task_id and not message.attributes:
        return message.task_id
    return f"{message.task_id}.{uuid.uuid4()}"


def _group(name: str) -> str:
    """A name SQS takes: it is its own, or stands for one with characters that are not allowed."""
    if not name or _GROUP.fullmatch(name):
        return name
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()


def _attribute(value: str) -> dict[str, str]:
    """Attributes are words for people, so what SQS does not take is left out of them."""
    return {"DataType": "String", "StringValue": _FORBIDDEN.sub("\ufffd", value)}


def has_forbidden_characters(text: str) -> bool:
    """Whether SQS refuses it; it would refuse other messages of the same batch with it."""
    return _FORBIDDEN.search(text) is not None


def size_bytes(built: Mapping[str, Any]) -> int:
    """What counts towards the limits: the body, and each attribute's name, type and value."""
    attributes: Mapping[str, Mapping[str, str]] = built.get("MessageAttributes", {})
    texts = [
        built.get("MessageBody", ""),
        *attributes,
        *(text for value in attributes.values() for text in value.values()),
    ]
    return sum(len(text.encode(errors="replace")) for text in texts)


def received(message: Mapping[str, Any]) -> Received:
    """One message of ReceiveMessage. Attributes that are not text are left out."""
    system: Mapping[str, str] = message.get("Attributes", {})
    attributes = {
        name: value["StringValue"]
        for name, value in message.get("MessageAttributes", {}).items()
        if value.get("StringValue") is not None
    }
    return Received(
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        attributes=attributes,
    )


def packed(sizes: Sequence[int], max_bytes: int) -> list[list[int]]:
    """Positions of entries, in order, as batches that keep to both limits. One that is too large goes alone."""
    batches: list[list[int]] = []
    filled = 0
    for position, size in enumerate(sizes):
        if not batches or len(batches[-1]) == MAX_ENTRIES or filled + size > max_bytes:
            batches.append([])
            filled = 0
        batches[-1].append(position)
        filled += size
    return batches

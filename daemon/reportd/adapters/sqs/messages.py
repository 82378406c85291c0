"""Converts messages to and from the dictionaries of SQS, which only this module and ``queue.py`` know. Pure."""

import hashlib
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from reportd.ports import Outgoing, Received

GroupBy = Literal["task", "user", "reportType"]

MAX_ENTRIES = 10
"""The most entries of a batch request, and the most messages of one receive."""

MAX_DELAY_SECONDS = 900

# Characters outside the Char production of XML 1.0, in a body or an attribute (SendMessage, MessageBody).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUP = re.compile(r"[\x21-\x7e]{1,128}")


def outgoing_entry(message: Outgoing, *, fifo: bool, group_by: GroupBy) -> dict[str, Any]:
    """Return the message's entry for SendMessageBatch, without its Id.

    On a standard queue the group is the user: SQS then shares the queue fairly between users. A FIFO queue hands out
    one message of a group at a time, so each task is a group of its own, unless ``group_by`` says otherwise. A FIFO
    queue can't delay single messages.
    """
    entry: dict[str, Any] = {"MessageBody": message.body}
    if attributes := {name: _attribute(value) for name, value in message.attributes.items() if value}:
        entry["MessageAttributes"] = attributes
    if fifo:
        group = {"task": message.task_id, "user": message.group, "reportType": message.report_type}[group_by]
        entry["MessageGroupId"] = _group(group) or str(uuid.uuid4())
        entry["MessageDeduplicationId"] = _deduplication_id(message)
        return entry
    if group := _group(message.group):
        entry["MessageGroupId"] = group
    if message.delay_seconds > 0:
        entry["DelaySeconds"] = min(math.ceil(message.delay_seconds), MAX_DELAY_SECONDS)
    return entry


def _deduplication_id(message: Outgoing) -> str:
    """Return the task id for a job's first message, so that a repeated submission adds no message.

    A message with attributes is a dead letter or a redrive. It gets an id of its own: SQS remembers ids for five
    minutes and must not drop it as a duplicate of an earlier message, which may be consumed already.
    """
    if message.task_id and not message.attributes:
        return message.task_id
    return f"{message.task_id}.{uuid.uuid4()}"


def _group(name: str) -> str:
    """Return the name as SQS takes it: unchanged, or a hash where it holds characters that are not allowed."""
    if not name or _GROUP.fullmatch(name):
        return name
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()


def _attribute(value: str) -> dict[str, str]:
    """Attributes are texts for people, so each character that SQS refuses is replaced."""
    return {"DataType": "String", "StringValue": _FORBIDDEN.sub("\ufffd", value)}


def has_forbidden_characters(text: str) -> bool:
    """Return whether SQS refuses the text; it would refuse other messages of the same batch as well."""
    return _FORBIDDEN.search(text) is not None


def size_bytes(entry: Mapping[str, Any]) -> int:
    """Return the bytes that count towards SQS's limits: the body, and each attribute's name, type and value."""
    attributes: Mapping[str, Mapping[str, str]] = entry.get("MessageAttributes", {})
    texts = [
        entry.get("MessageBody", ""),
        *attributes,
        *(text for value in attributes.values() for text in value.values()),
    ]
    return sum(len(text.encode(errors="replace")) for text in texts)


def received(message: Mapping[str, Any]) -> Received:
    """Return one message of a ReceiveMessage answer. Attributes that are not text are left out."""
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


def batched(sizes: Sequence[int], max_bytes: int) -> list[list[int]]:
    """Return the positions of entries, in order, as batches within both limits. An oversized entry goes alone."""
    batches: list[list[int]] = []
    batch_bytes = 0
    for position, size in enumerate(sizes):
        if not batches or len(batches[-1]) == MAX_ENTRIES or batch_bytes + size > max_bytes:
            batches.append([])
            batch_bytes = 0
        batches[-1].append(position)
        batch_bytes += size
    return batches

"""A queue on SQS, standard or FIFO. SQS charges by the request, so concurrent calls share requests.

A burst of calls goes out as ten entries a request; a single call does not wait for others. With ten jobs at a time, a
job costs four tenths of a request: a tenth each for sending, receiving, keeping and deleting it.
"""

import math
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
import trio

from reportd.adapters.aws.client import LONG_POLL_SECONDS, open_client
from reportd.adapters.aws.errors import RejectedError, translated_errors
from reportd.adapters.sqs.attributes import REQUIRED, QueueAttributes, misfits, parse
from reportd.adapters.sqs.batches import BatchOperation, Entry, Outcome
from reportd.adapters.sqs.messages import (
    MAX_ENTRIES,
    GroupBy,
    has_forbidden_characters,
    outgoing_entry,
    received,
    size_bytes,
)
from reportd.adapters.sqs.optional import OptionalParameter
from reportd.adapters.sqs.polls import GRACE_SECONDS, Polls
from reportd.adapters.sqs.receipts import Receipts
from reportd.concurrency.nurseries import open_background
from reportd.ports import ANY, Depth, Outgoing, ReceiptLostError, Received, UnavailableError

log = structlog.get_logger()

DEPTH_SECONDS = 1.0
"""How old the depth may be. SQS's own figures are older than that."""

ATTRIBUTES_BYTES = 8192
"""Room for the attributes of a dead letter, which count towards the limit of a message. At most a quarter of it."""

GIVE_BACK_SECONDS = 3.0
"""How long giving messages back may take. After that they return with their visibility timeout."""


@asynccontextmanager
async def open_sqs_queue(
    url: str,
    *,
    visibility_seconds: float,
    region: str = "",
    endpoint_url: str = "",
    group_by: GroupBy = "task",
    depth_seconds: float = DEPTH_SECONDS,
    linger_seconds: float = 0.0,
    enough: int = 1,
    ca_file: Path | None = None,
) -> AsyncIterator["SqsQueue"]:
    """Yield the queue at ``url``. Region and endpoint come from the URL unless they are given.

    ``depth_seconds``: how old an answer of ``depth`` may be. ``linger_seconds``: how long a delete waits until
    there are ``enough`` to share a request. ``ca_file``: PEM file of further authorities. Calls must not outlast the
    block.

    Raises UnavailableError when the queue's attributes can't be read.
    """
    async with open_queue_client(url, region, endpoint_url, ca_file) as client, open_background() as nursery:
        attributes = await _attributes(client, url)
        queue = SqsQueue(client, url, attributes, visibility_seconds, group_by, depth_seconds, linger_seconds, enough)
        # Shielded: a cancellation from outside must not cut requests that are under way; they end first.
        scope = trio.CancelScope(shield=True)
        await nursery.start(queue._run, scope)  # noqa: SLF001 - of this module
        try:
            yield queue
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(GRACE_SECONDS + GIVE_BACK_SECONDS):
                await queue._polls.wind_up()  # noqa: SLF001 - of this module
            scope.cancel()


async def check(
    url: str,
    dead_letter_url: str,
    *,
    max_receive_count: int,
    region: str = "",
    endpoint_url: str = "",
    ca_file: Path | None = None,
) -> list[str]:
    """Return what is wrong with a queue and its DLQ, each with what to do about it."""
    attributes: list[QueueAttributes] = []
    problems: list[str] = []
    for queue_url in (url, dead_letter_url):
        try:
            async with open_queue_client(queue_url, region, endpoint_url, ca_file) as client:
                attributes.append(await _attributes(client, queue_url))
        except UnavailableError as error:
            problems.append(str(error))
    if not problems:
        queue, dead = attributes
        problems = [f"queue: {queue_name(url)}: {text}" for text in misfits(queue, dead, max_receive_count)]
    return problems


def open_queue_client(
    url: str, region: str = "", endpoint_url: str = "", ca_file: Path | None = None
) -> AbstractAsyncContextManager[Any]:
    """Open a client for the server in the queue's URL; on AWS the URL also names the region."""
    parts = urlsplit(url)
    match = re.search(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.", parts.hostname or "")
    return open_client(
        "sqs",
        "queue",
        region=region or (match[1] if match else ""),
        endpoint_url=endpoint_url or f"{parts.scheme}://{parts.netloc}",
        subject=queue_name(url),
        ca_file=ca_file,
    )


def queue_name(url: str) -> str:
    """Return the queue's name, the end of its URL. A query may hold a secret, so it is no part of the name."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2]


class SqsQueue:
    """Implements ``ports.Queue``. Made by ``open_sqs_queue``.

    ``requests`` counts the requests to SQS by operation; ``name`` is the end of the queue's URL. A message that SQS
    refuses because of its contents gets a RejectedError.
    """

    def __init__(
        self,
        client: Any,
        url: str,
        attributes: QueueAttributes,
        visibility_seconds: float,
        group_by: GroupBy,
        depth_seconds: float,
        linger_seconds: float,
        enough: int,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self.attributes = attributes
        limit = attributes.max_message_bytes
        self.max_message_bytes = limit - min(ATTRIBUTES_BYTES, limit // 4)
        self.max_receive_count = attributes.max_receive_count or None
        self.requests: Counter[str] = Counter()
        self._client = client
        self._url = url
        self.name = self._subject = queue_name(url)
        self._fifo = attributes.fifo
        self._group_by: GroupBy = group_by
        # On a standard queue the group only makes it fair; on a FIFO queue it is never optional.
        self._group = OptionalParameter("MessageGroupId", self.name)
        self._attempt = OptionalParameter("ReceiveRequestAttemptId", self.name)
        self._receipts = Receipts()
        self._depth_seconds = depth_seconds
        self._depth: tuple[float, Depth] | None = None
        self._depth_lock = trio.Lock()
        self._sends = BatchOperation(
            self._send_batch, self._subject, max_bytes=attributes.max_batch_bytes, in_order=attributes.fifo
        )
        self._deletes = BatchOperation(self._delete_batch, self._subject, linger_seconds=linger_seconds, enough=enough)
        self._changes = BatchOperation(self._change_batch, self._subject)
        self._polls: Polls

    async def _run(self, scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                self._polls = Polls(nursery, self._ask, self._give_back)
                for operation in (self._sends, self._deletes, self._changes):
                    nursery.start_soon(operation.run)
                task_status.started()

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        outcomes: list[Exception | None] = [None] * len(messages)
        entries: dict[int, Entry] = {}
        for position, message in enumerate(messages):
            entry = outgoing_entry(message, fifo=self._fifo, group_by=self._group_by)
            outcomes[position] = self._find_refusal(entry)
            if outcomes[position] is None:
                entries[position] = entry
        results = await self._send_entries(list(entries.values()))
        for position, outcome in zip(entries, results, strict=True):
            outcomes[position] = outcome
        return _raise_if_all_failed(outcomes)

    async def _send_entries(self, entries: Sequence[Entry]) -> list[Outcome]:
        if self._fifo:
            return await self._sends.submit(entries)
        requests = [self._group.apply(entry) for entry in entries]
        outcomes = await self._sends.submit(requests)
        retries = [number for number, entry in enumerate(requests) if self._group.caused(entry, outcomes[number])]
        results = await self._sends.submit([self._group.without(requests[number]) for number in retries])
        for number, outcome in zip(retries, results, strict=True):
            if outcome is None and (refusal := outcomes[number]) is not None:
                self._group.drop(refusal)
            outcomes[number] = outcome
        return outcomes

    def _find_refusal(self, entry: Entry) -> RejectedError | None:
        """Return the error that SQS would give; SQS would fail the other messages of the request with it."""
        if (size := size_bytes(entry)) > (limit := self.attributes.max_message_bytes):
            text = f"the message has {size} bytes, and {self._subject} takes {limit}"
            return RejectedError("MessageTooLong", text)
        if has_forbidden_characters(entry["MessageBody"]):
            return RejectedError("InvalidMessageContents", "the message holds characters that SQS does not allow")
        return None

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        del at_most  # SQS does not know report types
        return await self._polls.receive(min(limit, MAX_ENTRIES), wait_seconds)

    async def _ask(self, limit: int, wait_seconds: float) -> list[Received]:
        answer = await self._receive_message(
            {
                "MaxNumberOfMessages": limit,
                "WaitTimeSeconds": min(math.ceil(wait_seconds), LONG_POLL_SECONDS),
                "VisibilityTimeout": math.ceil(self.visibility_seconds),
                "MessageAttributeNames": ["All"],
                "MessageSystemAttributeNames": list(_SYSTEM),
                # The former name of MessageSystemAttributeNames, the only one that older servers know.
                "AttributeNames": list(_SYSTEM),
                # With it, a retry receives the messages that were lost with the answer to the first request.
                **({"ReceiveRequestAttemptId": str(uuid.uuid4())} if self._fifo else {}),
            }
        )
        try:
            messages = [received(message) for message in answer.get("Messages", ())]
        except (KeyError, ValueError) as error:
            text = f"{self._subject}: the answer can't be read ({error!r}), so it is not from SQS: check endpoint_url"
            raise UnavailableError("queue", text) from None
        for message in messages:
            self._receipts.add(message.receipt, trio.current_time(), self.visibility_seconds)
        return messages

    async def _receive_message(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        method, request = self._client.receive_message, self._attempt.apply(parameters)
        try:
            return await self._request("ReceiveMessage", method, **request)
        except RejectedError as error:
            if not self._attempt.caused(request, error):
                raise UnavailableError("queue", f"{self._subject}: {error}") from None
            answer = await self._call("ReceiveMessage", method, **self._attempt.without(request))
            self._attempt.drop(error)
            return answer

    async def _give_back(self, messages: Sequence[Received]) -> None:
        with trio.move_on_after(GIVE_BACK_SECONDS):
            try:
                await self.set_visibility([(message.receipt, 0.0) for message in messages])
            except UnavailableError as error:
                log.warning("messages.not_given_back", error=str(error), count=len(messages))
            except Exception:
                log.exception("messages.not_given_back", count=len(messages))

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        results = await self._deletes.submit([{"ReceiptHandle": receipt} for receipt in receipts])
        outcomes: list[Exception | None] = [None] * len(receipts)
        for position, (receipt, outcome) in enumerate(zip(receipts, results, strict=True)):
            if isinstance(outcome, UnavailableError):
                outcomes[position] = outcome
            else:
                self._receipts.forget(receipt)
        return _raise_if_all_failed(outcomes)

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        now = trio.current_time()
        outcomes: list[Exception | None] = [None] * len(changes)
        entries: dict[int, Entry] = {}
        for position, (receipt, wanted_seconds) in enumerate(changes):
            seconds = self._receipts.allowed_seconds(receipt, now, wanted_seconds)
            if seconds is None:
                outcomes[position] = ReceiptLostError("its visibility timeout has ended")
            else:
                entries[position] = {"ReceiptHandle": receipt, "VisibilityTimeout": seconds}
        results = await self._changes.submit(list(entries.values()))
        for (position, entry), outcome in zip(entries.items(), results, strict=True):
            match outcome:
                case None:
                    self._receipts.extend(entry["ReceiptHandle"], now, entry["VisibilityTimeout"])
                case RejectedError():
                    self._receipts.lose(entry["ReceiptHandle"], now)
                    outcomes[position] = ReceiptLostError(str(outcome))
                case UnavailableError():
                    outcomes[position] = outcome
        return _raise_if_all_failed(outcomes)

    async def depth(self) -> Depth:
        """Return SQS's approximate counts; SQS does not report the age of the oldest message."""
        async with self._depth_lock:
            if self._depth is None or self._depth[0] + self._depth_seconds <= trio.current_time():
                answer = await self._call(
                    "GetQueueAttributes", self._client.get_queue_attributes, AttributeNames=list(_COUNTS)
                )
                counts = answer.get("Attributes", {})
                self._depth = trio.current_time(), Depth(*(int(counts.get(name, 0)) for name in _COUNTS))
            return self._depth[1]

    # --- requests -------------------------------------------------------------------------------------------

    async def _send_batch(self, entries: Sequence[Entry]) -> Mapping[str, Any]:
        return await self._request("SendMessageBatch", self._client.send_message_batch, Entries=entries)

    async def _delete_batch(self, entries: Sequence[Entry]) -> Mapping[str, Any]:
        return await self._request("DeleteMessageBatch", self._client.delete_message_batch, Entries=entries)

    async def _change_batch(self, entries: Sequence[Entry]) -> Mapping[str, Any]:
        method = self._client.change_message_visibility_batch
        return await self._request("ChangeMessageVisibilityBatch", method, Entries=entries)

    async def _call(self, operation: str, method: Any, **parameters: Any) -> Mapping[str, Any]:
        """Make a request that is always the same, so a refusal can't be the caller's fault. Raises UnavailableError."""
        try:
            return await self._request(operation, method, **parameters)
        except RejectedError as error:
            raise UnavailableError("queue", f"{self._subject}: {error}") from None

    async def _request(self, operation: str, method: Any, **parameters: Any) -> Mapping[str, Any]:
        self.requests[operation] += 1
        with translated_errors("queue", self._subject):
            answer: Mapping[str, Any] = await method(QueueUrl=self._url, **parameters)
        self.requests[operation] += answer["ResponseMetadata"].get("RetryAttempts", 0)
        return answer


_SYSTEM = ("ApproximateReceiveCount", "SentTimestamp")

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def _raise_if_all_failed(outcomes: list[Exception | None]) -> list[Exception | None]:
    """Raise if nothing was done at all, as the port requires; else return the outcomes."""
    if outcomes and all(isinstance(outcome, UnavailableError) for outcome in outcomes):
        raise outcomes[0]  # type: ignore[misc]  # an exception, as just checked
    return outcomes


async def _attributes(client: Any, url: str) -> QueueAttributes:
    with translated_errors("queue", queue_name(url)):
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        if "QueueArn" not in answer.get("Attributes", {}):  # some servers know single names only
            answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=list(REQUIRED))
    return parse(answer.get("Attributes", {}), queue_name(url))

"""Queues of SQS for the queue suite, on moto."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import trio

from reportd.adapters.sqs import SqsQueue, open_sqs_queue
from tests.contract.queue.queue_lab import MAX_RECEIVE_COUNT, QueueLab, Trait
from tests.servers.aws import ask_sqs, new_queue

VISIBILITY_SECONDS = 2.0
"""SQS counts whole seconds, and time passes for real; the suite halves it."""


@asynccontextmanager
async def open_sqs(server: str, *, fifo: bool, max_receive_count: int = MAX_RECEIVE_COUNT) -> AsyncIterator[QueueLab]:
    """A queue and its DLQ. What moto can't do, SQS itself can: fairness, stale receipts, prompt waking."""
    dead_url = new_queue(server, fifo=fifo)
    told = ask_sqs(server, "GetQueueAttributes", QueueUrl=dead_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": told["Attributes"]["QueueArn"], "maxReceiveCount": max_receive_count}
    url = new_queue(server, fifo=fifo, RedrivePolicy=orjson.dumps(policy).decode())

    @asynccontextmanager
    async def node(url: str = url) -> AsyncIterator[SqsQueue]:
        async with open_sqs_queue(url, visibility_seconds=VISIBILITY_SECONDS, depth_seconds=0.0) as queue:
            yield queue

    async with node() as queue, node(dead_url) as dead:
        yield QueueLab(
            queue=queue,
            dead=dead,
            max_receive_count=max_receive_count,
            wait_seconds=1.0,
            unsendable="no character: \ufffe",
            pass_time=trio.sleep,
            node=node,
            traits=frozenset({Trait.NODES} if fifo else {Trait.NODES, Trait.DELAYS}),
        )

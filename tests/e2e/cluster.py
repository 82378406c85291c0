"""Several daemons on the same engines: SQS and S3 (moto's server), PostgreSQL and Redis."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.e2e.process import Daemon, open_daemon
from tests.servers.aws import ENVIRONMENT, ask_s3, ask_sqs, new_bucket, new_queue
from tests.servers.postgresql import Postgres
from tests.servers.redis import RedisServer, running_redis

QUEUE_LIMIT_BYTES = 262144


@dataclass(frozen=True)
class Cluster:
    """``server`` speaks SQS and S3."""

    daemons: list[Daemon]
    server: str
    queue_url: str
    dead_letter_url: str
    bucket: str
    redis: RedisServer
    database_url: str = ""

    def messages(self, url: str) -> dict[str, int]:
        """How many messages a queue has: visible, in flight, delayed."""
        names = ["", "NotVisible", "Delayed"]
        wanted = [f"ApproximateNumberOfMessages{name}" for name in names]
        told = ask_sqs(self.server, "GetQueueAttributes", QueueUrl=url, AttributeNames=wanted)["Attributes"]
        return {name or "Visible": int(told[f"ApproximateNumberOfMessages{name}"]) for name in names}

    def objects(self) -> list[str]:
        """The keys of the PDFs in the bucket."""
        keys: list[str] = []
        more = ""
        while True:
            listing = ask_s3(self.server, "GET", f"{self.bucket}?list-type=2{more}").text
            keys += [part.split("</Key>")[0] for part in listing.split("<Key>")[1:]]
            if "<NextContinuationToken>" not in listing:
                return [key for key in keys if key.endswith(".pdf")]
            token = listing.split("<NextContinuationToken>")[1].split("</")[0]
            more = f"&continuation-token={token}"


@asynccontextmanager
async def open_cluster(
    folder: Path,
    server: str,
    postgres: Postgres,
    *,
    nodes: int,
    visibility_seconds: int = 10,
    max_receive_count: int = 20,
    queue_keys: str = "",
    breaker_keys: str = "",
    reports: str = "",
) -> AsyncIterator[Cluster]:
    """``nodes`` daemons that are ready; the keys are added to their ``[breaker]`` and ``[queue]``, which comes last.

    ``max_receive_count`` is the queue's own, which the daemons are not told.
    """
    with running_redis() as redis, postgres.new_database(f"cluster_{uuid4().hex[:12]}") as database_url:
        queue_url, dead_letter_url, bucket = new_engines(server, max_receive_count)
        config = f"""
[database]
url = "{database_url}"
[breaker]
store = "{redis.url}"
{breaker_keys}
{engines_config(server, queue_url, dead_letter_url, bucket)}
visibility_seconds = {visibility_seconds}
{queue_keys}
{reports}
"""
        async with AsyncExitStack() as stack:
            daemons = []
            for number in range(nodes):
                own = folder / f"node-{number}"
                own.mkdir()
                daemons.append(await stack.enter_async_context(open_daemon(own, config, ENVIRONMENT)))
            yield Cluster(daemons, server, queue_url, dead_letter_url, bucket, redis, database_url)


def new_engines(
    server: str, max_receive_count: int = 20, *, s3_server: str = "", fifo: bool = False
) -> tuple[str, str, str]:
    """The URLs of a new queue and its DLQ, and a new bucket, which may be another server's."""
    dead_letter_url = new_queue(server, fifo=fifo)
    told = ask_sqs(server, "GetQueueAttributes", QueueUrl=dead_letter_url, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": told["Attributes"]["QueueArn"], "maxReceiveCount": max_receive_count}
    limit = str(QUEUE_LIMIT_BYTES)
    queue_url = new_queue(server, fifo=fifo, RedrivePolicy=json.dumps(redrive), MaximumMessageSize=limit)
    return queue_url, dead_letter_url, new_bucket(s3_server or server)


def engines_config(server: str, queue_url: str, dead_letter_url: str, bucket: str) -> str:
    """The configuration that uses them; ``[queue]`` comes last, so that more keys of it may follow."""
    return f"""
[artifacts]
url = "s3://{bucket}/pdfs"
endpoint_url = "{server}"
[queue]
url = "{queue_url}"
dead_letter_url = "{dead_letter_url}"
"""

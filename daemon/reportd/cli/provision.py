"""``reportd provision``: make the queues, the bucket and their policies in AWS. Safe to run again."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import trio

from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import MissingError, RejectedError, translated_errors
from reportd.adapters.sqs import open_queue_client, queue_name
from reportd.adapters.sqs.attributes import REQUIRED
from reportd.cli import client as terminal
from reportd.cli.configuration import load
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
from reportd.config import Config
from reportd.ports import UnavailableError

Say = Callable[[str], object]

SETTLE_SECONDS = 1.0
"""A new queue can be used after this long (CreateQueue)."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A request that the server refused. ``needed``: the daemon can't work without it.

    Servers other than AWS's may lack encryption, or the redrive-allow policy.
    """

    text: str
    needed: bool


def run(options: argparse.Namespace) -> int:
    """Return 0 when all is done, 1 when something is missing that the daemon needs, 3 when something else is."""
    loaded = load(options)
    if loaded is None:
        return 2
    undone = trio.run(lambda: provision(loaded.config, print, dry_run=options.dry_run))
    if undone:
        terminal.say(f"reportd: {len(undone)} not done:")
    for request in undone:
        terminal.say(f"  {'needed' if request.needed else 'not needed'}: {request.text}")
    if any(request.needed for request in undone):
        return 1
    return 3 if undone else 0


async def provision(config: Config, say: Say, *, dry_run: bool) -> list[Undone]:
    """Create or tighten the queues and the bucket of the configuration. With ``dry_run`` only print the steps.
    Return the requests that the server refused.
    """
    undone: list[Undone] = []
    queue, artifacts, bucket = config.queue, config.artifacts, config.artifacts.bucket()
    ca_file = config.pool.ca_path(config.data_dir)
    if queue.url == "embedded:" and bucket is None:
        say("nothing to provision: queue and artifacts are local")
    if queue.url != "embedded:":
        urls = [queue.url, *(report.queue_url for report in config.reports.values() if report.queue_url)]
        wanted = WantedQueues(
            names=tuple(dict.fromkeys(queue_name(url) for url in urls)),
            dead_letter_name=queue_name(queue.dead_letter_url),
            visibility_seconds=round(queue.visibility_seconds),
            max_receive_count=queue.max_receive_count,
        )
        with _collect_refusal(undone, "the queues"):
            async with open_queue_client(queue.url, queue.region, queue.endpoint_url, ca_file) as client:
                undone += await provision_queues(client, wanted, say, dry_run=dry_run)
    if bucket is not None:
        name, prefix = bucket
        subject = f"s3://{name}"
        region, endpoint_url = artifacts.region, artifacts.endpoint_url
        with _collect_refusal(undone, "the bucket"):
            async with open_client(
                "s3", "artifacts", region=region, endpoint_url=endpoint_url, subject=subject, ca_file=ca_file
            ) as client:
                wanted_bucket = WantedBucket(name, prefix, artifacts.retention_days)
                undone += await provision_bucket(client, wanted_bucket, say, dry_run=dry_run)
    return undone


@contextmanager
def _collect_refusal(undone: list[Undone], subject: str, *, needed: bool = True) -> Iterator[None]:
    try:
        yield
    except (UnavailableError, RejectedError) as error:
        undone.append(Undone(f"{subject}: {error}", needed))


async def provision_queues(client: Any, wanted: WantedQueues, say: Say, *, dry_run: bool) -> list[Undone]:
    """``client``: an SQS client for the account and region of the queues."""
    found: dict[str, FoundQueue] = {}
    for name in (*wanted.names, wanted.dead_letter_name):
        queue = await _found_queue(client, name)
        if queue is not None:
            found[name] = queue
    return await _run_steps(client, "queue", plan_queues(wanted, found), say, dry_run=dry_run)


async def provision_bucket(client: Any, wanted: WantedBucket, say: Say, *, dry_run: bool) -> list[Undone]:
    """``client``: an S3 client for the region of the bucket."""
    found = await _found_bucket(client, wanted.name)
    return await _run_steps(client, "artifacts", plan_bucket(wanted, found), say, dry_run=dry_run)


async def _found_queue(client: Any, name: str) -> FoundQueue | None:
    try:
        url = await _url(client, name)
    except MissingError:
        return None
    with translated_errors("queue", f"{name}: GetQueueAttributes"):
        answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        if "QueueArn" not in answer.get("Attributes", {}):  # some servers know only single names
            answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=list(REQUIRED))
    with translated_errors("queue", f"{name}: ListDeadLetterSourceQueues"):
        sources = await client.list_dead_letter_source_queues(QueueUrl=url)
    attributes = dict(answer["Attributes"])
    for policy in ("RedrivePolicy", "RedriveAllowPolicy"):
        attributes[policy] = orjson.loads(attributes.get(policy) or "{}")
    # The ARN of a queue in the same account and region differs by the name only.
    prefix = attributes["QueueArn"].removesuffix(name)
    arns = tuple(prefix + queue_name(source) for source in sources.get("queueUrls", ()))
    return FoundQueue(attributes["QueueArn"], attributes, arns)


async def _url(client: Any, name: str) -> str:
    with translated_errors("queue", f"{name}: GetQueueUrl"):
        url: str = (await client.get_queue_url(QueueName=name))["QueueUrl"]
    return url


async def _found_bucket(client: Any, name: str) -> FoundBucket | None:
    async def ask(operation: str) -> Mapping[str, Any]:
        try:
            with translated_errors("artifacts", f"s3://{name}: {operation}"):
                answer: Mapping[str, Any] = await getattr(client, _method(operation))(Bucket=name)
        except RejectedError:
            return {}  # not configured, or not supported; in that case the server refuses the change later
        return answer

    try:
        await ask("HeadBucket")
    except MissingError:
        return None
    access = await ask("GetPublicAccessBlock")
    encryption = await ask("GetBucketEncryption")
    lifecycle = await ask("GetBucketLifecycleConfiguration")
    return FoundBucket(
        encrypted=bool(encryption.get("ServerSideEncryptionConfiguration")),
        public_access=access.get("PublicAccessBlockConfiguration", {}),
        rules=lifecycle.get("Rules", ()),
    )


async def _run_steps(client: Any, part: str, steps: Iterable[Step], say: Say, *, dry_run: bool) -> list[Undone]:
    """Steps name queues; each queue exists before the first step that refers to it runs."""
    undone: list[Undone] = []
    for step in steps:
        if not step.operation:
            say(f"note: {step.text}")
            continue
        say(f"would {step.text}" if dry_run else step.text)
        if not dry_run:
            with _collect_refusal(undone, f"{step.text}: {step.operation}", needed=step.needed):
                await _request(client, part, step)
    return undone


async def _request(client: Any, part: str, step: Step) -> None:
    parameters = dict(step.parameters)
    if step.queue:
        parameters["QueueUrl"] = await _url(client, step.queue)
    if "Attributes" in parameters:
        attributes = parameters["Attributes"].items()
        parameters["Attributes"] = {name: await _text(client, value) for name, value in attributes}
    region = client.meta.region_name
    if step.operation == "CreateBucket" and region not in ("us-east-1", "aws-global"):
        # us-east-1 is the default, and must not be given (CreateBucket, LocationConstraint).
        parameters["CreateBucketConfiguration"] = {"LocationConstraint": region}
    with translated_errors(part, step.queue or str(parameters.get("Bucket", ""))):
        await getattr(client, _method(step.operation))(**parameters)
    if step.operation == "CreateQueue":
        await trio.sleep(SETTLE_SECONDS)


def _method(operation: str) -> str:
    """Return the name of the client's method for an operation of AWS."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


async def _text(client: Any, value: Any) -> str:
    """Return an attribute as SQS takes it: a text, policies as JSON with the ARNs of the queues."""
    match value:
        case Mapping():
            return orjson.dumps({key: await _with_arns(client, item) for key, item in value.items()}).decode()
        case bool():
            return str(value).lower()
        case _:
            return str(value)


async def _with_arns(client: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [await _with_arns(client, item) for item in value]
    if isinstance(value, ByName):
        url = await _url(client, value.name)
        with translated_errors("queue", value.name):
            answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]
    return value

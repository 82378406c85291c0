"""A stand-in for AWS: moto's server in a process of its own, an environment that leads nowhere else, and direct
questions to the server, past the code under test."""

import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-central-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATESTING",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-tests",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
_SERVE = """
import sys, threading, time
from moto.server import ThreadedMotoServer
from moto.sqs.models import Queue, SQSBackend

look, one_at_a_time = SQSBackend.receive_message, threading.RLock()


def alone(method):
    def run(*given, **named):
        with one_at_a_time:
            return method(*given, **named)

    return run


def receive_message(self, queue_name, count, wait_seconds_timeout, *more):
    # moto gives a message to two receivers that look at the same time, and one that waits does not see when a
    # message group becomes free.
    end = time.monotonic() + wait_seconds_timeout
    while True:
        with one_at_a_time:
            found = look(self, queue_name, count, 0, *more)
        if found or time.monotonic() >= end:
            return found
        time.sleep(0.05)


SQSBackend.receive_message = receive_message
# To delete a message, moto makes a new list of the others: two at the same time bring each other's messages back, and
# one that is sent meanwhile is lost.
Queue.delete_message, Queue.add_message = alone(Queue.delete_message), alone(Queue.add_message)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""

# Not a signature, but where the server reads the region.
_SCOPE = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIATESTING/20260101/{REGION}/sqs/aws4_request, "
    "SignedHeaders=host, Signature=0"
}

_numbers = itertools.count(1)


def pretend_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dummy ones; neither the user's own, nor files of the user's, nor an instance role, nor a proxy."""
    for name in tuple(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@contextmanager
def running_moto() -> Iterator[str]:
    """The URL of a server for all of AWS. It ends with the block, or with the process that started it."""
    command = [sys.executable, "-W", "ignore", "-c", _SERVE]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.kill()


def ask_sqs(server: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """What SQS answers to a request of its JSON protocol. Any URL of the server will do."""
    server = "/".join(server.split("/")[:3])
    headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0", **_SCOPE}
    answer = httpx.post(server, headers=headers, json=parameters, trust_env=False)
    answer.raise_for_status()
    return dict(answer.json()) if answer.content else {}


def new_queue(server: str, *, fifo: bool = False, **attributes: str) -> str:
    """The URL of a new queue with a name of its own."""
    name = f"queue{next(_numbers)}"
    if fifo:
        name, attributes = f"{name}.fifo", {"FifoQueue": "true", **attributes}
    return str(ask_sqs(server, "CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"])


def ask_s3(server: str, method: str, path: str, body: str = "") -> httpx.Response:
    """What S3 answers; ``path`` begins with the bucket. Signed, for servers that look at signatures."""
    content = body.encode()
    headers = {"x-amz-content-sha256": hashlib.sha256(content).hexdigest()}
    request = AWSRequest(method, f"{server}/{path}", headers=headers, data=content)
    keys = Credentials(ENVIRONMENT["AWS_ACCESS_KEY_ID"], ENVIRONMENT["AWS_SECRET_ACCESS_KEY"])
    S3SigV4Auth(keys, "s3", REGION).add_auth(request)
    return httpx.request(method, request.url, headers=dict(request.headers.items()), content=content, trust_env=False)


def new_bucket(server: str) -> str:
    """A new bucket with a name of its own."""
    name = f"bucket{next(_numbers)}"
    make_bucket(server, name)
    return name


def make_bucket(server: str, name: str) -> None:
    place = f"<LocationConstraint>{REGION}</LocationConstraint>"
    body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"
    ask_s3(server, "PUT", name, body).raise_for_status()

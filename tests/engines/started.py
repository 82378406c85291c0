"""Engines as processes on free loopback ports. Each ends with its block, or with the tests' process."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.engines import brought
from tests.servers.aws import ENVIRONMENT, REGION
from tests.servers.ports import free_port

START_SECONDS = 60.0


@contextmanager
def running_elasticmq(version: str = brought.ELASTICMQ) -> Iterator[str]:
    """The URL of a server that speaks SQS, as strict about it as ElasticMQ can be."""
    jars = brought.elasticmq(version)
    port = free_port()
    settings = {
        "node-address.host": "127.0.0.1",
        "node-address.port": port,
        "rest-sqs.bind-hostname": "127.0.0.1",
        "rest-sqs.bind-port": port,
        "rest-sqs.sqs-limits": "strict",
        "rest-stats.enabled": "false",
        "aws.region": REGION,
    }
    # The JVM would take a quarter of the memory and compile what runs for a minute only.
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    options = [f"-D{name}={value}" for name, value in settings.items()]
    with running([*java, *options, "-cp", f"{jars}/*", "org.elasticmq.server.Main"], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_s3() -> Iterator[str]:
    """The URL of an S3 server that knows the credentials of ``tests.cloud`` and checks signatures."""
    program = brought.versitygw()
    port = free_port()
    keys = ["--access", ENVIRONMENT["AWS_ACCESS_KEY_ID"], "--secret", ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]]
    with tempfile.TemporaryDirectory(prefix="reportd-s3-") as folder:
        command = [str(program), "--port", f"127.0.0.1:{port}", "--region", REGION, *keys, "--quiet", "--keep-alive"]
        with running([*command, "posix", folder], port):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[None]:
    """A server that listens on that port. What it says is shown if it ends before it does."""
    with tempfile.NamedTemporaryFile(prefix="reportd-engine-", suffix=".log") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + START_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    said = Path(log.name).read_text()[-2000:]
                    assert server.poll() is None, f"{command[0]} has ended:\n{said}"
                    assert time.monotonic() < until, f"{command[0]} does not listen:\n{said}"
                    time.sleep(0.02)
            yield
        finally:
            server.kill()
            server.wait()

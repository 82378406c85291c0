"""AWS clients that run on trio, for SQS, S3, SNS and CloudWatch.

Credentials, profile and region are found as by any AWS program: environment, ``~/.aws``, container or instance role.
"""

import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.httpxsession import HttpxSession
from aiobotocore.session import AioSession
from botocore.loaders import create_loader

from reportd.adapters.aws.errors import translated_errors
from reportd.ports import UnavailableError
from reportd.system.authorities import trusting

LONG_POLL_SECONDS = 20
"""The longest poll of SQS (ReceiveMessage, WaitTimeSeconds)."""

_CONNECT_SECONDS = 3.0
# SQS answers in milliseconds; S3 may have to assemble an upload's parts first.
_ANSWER_SECONDS = {"sqs": 5.0, "s3": 30.0, "sns": 5.0, "cloudwatch": 5.0}
# One retry hides a connection that went stale while idle. Longer retries are the caller's decision.
_RETRIES = {"mode": "standard", "total_max_attempts": 2}
_MAX_CONNECTIONS = 50

with warnings.catch_warnings():
    # It warns once per process that httpx 2 is preferred. Trigger that here, not in the middle of a start.
    warnings.simplefilter("ignore", DeprecationWarning)
    HttpxSession()


@asynccontextmanager
async def open_client(
    service: str,
    part: str,
    *,
    region: str = "",
    endpoint_url: str = "",
    subject: str = "",
    ca_file: Path | None = None,
) -> AsyncIterator[Any]:
    """Yield an aiobotocore client of ``sqs``, ``s3``, ``sns`` or ``cloudwatch`` that runs on trio.

    ``part`` and ``subject`` are for the text of an UnavailableError: a part of the daemon; a queue or bucket.
    ``ca_file``: PEM file of further authorities.
    """
    session = AioSession()
    config = AioConfig(
        http_session_cls=HttpxSession,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS[service],
        retries=_RETRIES,
        max_pool_connections=_MAX_CONNECTIONS,
        signature_version="s3v4" if service == "s3" else None,
        # Other servers seldom have a host name for each bucket.
        s3={"addressing_style": "path"} if endpoint_url else None,
        connector_args=None if ca_file is None else {"ssl_context": _trusting(session, ca_file)},
    )
    session.register_component("data_loader", _service_descriptions())
    # The credential providers make requests as well, with the session's default.
    session.set_default_client_config(config)
    creation = session.create_client(service, region_name=region or None, endpoint_url=endpoint_url or None)
    with translated_errors(part, subject):
        try:
            client = await creation.__aenter__()
        except ValueError:
            # Without its text, which holds the whole URL.
            text = "its server is no host name that AWS's client takes: check endpoint_url, and the URL of the queue"
            raise UnavailableError(part, f"{subject}: {text}") from None
    client.meta.events.register("before-call.sqs.ReceiveMessage", _allow_long_poll)
    try:
        yield client
    finally:
        await client.close()


def _trusting(session: AioSession, ca_file: Path) -> ssl.SSLContext:
    """Return what the client would trust by itself (``AWS_CA_BUNDLE`` included), and the ``ca_file``."""
    bundle = session.get_config_variable("ca_bundle")
    return trusting(ca_file, *([bundle] if bundle else []))


@cache
def _service_descriptions() -> Any:
    """Load AWS's descriptions of its services once, not for each queue: they have megabytes."""
    return create_loader()


def _allow_long_poll(context: dict[str, Any], **_: Any) -> None:
    context["read_timeout"] = LONG_POLL_SECONDS + _ANSWER_SECONDS["sqs"]

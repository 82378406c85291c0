"""AWS for the adapters of SQS and S3: clients that run on trio, and errors in words that say what to do.

Credentials, profile and region are found as by any AWS program: environment, ``~/.aws``, container or instance role.
No botocore exception leaves these adapters, and no text of ours holds a key, a token or a signature.
"""

import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions as boto
import httpx
from aiobotocore.config import AioConfig
from aiobotocore.httpxsession import HttpxSession
from aiobotocore.session import AioSession
from botocore.loaders import create_loader

from reportd.ports import UnavailableError

LONG_POLL_SECONDS = 20
"""The longest poll SQS knows (ReceiveMessage, WaitTimeSeconds)."""

_CONNECT_SECONDS = 3.0
# SQS answers in milliseconds; S3 may have parts to put together first.
_ANSWER_SECONDS = {"sqs": 5.0, "s3": 30.0, "sns": 5.0, "cloudwatch": 5.0}
# One more attempt hides a connection that went stale while it was idle; longer patience is the caller's.
_RETRIES = {"mode": "standard", "total_max_attempts": 2}
_MAX_CONNECTIONS = 50

with warnings.catch_warnings():
    # It says once a process that httpx 2 is preferred; it would say so in the middle of a start.
    warnings.simplefilter("ignore", DeprecationWarning)
    HttpxSession()


class RejectedError(Exception):
    """AWS refuses what the request says; saying it again is in vain. ``code`` is AWS's own word for it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class MissingError(UnavailableError):
    """The queue or bucket does not exist, or not yet."""


@asynccontextmanager
async def open_client(
    service: str, part: str, *, region: str = "", endpoint_url: str = "", subject: str = ""
) -> AsyncIterator[Any]:
    """An aiobotocore client of ``sqs``, ``s3``, ``sns`` or ``cloudwatch`` that runs on trio.

    ``part`` and ``subject`` are what an UnavailableError is about: a part of the daemon; a queue or bucket.
    """
    config = AioConfig(
        http_session_cls=HttpxSession,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS[service],
        retries=_RETRIES,
        max_pool_connections=_MAX_CONNECTIONS,
        signature_version="s3v4" if service == "s3" else None,
        # Other servers seldom have a host name for each bucket.
        s3={"addressing_style": "path"} if endpoint_url else None,
    )
    session = AioSession()
    session.register_component("data_loader", _descriptions())
    # The credential providers make their requests, too, and look here for how.
    session.set_default_client_config(config)
    creation = session.create_client(service, region_name=region or None, endpoint_url=endpoint_url or None)
    with in_words(part, subject):
        client = await creation.__aenter__()
    client.meta.events.register("before-call.sqs.ReceiveMessage", _allow_long_poll)
    try:
        yield client
    finally:
        await client.close()


@cache
def _descriptions() -> Any:
    """AWS's descriptions of its services: megabytes that are read once, not for every queue."""
    return create_loader()


def _allow_long_poll(context: dict[str, Any], **_: Any) -> None:
    context["read_timeout"] = LONG_POLL_SECONDS + _ANSWER_SECONDS["sqs"]


@contextmanager
def in_words(part: str, subject: str) -> Iterator[None]:
    """Raise what goes wrong with AWS inside the block as UnavailableError or RejectedError."""
    try:
        yield
    except boto.ClientError as error:
        # The chain is cut: what AWS says of a wrong signature repeats the session token.
        raise _said(part, subject, error) from None
    except (boto.BotoCoreError, httpx.HTTPError, OSError) as error:
        raise UnavailableError(part, _broken(subject, error)) from None


def explain(part: str, subject: str, code: str, message: str, status: int = 0) -> UnavailableError | RejectedError:
    """What an error code of AWS means. Also for the entries of a batch, which fail each for itself."""
    code = code.removeprefix("AWS.SimpleQueueService.")
    words = _REMEDIES.get(code)
    if code in _SIGNATURE:
        # SQS says it in the text only.
        words = _CLOCK if "expired" in message or "current" in message else _SECRET
    elif words is _DENIED:
        words = f"{words}; AWS says: {message[:300]}" if message else words
    elif words is None and any(word in code for word in ("Throttl", "SlowDown", "TooMany", "LimitExceeded")):
        words = "AWS is throttling the requests; they are tried again"
    elif words is None and code.lower().startswith("kms"):
        words = f"the KMS key that encrypts it can't be used ({code}): allow kms:Decrypt and kms:GenerateDataKey on it"
    elif code in NOT_KNOWN or (words is None and status < _SERVER_FAULT and code in _CONTENT):
        return RejectedError(code, message[:300])
    if words is _MISSING:
        return MissingError(part, f"{subject}: {words}")
    words = words or f"AWS answers {code or 'with an error'}{f' ({status})' if status else ''}"
    return UnavailableError(part, f"{subject}: {words}")


def _said(part: str, subject: str, error: boto.ClientError) -> UnavailableError | RejectedError:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return explain(part, subject, str(said.get("Code", "")), str(said.get("Message", "")), status)


def _broken(subject: str, error: Exception) -> str:
    """In our own words: the libraries' texts hold URLs, which may hold keys."""
    host = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", ""))).hostname or "the server"
    match error:
        case boto.NoRegionError():
            words = "no region is known: set the region of queue or artifacts, or AWS_DEFAULT_REGION"
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            words = _NO_CREDENTIALS
        case boto.ProfileNotFound() | boto.SSOError() | boto.TokenRetrievalError() | boto.InvalidConfigError():
            words = f"{_NO_CREDENTIALS} ({type(error).__name__})"
        case boto.SSLError():
            words = f"the TLS certificate of {host} is not trusted: set AWS_CA_BUNDLE if it is your own"
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            words = f"{host} can't be reached: check the network, endpoint_url and region"
        case boto.ReadTimeoutError():
            words = f"{host} did not answer in time"
        case boto.ParamValidationError() | boto.ValidationError():
            words = f"the request could not be made: {type(error).__name__}"
        case _:
            words = f"the connection to {host} broke ({type(error).__name__})"
    return f"{subject}: {words}"


_SERVER_FAULT = 500
_NO_CREDENTIALS = (
    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
)
_UNKNOWN = "AWS does not know the credentials: check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role"
_SECRET = "the signature is refused: check AWS_SECRET_ACCESS_KEY, region and endpoint_url"  # noqa: S105 - words
_EXPIRED = "the AWS credentials have expired: renew them (aws sso login) or give the machine a role"
_CLOCK = "this machine's clock is wrong by minutes, so AWS refuses its signatures: timedatectl set-ntp true"
_DENIED = "the credentials may not do this: allow it in their IAM policy and in the policy of queue, bucket or key"
_MISSING = "does not exist (there, with these credentials): check URL and region, or make it with `reportd provision`"
_REGION = "is in another region: set the region of queue or artifacts to it"

_REMEDIES = {
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "AuthorizationError", "AllAccessDisabled"), _DENIED),
    **dict.fromkeys(("403", "NotAuthorized", "OptInRequired"), _DENIED),
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), _UNKNOWN),
    **dict.fromkeys(("InvalidToken", "InvalidSecurity", "MissingAuthenticationToken", "IncompleteSignature"), _UNKNOWN),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"), _CLOCK),
    **dict.fromkeys(("QueueDoesNotExist", "NonExistentQueue", "NoSuchBucket", "404"), _MISSING),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed", "301"), _REGION),
    "IllegalLocationConstraintException": _REGION,
    "ServiceUnavailable": "AWS is overloaded; the requests are tried again",
}

_SIGNATURE = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})

NOT_KNOWN = frozenset(
    {"NotImplemented", "NotSupported", "MethodNotAllowed", "InvalidArgument", "InvalidRequest", "MalformedXML", "501"}
)
"""What other servers say, with whatever status, of a request, header or body that they do not know."""

_CONTENT = frozenset(
    {
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "InvalidMessageContents",
        "InvalidAttributeName",
        "InvalidAttributeValue",
        "MissingParameter",
        "BatchRequestTooLong",
        "BatchEntryIdsNotDistinct",
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "UnsupportedOperation",
        "ValidationError",
        "ValidationException",
        "SerializationException",
        "PreconditionFailed",
        "NoSuchKey",
        "NoSuchUpload",
        "NoSuchLifecycleConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchPublicAccessBlockConfiguration",
        "BucketAlreadyOwnedByYou",
        "BucketAlreadyExists",
        "QueueNameExists",
        "QueueAlreadyExists",
        # Older servers say whose fault it is where the code belongs.
        "Sender",
    }
)
"""Codes that speak of the request or of one thing in it, not of the state of the service."""

"""Errors of AWS as UnavailableError and RejectedError, in texts that say what to do.

No botocore exception leaves the adapters, and no text of ours holds a key, a token or a signature.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import botocore.exceptions as boto
import httpx

from reportd.ports import UnavailableError


class RejectedError(Exception):
    """AWS refuses the contents of the request, so a retry is useless. ``code`` is AWS's error code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class MissingError(UnavailableError):
    """The queue or bucket does not exist, or not yet."""


@contextmanager
def translated_errors(part: str, subject: str) -> Iterator[None]:
    """Raise errors of AWS inside the block as UnavailableError or RejectedError.

    ``part``: the part of the daemon; ``subject``: the queue or bucket.
    """
    try:
        yield
    except boto.ClientError as error:
        # Without its cause: AWS's text about a wrong signature repeats the session token.
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code, message = str(details.get("Code", "")), str(details.get("Message", ""))
        raise explain(part, subject, code, message, status) from None
    except (boto.BotoCoreError, httpx.HTTPError, OSError) as error:
        raise UnavailableError(part, f"{subject}: {_connection_problem(error)}") from None


def explain(part: str, subject: str, code: str, message: str, status: int = 0) -> UnavailableError | RejectedError:
    """Return the exception for an error code of AWS, of a whole request or of one entry of a batch."""
    code = code.removeprefix("AWS.SimpleQueueService.")
    text = _REMEDIES.get(code)
    if code in _SIGNATURE:
        # SQS tells the two causes apart only in its message.
        text = _CLOCK if "expired" in message or "current" in message else _SECRET
    elif text is _DENIED:
        text = f"{text}; AWS says: {message[:300]}" if message else text
    elif text is None and any(word in code for word in ("Throttl", "SlowDown", "TooMany", "LimitExceeded")):
        text = "AWS is throttling the requests; they are tried again"
    elif text is None and code.lower().startswith("kms"):
        text = f"the KMS key that encrypts it can't be used ({code}): allow kms:Decrypt and kms:GenerateDataKey on it"
    elif code in NOT_KNOWN or (text is None and status < _SERVER_FAULT and code in _CONTENT):
        return RejectedError(code, message[:300])
    if text is _MISSING:
        return MissingError(part, f"{subject}: {text}")
    text = text or f"AWS answers {code or 'with an error'}{f' ({status})' if status else ''}"
    return UnavailableError(part, f"{subject}: {text}")


def _connection_problem(error: Exception) -> str:
    """Return a text of our own: the texts of the libraries hold URLs, which may hold keys."""
    host = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", ""))).hostname or "the server"
    match error:
        case boto.NoRegionError():
            text = "no region is known: set the region of queue or artifacts, or AWS_DEFAULT_REGION"
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            text = _NO_CREDENTIALS
        case boto.ProfileNotFound() | boto.SSOError() | boto.TokenRetrievalError() | boto.InvalidConfigError():
            text = f"{_NO_CREDENTIALS} ({type(error).__name__})"
        case boto.SSLError():
            text = f"the TLS certificate of {host} is not trusted: set AWS_CA_BUNDLE if it is your own"
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            text = f"{host} can't be reached: check the network, endpoint_url and region"
        case boto.ReadTimeoutError():
            text = f"{host} did not answer in time"
        case boto.ParamValidationError() | boto.ValidationError():
            text = f"the request could not be made: {type(error).__name__}"
        case _:
            text = f"the connection to {host} broke ({type(error).__name__})"
    return text


_SERVER_FAULT = 500
_NO_CREDENTIALS = (
    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
)
_UNKNOWN = "AWS does not know the credentials: check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role"
_SECRET = "the signature is refused: check AWS_SECRET_ACCESS_KEY, region and endpoint_url"  # noqa: S105 - a text
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
"""Answers of other servers, with various statuses, to a request, header or body that they do not support."""

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
        # Older servers put the guilty side (SenderFault) in the place of the code.
        "Sender",
    }
)
"""Codes about the request or a part of it, not about the state of the service."""

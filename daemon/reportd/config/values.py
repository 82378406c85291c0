"""Checks of single values of the configuration.

Called by the models of this package, through the annotated types below. A check raises ValueError with what is wrong;
the type's ``Accepts`` says what is accepted. No error quotes the rejected text, because it may be a secret.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, Field

from reportd.config.section import Accepts, FromFile, Secret, SecretPath
from reportd.core.pages.network import parse_host_pattern

# TOML distinguishes numbers, texts and booleans, so a text that looks like a number is a mistake.
Count = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]

_SECRET_BYTES = range(24, 65)
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
_REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


_BROWSERS_OWN = frozenset(
    {"content-length", "cookie2", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that Chromium takes from nobody; nor those of ``proxy-``. A request that it refuses never gets an answer."""


def is_browsers_own(header: str, value: str = "") -> bool:
    """Return whether the browser refuses a request with this header."""
    name = header.lower()
    return name in _BROWSERS_OWN or name.startswith("proxy-") or (name == "connection" and value.lower() == "upgrade")


def split_bind(text: str) -> tuple[str, int]:
    """Return host (IPv6 without brackets) and port of ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if match is None:
        raise ValueError("is not HOST:PORT")
    bracketed, plain, port = match.groups()
    if int(port) > 65535:  # noqa: PLR2004 - a TCP port has 16 bits
        raise ValueError("has a port above 65535")
    host = bracketed or plain
    try:
        version: int | None = ipaddress.ip_address(host).version
    except ValueError:
        version = None
    if (bracketed and version != 6) or (plain and version != 4 and not _HOST_NAME.fullmatch(plain)):  # noqa: PLR2004
        raise ValueError("has a host that is neither an address nor a name")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_url(text: str, schemes: tuple[str, ...], *, host: bool = True) -> SplitResult:
    """Return the parts of an absolute URL with a valid host and port. Raises ValueError."""
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise ValueError("holds a space, a backslash or a control character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # Usually a password contains an unencoded "/", "#" or "?", which ends the host part.
        raise ValueError("has a host or port that can't be read (encode / ? # @ in a password)") from None
    if parts.scheme not in schemes or not text[len(parts.scheme) :].startswith("://"):
        if parts.scheme == "file":
            raise ValueError("is a file: URL, which no page may be")
        raise ValueError(f"does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "@" in text and "@" not in parts.netloc:
        raise ValueError("has an @ outside its host part (encode / ? # @ in a password, and @ elsewhere, as %40)")
    if host and not parts.hostname:
        raise ValueError("has no host")
    if port == 0:
        raise ValueError("has port 0")
    return parts


def below_folder(text: str) -> str:
    """Return the path of a file. Raises ValueError when it is not below the folder of the configuration."""
    if text.startswith("/") or ".." in text.split("/"):
        raise ValueError("leads out of the folder")
    return text


def folder_of(text: str) -> str:
    """Return the path of a ``file:`` URL, absolute or relative: ``file:a``, ``file:/a`` and ``file:///a`` are valid."""
    path = text.removeprefix("file:")
    if path.startswith("//"):
        if not path.startswith("///"):
            raise ValueError("names a host; write file:FOLDER or file:///FOLDER")
        path = path[2:]
    if not path:
        raise ValueError("names no folder")
    return path


def _bind(text: str) -> str:
    split_bind(text)
    return text


def _optional_url(text: str) -> str:
    if text:
        split_url(text, ("http", "https"))
    return text


def _database(text: str) -> str:
    if text.startswith("sqlite:"):
        path = text.removeprefix("sqlite:///")
        if path == text or not path or "?" in path or "#" in path or path == ":memory:":
            raise ValueError("is not sqlite:/// and the path of a file")
        return text
    # A URL without a host means the local socket, which SQLAlchemy accepts.
    parts = split_url(text, ("postgresql", "postgresql+psycopg", "sqlite"), host=False)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "prepare_threshold" and not re.fullmatch("[0-9]{1,9}", value):
            raise ValueError("has a prepare_threshold that is not a whole number")
    return text


def _queue(text: str) -> str:
    if text != "embedded:":
        split_url(text, ("http", "https"))
    return text


def _artifacts(text: str) -> str:
    if text.startswith("file:"):
        folder_of(text)
        return text
    parts = split_url(text, ("s3",))
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc) or parts.query or parts.fragment:
        raise ValueError("does not name a bucket")
    return text


def _breaker_store(text: str) -> str:
    if text == "memory:":
        return text
    before, at, after = text.rpartition("@")
    if not at:
        scheme, separator, after = text.partition("://")
        before = scheme + separator
    hosts, slash, path = after.partition("/")
    # Each host, with the rest of the text, must be a valid URL.
    for host in hosts.split(","):
        parts = split_url(f"{before}{at}{host}{slash}{path}", _REDIS_SCHEMES)
    if parts.query or parts.fragment:
        raise ValueError("has a ? or # (encode / ? # @ in a password)")
    if parts.scheme.endswith("+sentinel"):
        if not re.fullmatch(r"/[A-Za-z0-9._-]+(/[0-9]*)?", parts.path):
            raise ValueError("does not name Sentinel's primary after the hosts")
    elif not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("has more than a database number after the host")
    return text


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", text):
        raise ValueError("is not a valid key prefix")
    return text


def _host_pattern(text: str) -> str:
    try:
        parse_host_pattern(text)
    except ValueError:
        raise ValueError("is not a host") from None
    return text


def _signing_secret(text: str) -> str:
    if text:
        try:
            raw = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        if len(raw) not in _SECRET_BYTES:
            raise ValueError("holds too few or too many bytes")
    return text


def _matches(pattern: str, wrong: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if text and not compiled.fullmatch(text):
            raise ValueError(wrong)
        return text

    return check


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for number, (name, value) in enumerate(headers.items(), 1):
        if is_browsers_own(name, value):
            raise ValueError(f"entry {number} has the name {name}, which the browser writes itself")
    return headers


def _pairs(value_pattern: str) -> Callable[[Mapping[str, str]], Mapping[str, str]]:
    compiled = re.compile(value_pattern)

    def check(pairs: Mapping[str, str]) -> Mapping[str, str]:
        for number, (name, value) in enumerate(pairs.items(), 1):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"entry {number} has a name that is not an HTTP token")
            if not compiled.fullmatch(value):
                raise ValueError(f"entry {number} has a value with a character that is not allowed there")
        return pairs

    return check


Bind = Annotated[
    str,
    Accepts("HOST:PORT, e.g. 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080; port 0 takes a free one"),
    AfterValidator(_bind),
]
DatabaseUrl = Annotated[
    str,
    Accepts("sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or postgresql+psycopg://…"),
    FromFile,
    AfterValidator(_database),
]
QueueUrl = Annotated[str, FromFile, Accepts("embedded: or the http(s):// URL of an SQS queue"), AfterValidator(_queue)]
SqsUrl = Annotated[
    str,
    FromFile,
    Accepts("the http(s):// URL of an SQS queue, or nothing"),
    AfterValidator(_optional_url),
]
ArtifactsUrl = Annotated[str, Accepts("file:FOLDER or s3://BUCKET/PREFIX"), AfterValidator(_artifacts)]
BreakerStore = Annotated[
    str,
    Accepts("memory:, redis://HOST:PORT[,HOST:PORT…]/NUMBER, redis+sentinel://HOST:PORT[,…]/NAME, or rediss… for TLS"),
    FromFile,
    AfterValidator(_breaker_store),
]
Namespace = Annotated[
    str,
    Accepts("1 to 64 letters, digits, dots, colons, hyphens or underscores"),
    AfterValidator(_namespace),
]
MetricNamespace = Annotated[
    str,
    Accepts("1 to 255 letters, digits, spaces or . - _ / # :, not AWS/ at the beginning, or nothing"),
    AfterValidator(_matches(r"(?!AWS/)[A-Za-z0-9._/#: -]{1,255}", "is not a CloudWatch namespace for custom metrics")),
]
OptionalUrl = Annotated[str, Accepts("an http(s):// URL, or nothing"), AfterValidator(_optional_url)]
SecretUrl = Annotated[OptionalUrl, Secret, SecretPath]
Region = Annotated[
    str,
    Accepts("a region, e.g. eu-central-1, or nothing"),
    AfterValidator(_matches(r"[a-z0-9][a-z0-9-]{0,62}", "is not the name of a region")),
]
Encryption = Annotated[
    str,
    Accepts("AES256 (SSE-S3), the id or ARN of a KMS key, or nothing"),
    AfterValidator(_matches(r"[A-Za-z0-9:/_-]{1,2048}", "is neither AES256 nor the id of a KMS key")),
]
TopicArn = Annotated[
    str,
    Accepts("the ARN of an SNS topic, e.g. arn:aws:sns:eu-central-1:123456789012:reports, or nothing"),
    AfterValidator(_matches(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}", "is not such an ARN")),
]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host_pattern)], ...],
    Accepts('a list of hosts, e.g. ["reports.internal", "*.cdn.internal"]'),
]
SigningSecret = Annotated[
    str,
    Secret,
    Accepts("whsec_ and 24 to 64 random bytes in base64 (echo whsec_$(openssl rand -base64 32)), or nothing"),
    AfterValidator(_signing_secret),
]
# RFC 9110 section 5.5: no control characters; Chromium accepts at most Latin-1.
Headers = Annotated[
    Mapping[str, str],
    Secret,
    Accepts('a table of names and texts, e.g. {"X-Tenant" = "acme"}'),
    AfterValidator(_pairs(r"[\t\x20-\x7e\xa0-\xff]*")),
    AfterValidator(_sendable),
]
# RFC 6265 section 4.1.1: cookie-octet.
Cookies = Annotated[
    Mapping[str, str],
    Secret,
    Accepts('a table of names and texts without spaces, quotes, commas, ";" or "\\", e.g. {session = "abc"}'),
    AfterValidator(_pairs(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")),
]

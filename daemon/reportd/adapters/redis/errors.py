"""What an error of Redis means, and what to do about it, in words that hold no secret.

They are our own: Redis may repeat the request in its errors, and so the password.
"""

import re
import ssl
from collections.abc import Iterator

from coredis import exceptions

COMMANDS = "+eval +time +mget +get +set +role +wait +select +client|setname"
"""The rights that a Redis user needs. ``tests/contract/breakers/test_breakers.py`` runs as a user with no other."""

CLUSTER_COMMANDS = "+cluster|slots +asking"
"""What else, where Redis is a cluster."""

_TLS_CLIENT_CERTIFICATE = "CERTIFICATE_REQUIRED"

_SIGNS = {
    "SELECT is not allowed in cluster mode": "is a cluster, which has no numbered databases: "
    "leave the number out of breaker.store",
    "DB index is out of range": "has no database of that number: check breaker.store",
    "command not allowed when used memory": "is out of memory: raise its maxmemory, or have it evict keys",
    "MISCONF": "takes no writes, as it can't save its data: look at its log and disk",
    "NOREPLICAS": "takes no writes, as too few of its replicas are there (min-replicas-to-write)",
    "MASTERDOWN": "is a replica without its primary",
}


_KINDS: tuple[tuple[type[exceptions.RedisError], str], ...] = (
    (exceptions.AuthenticationError, "refuses the user and password: check breaker.store"),
    (exceptions.BusyLoadingError, "is still loading its data"),
    (exceptions.ReadOnlyError, "is a replica: breaker.store must be the primary"),
    (exceptions.ClusterDownError, "is a node of a cluster that is down: look at CLUSTER INFO"),
    (
        exceptions.AskError,
        "and other nodes of the cluster name each other for the same keys (MOVED): look at CLUSTER NODES",
    ),
    (exceptions.TryAgainError, "is moving these keys to another node of the cluster"),
    (exceptions.UnknownCommandError, "does not know a command that is needed: it must be Redis 6 or newer"),
)


def of(error: exceptions.RedisError) -> str:
    """To be read after the address of the server."""
    text = str(error)
    if isinstance(error, exceptions.AuthorizationError) or "user executing the script" in text:  # as 7.0 says it
        return not_allowed(text)
    for kind, words in _KINDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, exceptions.ConnectionError):
        return _connection(error)
    # A script's error comes with or without its code in front.
    found = (words for sign, words in _SIGNS.items() if sign in text)
    return next(found, f"answers with an error ({type(error).__name__})")


def not_allowed(text: str) -> str:
    """Names the command where Redis does."""
    if re.search(r"\bkeys?\b", text):
        what = "a key of the breakers"
    elif command := re.search(r"the '([a-z|]{1,40})' command", text):
        what = f"the command {command[1]}"
    else:
        what = "a command that is needed"
    return (
        f"does not allow the user {what} (NOPERM): ACL SETUSER NAME ~*breaker:* ~*breaker}}:* {COMMANDS}, "
        f"on a cluster {CLUSTER_COMMANDS}, too"
    )


def _connection(error: BaseException) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "has a TLS certificate of another name or nobody known: set SSL_CERT_FILE if it is your own"
    reasons = {cause.reason or "" for cause in causes if isinstance(cause, ssl.SSLError)}
    if any(_TLS_CLIENT_CERTIFICATE in reason for reason in reasons):
        return "asks for a client certificate, which reportd has none of: set its tls-auth-clients to no"
    if reasons:
        return "does not speak TLS as it should: is it redis:// instead of rediss://, or the other port?"
    # A server that wants a client certificate may reset the connection before its alert has been read.
    return (
        "can't be reached, or broke the connection: check host, port and firewall, whether that port speaks TLS "
        "(rediss://), and that tls-auth-clients is no there"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__

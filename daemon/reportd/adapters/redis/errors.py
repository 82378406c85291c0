"""Errors of Redis in texts that say what to do and hold no secret.

The texts are our own: Redis may repeat the request in its errors, and with it the password.
"""

import re
import ssl
from collections.abc import Iterator

from coredis import exceptions

COMMANDS = "+eval +time +mget +get +set +role +wait +select +client|setname"
"""The rights that a Redis user needs. ``tests/contract/breakers/test_breakers.py`` runs with these rights only."""

CLUSTER_COMMANDS = "+cluster|slots +asking"
"""The additional rights in a cluster."""

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
    """Return a text that completes a sentence beginning with the server's address."""
    text = str(error)
    if isinstance(error, exceptions.AuthorizationError) or "user executing the script" in text:  # the text of 7.0
        return not_allowed(text)
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, exceptions.ConnectionError):
        return _connection(error)
    # An error inside a script may lack the error code at its start.
    matches = (reason for sign, reason in _SIGNS.items() if sign in text)
    return next(matches, f"answers with an error ({type(error).__name__})")


def not_allowed(text: str) -> str:
    """Return the text for a missing right. It names the command where Redis does."""
    if re.search(r"\bkeys?\b", text):
        subject = "a key of the breakers"
    elif command := re.search(r"the '([a-z|]{1,40})' command", text):
        subject = f"the command {command[1]}"
    else:
        subject = "a command that is needed"
    return (
        f"does not allow the user {subject} (NOPERM): ACL SETUSER NAME ~*breaker:* ~*breaker}}:* {COMMANDS}, "
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
    # A server that wants a client certificate may reset the connection before we read its alert.
    return (
        "can't be reached, or broke the connection: check host, port and firewall, whether that port speaks TLS "
        "(rediss://), and that tls-auth-clients is no there"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__

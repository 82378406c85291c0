"""Whose fault it is that a page's address can't be opened, by the network error that the browser names.

Called by the page. The names of the errors are those of Chromium's ``net/base/net_error_list.h``.
"""

from collections.abc import Sequence

from reportd.adapters.egress.proxy import Failure, Refusal
from reportd.core.faults import Fault, FaultKind
from reportd.core.pages.url_length import USUAL_URL_CHARS

BROKEN_OFF = frozenset(
    {
        "net::ERR_CONNECTION_ABORTED",
        "net::ERR_CONNECTION_CLOSED",
        "net::ERR_CONNECTION_RESET",
        "net::ERR_EMPTY_RESPONSE",
        "net::ERR_HTTP2_PROTOCOL_ERROR",
    }
)
"""The server took the connection and ended it without an answer."""


CERTIFICATE = "net::ERR_CERT_"
TRUST = frozenset(
    {
        "net::ERR_SSL_KEY_USAGE_INCOMPATIBLE",
        "net::ERR_SSL_PINNED_KEY_NOT_IN_CERT_CHAIN",
        "net::ERR_SSL_SERVER_CERT_BAD_FORMAT",
        "net::ERR_SSL_SERVER_CERT_CHANGED",
    }
)
"""Errors of TLS that are about the server's certificate. The others are about the protocol."""

REMEDY = "the server needs a valid certificate"
REMEDIES = {
    "net::ERR_CERT_AUTHORITY_INVALID": (
        "pages do not know the authority of the server's certificate: name its file in pool.ca_file, and let the "
        "server send the certificates between"
    ),
    "net::ERR_CERT_COMMON_NAME_INVALID": "the server's certificate is for other names: it needs one for this name",
    "net::ERR_CERT_DATE_INVALID": "the server's certificate is no longer valid, or not yet: renew it, or set the clock",
}


def opening_fault(url: str, error: str, detail: str, refusals: Sequence[Refusal], failures: Sequence[Failure]) -> Fault:
    """Return the fault. ``detail``: what happened, with the URL as it may be shown.

    ``refusals`` and ``failures``: of the job's connections.
    """
    if refusals:
        return Fault(FaultKind.HOST_NOT_ALLOWED, f"{refusals[-1].host}:{refusals[-1].port}: {refusals[-1].reason}")
    if failures:
        return Fault(FaultKind.UNREACHABLE, f"{detail} ({failures[-1].reason})")
    if error.startswith(CERTIFICATE) or error in TRUST:
        return Fault(FaultKind.CERTIFICATE_INVALID, f"{detail}; {REMEDIES.get(error, REMEDY)}")
    # Some servers answer 414 to a request line that is too long, others just hang up.
    if error in BROKEN_OFF and len(url) > USUAL_URL_CHARS:
        why = f"the server hung up without an answer; the URL has {len(url)} characters, most servers take"
        return Fault(FaultKind.URL_TOO_LONG, f"{detail}; {why} {USUAL_URL_CHARS}")
    return Fault(FaultKind.UNREACHABLE, detail)

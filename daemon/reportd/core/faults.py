"""All kinds of failure of a job, and whose fault each one is. ``NATURE`` is the only table of them."""

from dataclasses import dataclass
from enum import StrEnum

from reportd.core.jobs.evidence import Evidence


class Blame(StrEnum):
    """Whose fault it is. Only PAGE and UPSTREAM count for the report type's breaker."""

    MESSAGE = "message"
    PAGE = "page"
    UPSTREAM = "upstream"
    NODE = "node"
    STORE = "store"
    US = "us"


class FaultKind(StrEnum):
    """The ``error.kind`` of a job. The set is bounded, so it can be a metric's label."""

    MALFORMED_MESSAGE = "malformed_message"
    UNKNOWN_REPORT_TYPE = "unknown_report_type"
    INVALID_PARAMETERS = "invalid_parameters"
    TEMPLATE_ERROR = "template_error"
    PAGE_STATUS = "page_status"
    PAGE_UNAVAILABLE = "page_unavailable"
    PAGE_CRASHED = "page_crashed"
    PAGE_CLOSED = "page_closed"
    PAGE_TOO_LARGE = "page_too_large"
    PAGE_TOO_HEAVY = "page_too_heavy"
    NOT_A_REPORT = "not_a_report"
    REDIRECTED = "redirected"
    EXPECTATION_FAILED = "expectation_failed"
    PAGE_FAILED = "page_failed"
    NAVIGATED_AWAY = "navigated_away"
    DOWNLOAD = "download"
    SCRIPT_ERROR = "script_error"
    RESOURCE_FAILED = "resource_failed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    CERTIFICATE_INVALID = "certificate_invalid"
    URL_TOO_LONG = "url_too_long"
    BODY_TOO_LARGE = "body_too_large"
    GLYPHS_MISSING = "glyphs_missing"
    CONTENT_CLIPPED = "content_clipped"
    PRINT_REJECTED = "print_rejected"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BROWSER_LOST = "browser_lost"
    BROWSER_UNAVAILABLE = "browser_unavailable"
    NODE_LOST = "node_lost"
    OUT_OF_FILES = "out_of_files"
    STORE_UNAVAILABLE = "store_unavailable"
    EXHAUSTED_RECEIVES = "exhausted_receives"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Nature:
    """``retry``: another attempt can help. ``counts``: it uses one of the job's attempts.

    ``kills_browser``: a browser or its renderer died during the job. ``transient``: the cause can end by itself, so a
    redrive much later can help, too. ``counts_for_breaker``: it is reported to the report type's breaker.
    """

    blame: Blame
    retry: bool
    counts: bool = True
    kills_browser: bool = False
    transient: bool = False

    @property
    def counts_for_breaker(self) -> bool:
        return self.blame in (Blame.PAGE, Blame.UPSTREAM)


NATURE: dict[FaultKind, Nature] = {
    FaultKind.MALFORMED_MESSAGE: Nature(Blame.MESSAGE, retry=False),
    FaultKind.UNKNOWN_REPORT_TYPE: Nature(Blame.MESSAGE, retry=False),
    FaultKind.INVALID_PARAMETERS: Nature(Blame.MESSAGE, retry=False),
    FaultKind.TEMPLATE_ERROR: Nature(Blame.PAGE, retry=False),
    FaultKind.PAGE_STATUS: Nature(Blame.PAGE, retry=False),
    FaultKind.PAGE_UNAVAILABLE: Nature(Blame.UPSTREAM, retry=True, transient=True),
    FaultKind.PAGE_CRASHED: Nature(Blame.PAGE, retry=True, kills_browser=True),
    FaultKind.PAGE_CLOSED: Nature(Blame.PAGE, retry=False),
    FaultKind.PAGE_TOO_LARGE: Nature(Blame.PAGE, retry=False),
    FaultKind.PAGE_TOO_HEAVY: Nature(Blame.PAGE, retry=True, kills_browser=True),
    # The server answers 200 with something else: a login form, an error as JSON, a blank sheet. It would do so again.
    FaultKind.NOT_A_REPORT: Nature(Blame.PAGE, retry=False),
    FaultKind.REDIRECTED: Nature(Blame.PAGE, retry=False),
    FaultKind.EXPECTATION_FAILED: Nature(Blame.PAGE, retry=False),
    # The page says so itself, mostly because its data did not come. That passes, and concerns all jobs of its type.
    FaultKind.PAGE_FAILED: Nature(Blame.PAGE, retry=True, transient=True),
    FaultKind.NAVIGATED_AWAY: Nature(Blame.PAGE, retry=False),
    FaultKind.DOWNLOAD: Nature(Blame.PAGE, retry=False),
    FaultKind.SCRIPT_ERROR: Nature(Blame.PAGE, retry=True),
    FaultKind.RESOURCE_FAILED: Nature(Blame.UPSTREAM, retry=True, transient=True),
    FaultKind.HOST_NOT_ALLOWED: Nature(Blame.PAGE, retry=False),
    FaultKind.CERTIFICATE_INVALID: Nature(Blame.UPSTREAM, retry=False),
    # Only this job's parameters are too long; others of the type are not.
    FaultKind.URL_TOO_LONG: Nature(Blame.MESSAGE, retry=False),
    FaultKind.BODY_TOO_LARGE: Nature(Blame.MESSAGE, retry=False),
    # The data of one job has these characters, or so many columns.
    FaultKind.GLYPHS_MISSING: Nature(Blame.MESSAGE, retry=False),
    FaultKind.CONTENT_CLIPPED: Nature(Blame.MESSAGE, retry=False),
    FaultKind.PRINT_REJECTED: Nature(Blame.PAGE, retry=False),
    FaultKind.TIMEOUT: Nature(Blame.PAGE, retry=True, transient=True),
    FaultKind.UNREACHABLE: Nature(Blame.UPSTREAM, retry=True, transient=True),
    # Any of the jobs that shared the browser may be the cause, so this uses no attempt of theirs (I5).
    FaultKind.BROWSER_LOST: Nature(Blame.NODE, retry=True, counts=False, kills_browser=True),
    FaultKind.BROWSER_UNAVAILABLE: Nature(Blame.NODE, retry=True, counts=False, transient=True),
    FaultKind.NODE_LOST: Nature(Blame.NODE, retry=True, counts=False, transient=True),
    # A page that can't load while the node has no file descriptor left is not at fault.
    FaultKind.OUT_OF_FILES: Nature(Blame.NODE, retry=True, counts=False, transient=True),
    FaultKind.STORE_UNAVAILABLE: Nature(Blame.STORE, retry=True, counts=False, transient=True),
    FaultKind.EXHAUSTED_RECEIVES: Nature(Blame.US, retry=False, counts=False),
    FaultKind.INTERNAL: Nature(Blame.US, retry=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure. ``detail`` is a sentence for people: no secrets, at most a few hundred characters."""

    kind: FaultKind
    detail: str

    @property
    def nature(self) -> Nature:
        return NATURE[self.kind]


def stored_fault(kind: str, detail: str) -> Fault:
    """Return a fault from a store. A kind that only newer nodes know is INTERNAL, and its name is in the detail."""
    if kind in set(FaultKind):
        return Fault(FaultKind(kind), detail)
    return Fault(FaultKind.INTERNAL, f"{kind}: {detail}")


class FaultError(Exception):
    """Carries a Fault out of an adapter. ``evidence``: what there was to see, if anybody asked for it."""

    def __init__(self, kind: FaultKind, detail: str, evidence: Evidence | None = None) -> None:
        super().__init__(f"{kind}: {detail}")
        self.fault = Fault(kind, detail)
        self.evidence = evidence


RETRIABLE_STATUS = frozenset({408, 425, 429})
"""Client errors after which a retry can succeed (RFC 9110 section 15.5.9, RFC 8470, RFC 6585)."""


TOO_LONG_STATUS = frozenset({414, 431})
"""URI too long (RFC 9110 section 15.5.15), header fields too large, the request line included (RFC 6585 section 5)."""


TOO_LARGE_STATUS = 413
"""Content too large (RFC 9110 section 15.5.14)."""


def status_fault(status: int, url: str, length: int = 0, sent_bytes: int | None = None) -> Fault:
    """Return the fault for a failed HTTP status of the main page: a retry can help after 5xx and RETRIABLE_STATUS.

    ``url``: as it may be shown. ``length``: of the URL that was asked for, in characters. ``sent_bytes``: of the body
    that was sent, if there was one.
    """
    if status == TOO_LARGE_STATUS and sent_bytes is not None:
        return Fault(FaultKind.BODY_TOO_LARGE, f"{url} answered 413; the parameters have {sent_bytes} bytes")
    if status in TOO_LONG_STATUS:
        return Fault(FaultKind.URL_TOO_LONG, f"{url} answered {status}; the URL has {length} characters")
    retriable = status >= 500 or status in RETRIABLE_STATUS  # noqa: PLR2004 - the class of server errors
    kind = FaultKind.PAGE_UNAVAILABLE if retriable else FaultKind.PAGE_STATUS
    return Fault(kind, f"{url} answered {status}")

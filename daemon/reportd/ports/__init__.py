"""The interfaces of the daemon to the outside world. Adapters implement them, and pass the same contract tests."""

from reportd.ports.alerts import AlertStore, Channel, Decide
from reportd.ports.artifacts import Artifacts, ArtifactStore, LocalPdf, Pdf, WrongStoreError
from reportd.ports.audit import Audit, AuditEntry
from reportd.ports.breakers import BreakerStore, StoredBreakers
from reportd.ports.checking import INLINE_BYTES, Checker, TooCostlyError
from reportd.ports.dead_letters import CauseView, DeadLetter, DeadLetters, Group, LetterStatus, OnQuarantined, Redrive
from reportd.ports.editions import EditionStore
from reportd.ports.errors import UnavailableError
from reportd.ports.evidence import KEPT_PER_JOB, EvidenceStore, StoredEvidence
from reportd.ports.fleet import Fleet, Heartbeat
from reportd.ports.jobs import (
    UNCONFIRMED_SECONDS,
    Attempt,
    AttemptRefused,
    AttemptStarted,
    JobFilter,
    Jobs,
    PdfInfo,
    Record,
    Settlement,
)
from reportd.ports.meter import NULL_METER, Meter, MeterFanOut
from reportd.ports.outbox import Callback, CallbackStatus, DeliveryError, DeliveryOutcome, Messenger, Outbox
from reportd.ports.pictures import PagePictures
from reportd.ports.queue import ANY, Depth, Outgoing, Queue, ReceiptLostError, Received
from reportd.ports.rendering import (
    Assets,
    Browser,
    BrowserError,
    Launcher,
    OnProgress,
    Page,
    Ready,
    Renderer,
    RenderOptions,
    RenderRequest,
    Slot,
    TokenPlace,
    ToPrint,
    ignore_progress,
    print_immediately,
)
from reportd.ports.sessions import EndedSession, EndedSessions
from reportd.ports.token_signing import NoKeyError, TokenSigner

__all__ = [
    "ANY",
    "INLINE_BYTES",
    "KEPT_PER_JOB",
    "NULL_METER",
    "UNCONFIRMED_SECONDS",
    "AlertStore",
    "ArtifactStore",
    "Artifacts",
    "Assets",
    "Attempt",
    "AttemptRefused",
    "AttemptStarted",
    "Audit",
    "AuditEntry",
    "BreakerStore",
    "Browser",
    "BrowserError",
    "Callback",
    "CallbackStatus",
    "CauseView",
    "Channel",
    "Checker",
    "DeadLetter",
    "DeadLetters",
    "Decide",
    "DeliveryError",
    "DeliveryOutcome",
    "Depth",
    "EditionStore",
    "EndedSession",
    "EndedSessions",
    "EvidenceStore",
    "Fleet",
    "Group",
    "Heartbeat",
    "JobFilter",
    "Jobs",
    "Launcher",
    "LetterStatus",
    "LocalPdf",
    "Messenger",
    "Meter",
    "MeterFanOut",
    "NoKeyError",
    "OnProgress",
    "OnQuarantined",
    "Outbox",
    "Outgoing",
    "Page",
    "PagePictures",
    "Pdf",
    "PdfInfo",
    "Queue",
    "Ready",
    "ReceiptLostError",
    "Received",
    "Record",
    "Redrive",
    "RenderOptions",
    "RenderRequest",
    "Renderer",
    "Settlement",
    "Slot",
    "StoredBreakers",
    "StoredEvidence",
    "ToPrint",
    "TokenPlace",
    "TokenSigner",
    "TooCostlyError",
    "UnavailableError",
    "WrongStoreError",
    "ignore_progress",
    "print_immediately",
]

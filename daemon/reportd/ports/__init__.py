"""What the daemon needs from the outside world. Adapters fulfil it; tests hold them all to the same suites."""

from reportd.ports.alerts import AlertStore, Channel, Decide
from reportd.ports.artifacts import Artifacts, ArtifactStore, LocalPdf, Pdf, WrongStoreError
from reportd.ports.audit import Audit, Entry
from reportd.ports.breakers import BreakerStore, Kept
from reportd.ports.checking import INLINE_BYTES, Checker, TooCostlyError
from reportd.ports.dead_letters import CauseView, DeadLetter, DeadLetters, Group, OnQuarantined, Redrive, Standing
from reportd.ports.errors import UnavailableError
from reportd.ports.fleet import Fleet, Sign
from reportd.ports.jobs import Attempt, JobFilter, Jobs, PdfInfo, Record, Refused, Settlement, Started
from reportd.ports.meter import SILENT, Meter, Several
from reportd.ports.outbox import Callback, CallbackStatus, DeliveryError, Messenger, Outbox, Outcome
from reportd.ports.queue import ANY, Depth, Outgoing, Queue, ReceiptLostError, Received
from reportd.ports.rendering import (
    Browser,
    BrowserError,
    Launcher,
    Page,
    Ready,
    Renderer,
    RenderOptions,
    RenderRequest,
    Slot,
    ToPrint,
    at_once,
)
from reportd.ports.sessions import Ended, EndedSessions

__all__ = [
    "ANY",
    "INLINE_BYTES",
    "SILENT",
    "AlertStore",
    "ArtifactStore",
    "Artifacts",
    "Attempt",
    "Audit",
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
    "Depth",
    "Ended",
    "EndedSessions",
    "Entry",
    "Fleet",
    "Group",
    "JobFilter",
    "Jobs",
    "Kept",
    "Launcher",
    "LocalPdf",
    "Messenger",
    "Meter",
    "OnQuarantined",
    "Outbox",
    "Outcome",
    "Outgoing",
    "Page",
    "Pdf",
    "PdfInfo",
    "Queue",
    "Ready",
    "ReceiptLostError",
    "Received",
    "Record",
    "Redrive",
    "Refused",
    "RenderOptions",
    "RenderRequest",
    "Renderer",
    "Settlement",
    "Several",
    "Sign",
    "Slot",
    "Standing",
    "Started",
    "ToPrint",
    "TooCostlyError",
    "UnavailableError",
    "WrongStoreError",
    "at_once",
]

"""What the daemon needs from the outside world. Adapters fulfil it; tests hold them all to the same suites."""

from reportd.ports.artifacts import Artifacts, Pdf
from reportd.ports.audit import Audit, Entry
from reportd.ports.breakers import BreakerStore, Kept
from reportd.ports.errors import UnavailableError
from reportd.ports.fleet import Fleet, Sign
from reportd.ports.jobs import Attempt, JobFilter, Jobs, PdfInfo, Record, Refused, Settlement, Started
from reportd.ports.meter import SILENT, Meter, Several
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

__all__ = [
    "ANY",
    "SILENT",
    "Artifacts",
    "Attempt",
    "Audit",
    "BreakerStore",
    "Browser",
    "BrowserError",
    "Depth",
    "Entry",
    "Fleet",
    "JobFilter",
    "Jobs",
    "Kept",
    "Launcher",
    "Meter",
    "Outgoing",
    "Page",
    "Pdf",
    "PdfInfo",
    "Queue",
    "Ready",
    "ReceiptLostError",
    "Received",
    "Record",
    "Refused",
    "RenderOptions",
    "RenderRequest",
    "Renderer",
    "Settlement",
    "Several",
    "Sign",
    "Slot",
    "Started",
    "ToPrint",
    "UnavailableError",
    "at_once",
]

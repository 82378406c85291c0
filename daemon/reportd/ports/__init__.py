"""What the daemon needs from the outside world. Adapters fulfil it; tests hold them all to the same suites."""

from reportd.ports.artifacts import Artifacts, Pdf
from reportd.ports.audit import Audit, Entry
from reportd.ports.breakers import BreakerStore, Kept
from reportd.ports.dead_letters import CauseView, DeadLetter, DeadLetters, Group, OnQuarantined, Redrive, Standing
from reportd.ports.errors import UnavailableError
from reportd.ports.jobs import Attempt, JobFilter, Jobs, PdfInfo, Record, Refused, Settlement, Started
from reportd.ports.queue import Depth, Outgoing, Queue, ReceiptLostError, Received
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
)

__all__ = [
    "Artifacts",
    "Attempt",
    "Audit",
    "BreakerStore",
    "Browser",
    "BrowserError",
    "CauseView",
    "DeadLetter",
    "DeadLetters",
    "Depth",
    "Entry",
    "Group",
    "JobFilter",
    "Jobs",
    "Kept",
    "Launcher",
    "OnQuarantined",
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
    "Slot",
    "Standing",
    "Started",
    "UnavailableError",
]

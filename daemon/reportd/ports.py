"""What the daemon needs from the outside world. Adapters fulfil it; tests hold them all to the same suites."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trio

from reportd.core.breaker import Breaker
from reportd.core.faults import Fault
from reportd.core.job import Job
from reportd.core.network import NetworkRule
from reportd.core.retry import Tally
from reportd.core.transitions import Event, State


class UnavailableError(Exception):
    """An outside part can't be used right now; the same call may work later. Nothing was half done."""

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part


# --- queue --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. ``group`` is who the queue is fair between: the user."""

    body: str
    task_id: str
    report_type: str
    group: str
    delay_seconds: float = 0.0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """A message handed out and invisible to others until ``receipt`` is settled or its visibility ends."""

    receipt: str
    body: str
    receive_count: int
    sent_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """Message counts. ``oldest_at``: epoch seconds of the oldest visible message, None when there is none."""

    visible: int
    in_flight: int
    delayed: int
    oldest_at: float | None = None

    @property
    def backlog(self) -> int:
        return self.visible + self.delayed


class Queue(Protocol):
    """A queue with the semantics of SQS: at least once, visibility timeout, receive count, delay.

    Batch calls answer per entry, in order: None, or the exception that befell that entry alone. They raise
    UnavailableError only when nothing at all was done.
    """

    visibility_seconds: float
    max_message_bytes: int
    """The most a body may have, leaving room for a few attributes."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]: ...

    async def receive(self, limit: int, wait_seconds: float, skip: Collection[str] = ()) -> list[Received]:
        """Up to ``limit`` messages, as soon as there is one; empty after ``wait_seconds``.

        ``skip``: report types that may stay where they are. A queue that can't skip ignores it.
        """
        ...

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        """Settle messages for good. A receipt that is no longer valid is no error: somebody settled it."""
        ...

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        """Make held messages visible again after so many seconds (0 = now).

        An entry's ReceiptLostError says that the message is no longer held by this receipt.
        """
        ...

    async def depth(self) -> Depth: ...


class ReceiptLostError(Exception):
    """The message's visibility ended, or it was settled: it belongs to somebody else now."""


# --- job store ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PdfInfo:
    """The stored PDF of a job. ``purged``: retention is over and the file is gone."""

    size_bytes: int
    sha256: str
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A job as the store knows it. Times are seconds since the epoch."""

    job: Job
    state: State
    tally: Tally
    started_at: float | None = None
    finished_at: float | None = None
    error: Fault | None = None
    pdf: PdfInfo | None = None
    confirmed: bool = False
    """The queue has confirmed the message."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job. ``outcome`` is None while it runs, or for ever if its node died."""

    number: int
    node: str
    started_at: float
    finished_at: float | None = None
    outcome: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Proof that an attempt was recorded. ``record`` is the job with this attempt in its tally."""

    attempt_id: int
    record: Record


@dataclass(frozen=True, slots=True)
class Refused:
    """The job was not started; the record says why: it is terminal, dead-lettered, or lost too many browsers."""

    record: Record
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt or of a waiting job.

    ``event`` moves the job; ``fault`` is recorded as its error; ``pdf`` as its result. With ``attempt_id`` the
    attempt gets its outcome. ``counted`` says whether the attempt stays counted; ``loss``, that a browser died.
    """

    task_id: str
    event: Event
    at: float
    attempt_id: int | None = None
    fault: Fault | None = None
    counted: bool = True
    loss: bool = False
    pdf: PdfInfo | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any."""

    state: State | None = None
    report_type: str | None = None
    user_id: str | None = None


class Jobs(Protocol):
    """The job store. Every change is a compare-and-set along ``core.transitions``."""

    async def add(self, jobs: Sequence[Job]) -> list[Record]:
        """Insert what is not there; the answer holds, per job, the record that is there now."""
        ...

    async def confirm(self, task_ids: Sequence[str]) -> None:
        """The queue has these jobs' messages."""
        ...

    async def unconfirmed(self, before: float, limit: int) -> list[Record]:
        """Jobs submitted before that time whose message was never confirmed: the daemon died in between."""
        ...

    async def discard(self, task_ids: Sequence[str]) -> None:
        """Forget queued jobs that the queue never took."""
        ...

    async def get(self, task_id: str) -> Record | None: ...

    async def attempts(self, task_id: str) -> list[Attempt]: ...

    async def search(self, wanted: JobFilter, limit: int, before: tuple[float, str] | None = None) -> list[Record]:
        """Newest first, below the ``(submitted_at, task_id)`` of the last one seen."""
        ...

    async def start(self, job: Job, node: str, at: float) -> Started | Refused:
        """Record that an attempt begins, before any browser is touched; the job's row is made if it has none."""
        ...

    async def settle(self, settlement: Settlement) -> State | None:
        """Apply one; the new state, or None when the job's state did not allow it (nothing changed then)."""
        ...

    async def revive(self, task_id: str) -> Record | None:
        """Put a quarantined job back with a fresh tally; None when it is not quarantined."""
        ...

    async def expired(self, before: float, limit: int) -> list[str]:
        """Tasks finished before that time that still have something stored."""
        ...

    async def purge(self, task_ids: Sequence[str]) -> None:
        """Their files are gone."""
        ...

    async def counts(self) -> dict[State, int]: ...

    async def lead(self, work: str, node: str, seconds: float) -> bool:
        """Whether this node is the one that does ``work``, and goes on to be for so many seconds.

        By the store's clock, so that one node at a time does it, and another one once that node is gone.
        """
        ...


# --- artifacts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pdf:
    """A rendered PDF on its way to the store: small ones in ``data``, large ones in a temporary file.

    Whoever holds it owns ``path`` and moves or removes it.
    """

    size_bytes: int
    sha256: str
    data: bytes | None = None
    path: Path | None = None

    @property
    def info(self) -> PdfInfo:
        return PdfInfo(self.size_bytes, self.sha256)

    def discard(self) -> None:
        """Remove what is left of it on disk; harmless when it has been moved."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class Artifacts(Protocol):
    """Where PDFs are kept. The key is a function of the task id, so a redelivery can't make a second one (I6)."""

    async def put(self, job: Job, pdf: Pdf) -> None:
        """Store durably, whole or not at all. Raises UnavailableError."""
        ...

    async def locate(self, job: Job) -> Path | str | None:
        """A local file, or a URL to send the client to; None if there is none."""
        ...

    async def remove(self, task_id: str) -> None: ...


# --- breakers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store keeps, by report type, and its time when it was read: seconds since the epoch."""

    at: float
    breakers: Mapping[str, Breaker]


class BreakerStore(Protocol):
    """Where the breakers of all nodes are kept. Both calls raise UnavailableError."""

    async def load(self, report_types: Collection[str]) -> Kept:
        """Those of them that are kept."""
        ...

    async def replace(self, version: int, breaker: Breaker) -> bool:
        """Keep it if that version is still the one that is kept; 0 is the version of what is not kept."""
        ...


# --- rendering ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """When a page may be printed. ``kind``: load, networkidle, selector, expression or event."""

    kind: str = "load"
    argument: str = ""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a page is opened, judged and printed. ``print_parameters`` are those of CDP ``Page.printToPDF``."""

    ready: Ready = Ready()
    delay_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    media: str = "print"
    fail_on_status: tuple[tuple[int, int], ...] = ((400, 599),)
    fail_on_resource_errors: bool = False
    fail_on_script_errors: bool = False
    max_page_bytes: int = 104857600
    print_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One page to print: ``html`` or ``url``."""

    task_id: str
    report_type: str
    rule: NetworkRule
    options: RenderOptions
    timeout_seconds: float
    html: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    isolation: str = "page"


class Slot(Protocol):
    """Leave to render now. ``alone``: in a browser that nobody else uses."""

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        """The PDF, within the request's ``timeout_seconds``. Raises FaultError."""
        ...


class Renderer(Protocol):
    """Renders so many requests at once, and no more."""

    def slot(self) -> AbstractAsyncContextManager[Slot]:
        """Wait for a slot, however long, and hold it for the block."""
        ...


class Page(Protocol):
    """A page in a browser context of its own, warm and attached."""

    doing: str
    """What it waits for just now, for the text of a timeout."""

    async def render(self, request: RenderRequest) -> Pdf:
        """Open, wait until ready, print. The caller owns the deadline. Raises FaultError."""
        ...

    async def scrub(self) -> bool:
        """Forget the last job. False: the page can't be trusted any more, leave it."""
        ...


class Browser(Protocol):
    """One browser process tree. ``died`` is set when it is gone, whatever the cause."""

    pid: int
    died: trio.Event

    def page(self) -> AbstractAsyncContextManager[Page]:
        """A new page. Leaving the block takes it away whatever it is doing, with the whole browser if need be.

        Raises BrowserError when the browser can't give one.
        """
        ...

    def memory_mib(self) -> float: ...


class BrowserError(Exception):
    """No browser, or no page of it, can be had. The text says what to do where that is known."""


class Launcher(Protocol):
    """Starts browsers."""

    def launch(self) -> AbstractAsyncContextManager[Browser]:
        """A new browser. Leaving the block ends its whole process group and removes its profile folder.

        Raises BrowserError when it can't be started.
        """
        ...

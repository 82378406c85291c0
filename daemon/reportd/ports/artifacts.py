"""The store of the PDFs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from reportd.core.jobs.job import Job
from reportd.ports.errors import UnavailableError
from reportd.ports.jobs import PdfInfo

T = TypeVar("T")


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


class Reading(Protocol):
    async def __call__(self, work: Callable[[], T], /) -> T:
        """What ``work``, which blocks, returns. Raises UnavailableError when it fails, or takes too long."""
        ...


@dataclass(frozen=True, slots=True)
class LocalPdf:
    """A file. Whatever touches it is done by ``reading``: its folder may stand still, which is then nobody else's
    trouble.
    """

    path: Path
    reading: Reading


class Artifacts(Protocol):
    """Where PDFs are kept. The key is a function of the task id, so a redelivery can't make a second one (I6)."""

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        """Store durably, whole or not at all, unless the job has a PDF already: the first one stays.

        The answer is about the one that is stored. Raises UnavailableError.
        """
        ...

    async def locate(self, job: Job) -> LocalPdf | str | None:
        """A local file, or a URL to send the client to; None if there is none."""
        ...

    async def remove(self, task_id: str) -> None: ...


class ArtifactStore(Artifacts, Protocol):
    """A place that PDFs are kept in, which may or may not be that of the cluster."""

    place: str
    """What it is called from every node alike; empty where each node may mean another one by its name."""

    async def identity(self) -> str | None:
        """What was marked on it; None if nothing was. Raises UnavailableError."""
        ...

    async def mark(self, identity: str) -> str:
        """Mark that on it, unless something is; what is then. Raises UnavailableError."""
        ...

    async def probe(self) -> None:
        """Store something, find it and remove it. Raises UnavailableError."""
        ...


class WrongStoreError(UnavailableError):
    """The artifact store of this node is not that of the other nodes."""

    def __init__(self, detail: str) -> None:
        super().__init__("artifacts", detail)

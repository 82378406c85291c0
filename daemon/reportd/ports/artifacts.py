"""The store of the PDFs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from reportd.core.jobs.job import Job
from reportd.core.jobs.warnings import JobWarning
from reportd.ports.errors import UnavailableError
from reportd.ports.jobs import PdfInfo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pdf:
    """A rendered PDF on its way to the store: a small one in ``data``, a large one in a temporary file.

    Its holder owns ``path``, and moves or removes the file. ``warnings``: what is missing from it.
    """

    size_bytes: int
    sha256: str
    data: bytes | None = None
    path: Path | None = None
    warnings: tuple[JobWarning, ...] = ()

    @property
    def info(self) -> PdfInfo:
        return PdfInfo(self.size_bytes, self.sha256)

    def discard(self) -> None:
        """Remove the file, if it still exists."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def discarded_on_error(self) -> Iterator[None]:
        """Remove the file when the block ends with an error or is cancelled."""
        with ExitStack() as stack:
            stack.callback(self.discard)
            yield
            stack.pop_all()


class FileReader(Protocol):
    """Runs blocking file access."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Return the result of ``work``, which may block. Raises UnavailableError when it fails or takes too long."""
        ...


@dataclass(frozen=True, slots=True)
class LocalPdf:
    """A PDF in a local file. Access it only through ``reading``, so that a hanging folder delays nobody else."""

    path: Path
    reading: FileReader


class Artifacts(Protocol):
    """The store of the PDFs. The key is a function of the task id, so a redelivery can't make a second PDF (I6)."""

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        """Store a PDF durably and atomically, unless the job has one already: the first one stays.

        Return the info of the stored PDF. Raises UnavailableError.
        """
        ...

    async def locate(self, job: Job) -> LocalPdf | str | None:
        """Return the local file, or the URL to redirect the client to; None if there is no PDF."""
        ...

    async def remove(self, task_id: str) -> None: ...


class ArtifactStore(Artifacts, Protocol):
    """An artifact store with an identity mark, by which a node checks that it uses the same store as its cluster."""

    place: str
    """Its name, the same on every node; empty where the same name can mean another store on each node."""

    async def identity(self) -> str | None:
        """Return the store's mark; None if it has none. Raises UnavailableError."""
        ...

    async def mark(self, identity: str) -> str:
        """Mark the store unless it is marked, and return its mark. Raises UnavailableError."""
        ...

    async def probe(self) -> None:
        """Store, read and remove a test object. Raises UnavailableError."""
        ...


class WrongStoreError(UnavailableError):
    """The artifact store of this node is not the store of the other nodes.

    ``unmarked``: it has no mark at all, as a mount point has none before its mount is there. That may pass by itself.
    """

    def __init__(self, detail: str, *, unmarked: bool = False) -> None:
        super().__init__("artifacts", detail)
        self.unmarked = unmarked

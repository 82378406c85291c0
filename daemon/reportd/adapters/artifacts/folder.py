"""PDFs in a local folder. Each is written beside its place, synced, and then linked: a PDF is complete or absent."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import trio

from reportd.concurrency.grace import in_thread
from reportd.core.jobs.job import Job
from reportd.ports import LocalPdf, Pdf, PdfInfo, UnavailableError

T = TypeVar("T")

ANSWER_SECONDS = 30.0
"""Limit for writing and syncing a PDF, for looking one up, and for reading a piece. A network folder may hang for ever.
"""

GRACE_SECONDS = 2.0
"""How long a cancelled call still waits, so that a PDF that is removed next exists already."""

PROBE_BYTES = 65536

IDENTITY = "store.id"
"""The file that identifies the store."""

MAX_THREADS = 8
"""Threads for the folder, so that a hanging one takes no thread that others need."""


class FileArtifacts:
    """Implements ``ports.ArtifactStore``. Sub-folders keep directories small."""

    place = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limiter = trio.CapacityLimiter(MAX_THREADS)

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        return await self._in_thread(lambda: _store(self._path(job.task_id), pdf))

    async def locate(self, job: Job) -> LocalPdf | None:
        path = self._path(job.task_id)
        return LocalPdf(path, self._reading) if await self._in_thread(path.is_file) else None

    async def remove(self, task_id: str) -> None:
        await self._in_thread(lambda: _remove(self._path(task_id)))

    async def identity(self) -> str | None:
        return await self._in_thread(lambda: _identity(self._folder / IDENTITY))

    async def mark(self, identity: str) -> str:
        return await self._in_thread(lambda: _mark(self._folder / IDENTITY, identity))

    async def probe(self) -> None:
        await self._in_thread(lambda: _probe(self._folder))

    def _path(self, task_id: str) -> Path:
        return self._folder / task_id[:2] / f"{task_id}.pdf"

    async def _reading(self, work: Callable[[], T]) -> T:
        return await self._in_thread(work, 0.0)

    async def _in_thread(self, work: Callable[[], T], grace_seconds: float = GRACE_SECONDS) -> T:
        try:
            with trio.move_on_after(ANSWER_SECONDS):
                return await in_thread(work, grace_seconds=grace_seconds, limiter=self._limiter)
        except OSError as error:
            raise UnavailableError("artifacts", f"{error.strerror or error}: {self._folder}") from error
        raise UnavailableError("artifacts", f"no answer within {ANSWER_SECONDS:g} s: {self._folder}")


def _identity(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def _mark(path: Path, identity: str) -> str:
    _make_folder(path.parent)
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        with _create(part) as file:
            file.write(f"{identity}\n".encode())
        _sync(part)
        _link(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)
    return path.read_text().strip()


def _probe(folder: Path) -> None:
    _make_folder(folder)
    probe = folder / f"probe.{secrets.token_hex(4)}.part"
    try:
        with _create(probe) as file:
            file.write(bytes(PROBE_BYTES))
        _sync(probe)
    finally:
        probe.unlink(missing_ok=True)


def _store(path: Path, pdf: Pdf) -> PdfInfo:
    _make_folder(path.parent)
    _remove_unfinished(path)
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        _fill(part, pdf)
        first = _link(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)
    return pdf.info if first else _info(path)


def _link(part: Path, path: Path) -> bool:
    """Move a part to its place. Return False if there is a file already."""
    try:
        # Unlike a rename, a link never replaces a file.
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if path.exists():
            return False
        part.replace(path)
    return True


def _info(path: Path) -> PdfInfo:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return PdfInfo(file.tell(), digest.hexdigest())


def _fill(part: Path, pdf: Pdf) -> None:
    if pdf.path is not None:
        # The source stays, for a second try if this one fails.
        try:
            os.link(pdf.path, part)
        except OSError:
            with pdf.path.open("rb") as source, _create(part) as file:
                shutil.copyfileobj(source, file, 1 << 20)
    else:
        with _create(part) as file:
            file.write(pdf.data or b"")
    _sync(part)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_unfinished(path)


def _remove_unfinished(path: Path) -> None:
    """Remove parts left by a daemon that was killed while it wrote this PDF."""
    for unfinished in path.parent.glob(f"{path.stem}.*.part"):
        unfinished.unlink(missing_ok=True)


def _create(path: Path) -> BinaryIO:
    """Create a file that only the daemon's user can read."""
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync each."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

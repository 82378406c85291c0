"""PDFs in a local folder. Written beside their place, synced, then renamed into it: whole or not at all."""

import os
import shutil
from pathlib import Path

import trio

from reportd.core.job import Job
from reportd.ports import Pdf, UnavailableError


class FileArtifacts:
    """``folder`` is made when the first PDF comes. Sub-folders keep directories small."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, task_id: str) -> Path:
        return self._folder / task_id[:2] / f"{task_id}.pdf"

    async def put(self, job: Job, pdf: Pdf) -> None:
        try:
            await trio.to_thread.run_sync(_write, self._path(job.task_id), pdf)
        except OSError as error:
            raise UnavailableError("artifacts", f"{error.strerror}: {self._folder}") from error

    async def locate(self, job: Job) -> Path | str | None:
        path = self._path(job.task_id)
        return path if await trio.to_thread.run_sync(path.is_file) else None

    async def remove(self, task_id: str) -> None:
        try:
            await trio.to_thread.run_sync(lambda: self._path(task_id).unlink(missing_ok=True))
        except OSError as error:
            raise UnavailableError("artifacts", f"{error.strerror}: {self._folder}") from error


def _write(path: Path, pdf: Pdf) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        if pdf.data is not None:
            beside.write_bytes(pdf.data)
        elif pdf.path is not None:
            # Stays where it is for a second try, should this one fail.
            try:
                os.link(pdf.path, beside)
            except OSError:
                shutil.copyfile(pdf.path, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

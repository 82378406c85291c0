"""Artifacts in memory."""

import hashlib

from reportd.core.jobs.job import Job
from reportd.ports import Pdf, PdfInfo, UnavailableError
from tests.fakes.weather import Weather


class MemoryArtifacts:
    """Implements ``ports.ArtifactStore``.

    ``puts``: the tasks of every PDF that was stored; ``located``: the jobs whose PDF was asked for;
    ``room_bytes``: what still fits, None for anything.
    """

    def __init__(self, weather: Weather | None = None) -> None:
        self.stored: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.located: list[Job] = []
        self.room_bytes: int | None = None
        self.place = ""
        self.marked: str | None = None
        self._weather = weather or Weather()

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        async with self._weather.call("artifacts", "put"):
            if self.room_bytes is not None and pdf.size_bytes > self.room_bytes:
                raise UnavailableError("artifacts", "there is no room")
            if job.task_id not in self.stored:
                self.stored[job.task_id] = pdf.path.read_bytes() if pdf.path else pdf.data or b""
                self.puts.append(job.task_id)
            stored = self.stored[job.task_id]
            return PdfInfo(len(stored), hashlib.sha256(stored).hexdigest())

    async def locate(self, job: Job) -> str | None:
        async with self._weather.call("artifacts", "locate"):
            self.located.append(job)
            return f"memory:{job.task_id}" if job.task_id in self.stored else None

    async def remove(self, task_id: str) -> None:
        async with self._weather.call("artifacts", "remove"):
            self.stored.pop(task_id, None)

    async def identity(self) -> str | None:
        async with self._weather.call("artifacts", "identity"):
            return self.marked

    async def mark(self, identity: str) -> str:
        async with self._weather.call("artifacts", "mark"):
            self.marked = self.marked or identity
            return self.marked

    async def probe(self) -> None:
        async with self._weather.call("artifacts", "probe"):
            pass

    def names(self) -> list[str]:
        return sorted(self.stored)

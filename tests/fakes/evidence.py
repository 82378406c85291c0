"""Evidence of failed attempts, in memory."""

from reportd.adapters.sql.text import storable
from reportd.core.jobs.evidence import Evidence
from reportd.ports import KEPT_PER_JOB, StoredEvidence
from tests.fakes.weather import Weather


class MemoryEvidence:
    """Implements ``ports.EvidenceStore``."""

    def __init__(self, weather: Weather | None = None) -> None:
        self._weather = weather or Weather()
        self.kept: dict[tuple[str, int], tuple[float, Evidence]] = {}

    async def put(self, task_id: str, attempt: int, taken_at: float, evidence: Evidence) -> None:
        async with self._weather.call("evidence", "put"):
            self.kept.setdefault((task_id, attempt), (taken_at, evidence))
            for number in sorted(number for task, number in self.kept if task == task_id)[:-KEPT_PER_JOB]:
                del self.kept[task_id, number]

    async def of_job(self, task_id: str) -> list[StoredEvidence]:
        async with self._weather.call("evidence", "of_job"):
            return [
                StoredEvidence(
                    number,
                    at,
                    bool(evidence.screenshot),
                    tuple(map(storable, evidence.console)),
                    tuple(map(storable, evidence.requests)),
                    storable(evidence.activity),
                )
                for (task, number), (at, evidence) in sorted(self.kept.items(), key=lambda item: item[0])
                if task == task_id
            ]

    async def screenshot(self, task_id: str, attempt: int) -> bytes | None:
        async with self._weather.call("evidence", "screenshot"):
            kept = self.kept.get((task_id, attempt))
            return kept[1].screenshot or None if kept else None

    async def purge(self, before: float, keep: int) -> int:
        async with self._weather.call("evidence", "purge"):
            newest = sorted((at for at, _ in self.kept.values()), reverse=True)[:keep]
            stays = {key: row for key, row in self.kept.items() if row[0] >= before and row[0] in newest}
            gone = len(self.kept) - len(stays)
            self.kept = stays
            return gone

"""An audit record in memory."""

from collections.abc import Sequence

from reportd.ports.audit import Entry


class FakeAudit:
    """Implements ``ports.Audit``."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def record(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    async def latest(self, limit: int, subject: str | None = None) -> list[Entry]:
        wanted = [entry for entry in reversed(self.entries) if subject in (None, entry.subject)]
        return wanted[:limit]

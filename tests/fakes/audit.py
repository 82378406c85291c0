"""An audit record in memory."""

from collections.abc import Sequence

from reportd.ports.audit import Entry


class FakeAudit:
    """Implements ``ports.Audit``."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def record(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if _deed(entry) not in map(_deed, self.entries):
                self.entries.append(entry)

    async def latest(self, limit: int, subject: str | None = None) -> list[Entry]:
        newest = sorted(self.entries, key=lambda entry: entry.at)[::-1]
        return [entry for entry in newest if subject in (None, entry.subject)][:limit]


def _deed(entry: Entry) -> tuple[float, str, str, str]:
    return entry.at, entry.subject, entry.action, entry.actor

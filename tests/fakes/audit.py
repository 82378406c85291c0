"""An audit record in memory."""

from collections.abc import Sequence

from reportd.ports.audit import AuditEntry


class FakeAudit:
    """Implements ``ports.Audit``."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            if _deed(entry) not in map(_deed, self.entries):
                self.entries.append(entry)

    async def latest(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        newest = sorted(self.entries, key=lambda entry: entry.at)[::-1]
        return [entry for entry in newest if subject in (None, entry.subject)][:limit]


def _deed(entry: AuditEntry) -> tuple[float, str, str, str]:
    return entry.at, entry.subject, entry.action, entry.actor

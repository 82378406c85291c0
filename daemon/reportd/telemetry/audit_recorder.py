"""Writes the audit record in the background: entries wait in memory until the database has stored them.

So a caller never waits for the database, and never fails with it. Entries that do not fit, or are left when the daemon
ends, go to the log.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.breaker.breaker import Transition
from reportd.ports import Audit, AuditEntry

MAX_WAITING = 1000
"""Entries that can wait while the database is unavailable. A breaker with failing probes makes two in five minutes."""

LAST_SECONDS = 2.0
"""How long the daemon waits at its end for unwritten entries."""

log = structlog.get_logger()


class Recorder:
    """Made by ``open_recorder``."""

    def __init__(self, waiting: trio.MemorySendChannel[AuditEntry]) -> None:
        self._waiting = waiting

    def note(self, entry: AuditEntry) -> None:
        """Add an entry. Never blocks and never raises."""
        try:
            self._waiting.send_nowait(entry)
        except (trio.WouldBlock, trio.ClosedResourceError):
            _log_lost(entry)

    def transition(self, change: Transition) -> None:
        """Add an entry for a breaker that has moved. A listener of ``Breakers``."""
        detail = {
            "before": change.source,
            "after": change.target,
            "reason": change.reason,
            "faults": list(change.faults),
        }
        self.note(AuditEntry(change.at, change.by, f"breaker.{change.event}", change.report_type, detail))


@asynccontextmanager
async def open_recorder(audit: Audit) -> AsyncIterator[Recorder]:
    """Open a recorder for the block. At its end, write the waiting entries within LAST_SECONDS."""
    send, receive = trio.open_memory_channel[AuditEntry](MAX_WAITING)
    end = trio.CancelScope(shield=True)
    async with open_background() as nursery:
        nursery.start_soon(_write, audit, receive, end)
        try:
            yield Recorder(send)
        finally:
            send.close()
            end.deadline = trio.current_time() + LAST_SECONDS


async def _write(audit: Audit, waiting: trio.MemoryReceiveChannel[AuditEntry], end: trio.CancelScope) -> None:
    with end:
        async for entry in waiting:
            written = False
            try:
                await retry_while_unavailable(partial(audit.record, [entry]))
                written = True
            except Exception:
                # An unexpected error must not end the daemon, nor block the other entries.
                log.exception("audit.failed")
            finally:
                if not written:
                    _log_lost(entry)
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            _log_lost(waiting.receive_nowait())


def _log_lost(entry: AuditEntry) -> None:
    log.error(
        "audit.lost",
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=dict(entry.detail),
    )

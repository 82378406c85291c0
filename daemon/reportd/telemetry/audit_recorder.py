"""Writes the audit record behind the daemon's back: what is noted waits in memory until the database has taken it.

Whoever notes something neither waits for the database nor hears that it is away. What there is no room for, and what
is left when the daemon ends, goes to the log.
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
"""Entries that wait while the database is away. A breaker whose probes fail makes two in five minutes."""

LAST_SECONDS = 2.0
"""How long the end of the daemon waits for what is not yet written."""

log = structlog.get_logger()


class Recorder:
    """Made by ``open_recorder``."""

    def __init__(self, waiting: trio.MemorySendChannel[AuditEntry]) -> None:
        self._waiting = waiting

    def note(self, entry: AuditEntry) -> None:
        """Never blocks and never raises."""
        try:
            self._waiting.send_nowait(entry)
        except (trio.WouldBlock, trio.ClosedResourceError):
            _lose(entry)

    def transition(self, change: Transition) -> None:
        """Note that a breaker has moved; a listener of ``Breakers``."""
        detail = {
            "before": change.source,
            "after": change.target,
            "reason": change.reason,
            "faults": list(change.faults),
        }
        self.note(AuditEntry(change.at, change.by, f"breaker.{change.event}", change.report_type, detail))


@asynccontextmanager
async def open_recorder(audit: Audit) -> AsyncIterator[Recorder]:
    """A recorder for as long as the block; at its end what still waits is written, if that takes no longer."""
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
                # One that nobody foresaw must not end the daemon, nor keep the others out.
                log.exception("audit.failed")
            finally:
                if not written:
                    _lose(entry)
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            _lose(waiting.receive_nowait())


def _lose(entry: AuditEntry) -> None:
    log.error(
        "audit.lost",
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=dict(entry.detail),
    )

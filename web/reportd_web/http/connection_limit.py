"""Limits the number of connections, and chooses which one to close for a new one."""

import orjson
import structlog
import trio

from reportd.system.log_throttle import ThrottledLog
from reportd_web.http.connection import Connection, Phase
from reportd_web.http.problems import MEDIA_TYPE

STUCK_SECONDS = 2.0
"""A client that has taken nothing of its response for this long may be closed when there are too many connections."""

MAX_REFUSALS = 32
"""Connections that get a refusal at a time. Further ones are closed without an answer."""

REFUSE_SECONDS = 1.0
RETRY_SECONDS = 5

_WAITING = (Phase.NEW, Phase.KEPT)

_BODY = orjson.dumps(
    {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "there are too many connections (http.max_connections), and all of them are busy",
    }
)
_REFUSAL = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_SECONDS}\r\nConnection: close\r\n"
    f"Cache-Control: no-store\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(_BODY)}\r\n\r\n"
).encode() + _BODY


class ConnectionLimit:
    """Tracks the connections that have a descriptor. ``most``: the limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._phases: dict[Connection, Phase] = {}
        # In each phase, the connection that has been in it for longest comes first.
        self._by_phase: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._sending: dict[Connection, float] = {}
        self._refusing = trio.CapacityLimiter(MAX_REFUSALS)
        self._log = ThrottledLog(structlog.get_logger())

    def __len__(self) -> int:
        return len(self._phases)

    # --- reports of the connections ------------------------------------------------------------------------------

    def entered(self, connection: Connection, phase: Phase) -> None:
        if (previous := self._phases.get(connection)) is not None:
            del self._by_phase[previous][connection]
        self._phases[connection] = phase
        self._by_phase[phase][connection] = None

    def sending(self, connection: Connection) -> None:
        self._sending[connection] = trio.current_time()

    def sent(self, connection: Connection) -> None:
        self._sending.pop(connection, None)

    def left(self, connection: Connection) -> None:
        if (phase := self._phases.pop(connection, None)) is not None:
            del self._by_phase[phase][connection]

    # --- room ----------------------------------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Make room for one more connection. Return False when all of them are being answered."""
        if len(self) < self._most:
            return True
        self._log.warning("http.crowded", connections=len(self))
        return self.shed()

    def shed(self) -> bool:
        """Close one connection. Return False when none can be closed.

        The order: one whose client is leaving; the one that waits longest for a request; for a body; one whose client
        takes nothing of its response. Of new and kept connections it takes from the larger group, so that a flood of
        one kind does not displace the other.
        """
        waiting = sorted(_WAITING, key=lambda phase: len(self._by_phase[phase]), reverse=True)
        for phase in (Phase.LEAVING, *waiting, Phase.RECEIVING):
            for connection in self._by_phase[phase]:
                connection.kill()
                return True
        for connection, since in self._sending.items():
            if since < trio.current_time() - STUCK_SECONDS and connection in self._phases:
                connection.kill()
                return True
        return False

    def dismiss(self) -> None:
        """Close all connections that are not inside a request."""
        for phase in _WAITING:
            for connection in list(self._by_phase[phase]):
                connection.kill()

    async def refuse(self, stream: trio.SocketStream) -> None:
        """Answer 503."""
        try:
            self._refusing.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(REFUSE_SECONDS):
                await stream.send_all(_REFUSAL)
                await stream.send_eof()
                # Closing with unread data may lose the response (RFC 9112, section 9.6).
                while await stream.receive_some():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._refusing.release_on_behalf_of(stream)

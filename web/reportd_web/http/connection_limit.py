"""All connections together: how many there may be, and which one makes room for another."""

import orjson
import structlog
import trio

from reportd.system.log_throttle import ThrottledLog
from reportd_web.http.connection import Connection, Phase
from reportd_web.http.problems import MEDIA_TYPE

STUCK_SECONDS = 2.0
"""Who takes nothing of his answer for so long makes room for others, where there are too many."""

MAX_REFUSALS = 32
"""Connections that are being refused at once. Those beyond are closed without a word."""

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


class Crowd:
    """Those that have a descriptor. ``most``: how many may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._present: dict[Connection, Phase] = {}
        # Who has been in it for longest comes first.
        self._in: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._sending: dict[Connection, float] = {}
        self._refusing = trio.CapacityLimiter(MAX_REFUSALS)
        self._log = ThrottledLog(structlog.get_logger())

    def __len__(self) -> int:
        return len(self._present)

    # --- what connections tell -----------------------------------------------------------------------------------

    def entered(self, connection: Connection, phase: Phase) -> None:
        if (before := self._present.get(connection)) is not None:
            del self._in[before][connection]
        self._present[connection] = phase
        self._in[phase][connection] = None

    def sending(self, connection: Connection) -> None:
        self._sending[connection] = trio.current_time()

    def sent(self, connection: Connection) -> None:
        self._sending.pop(connection, None)

    def left(self, connection: Connection) -> None:
        if (phase := self._present.pop(connection, None)) is not None:
            del self._in[phase][connection]

    # --- room ----------------------------------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Room for one more. False when all that are there are being answered."""
        if len(self) < self._most:
            return True
        self._log.warning("http.crowded", connections=len(self))
        return self.shed()

    def shed(self) -> bool:
        """Close one whose client leaves, else the one that waits longest for a request, else for a body; else one whose
        client takes nothing. False when there is none.

        Of new ones and of kept ones, whichever are more: so a flood of either kind leaves the other alone.
        """
        waiting = sorted(_WAITING, key=lambda phase: len(self._in[phase]), reverse=True)
        for phase in (Phase.LEAVING, *waiting, Phase.RECEIVING):
            for connection in self._in[phase]:
                connection.kill()
                return True
        for connection, since in self._sending.items():
            if since < trio.current_time() - STUCK_SECONDS and connection in self._present:
                connection.kill()
                return True
        return False

    def dismiss(self) -> None:
        """Close all that are not inside a request."""
        for phase in _WAITING:
            for connection in list(self._in[phase]):
                connection.kill()

    async def refuse(self, stream: trio.SocketStream) -> None:
        """Say that there is no room."""
        try:
            self._refusing.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(REFUSE_SECONDS):
                await stream.send_all(_REFUSAL)
                await stream.send_eof()
                # Closing on unread data would take the answer away from the client (RFC 9112, section 9.6).
                while await stream.receive_some():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._refusing.release_on_behalf_of(stream)

"""Serves the application, and spares it the clients that would hold it up.

Whatever comes on a connection, the worst is that this connection ends, and that a line is logged once a minute.
"""

import errno
import socket
from functools import partial

import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reportd.system.log_throttle import ThrottledLog
from reportd_web.http.connection import SEND_SECONDS, Connection, Phase, Server
from reportd_web.http.connection_limit import Crowd

GRACE_SECONDS = 3.0
"""How long what is being answered may take once the daemon stops. It closes the rest of itself only then, and both must
be done long before ``stopping.CUT_SECONDS`` are over.
"""

BACKLOG = 1024

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
LINGER_PIECES = 16384
"""A body in single bytes costs a thousand times as much as one that comes in good pieces."""

ACCEPT_AGAIN_SECONDS = 0.1
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What accept(2) says when the process or the machine has no room for another connection."""


async def serve(
    app: ASGIApp,
    where: str | socket.socket,
    stop: trio.Event,
    max_connections: int,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Until ``stop`` is set; then what is being answered is finished. ``task_status`` gets the real URL.

    ``where``: HOST:PORT, or a socket that listens already. Raises OSError when it can't listen there.
    """
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(_listen(where)))
    crowd = Crowd(max_connections)
    server = Server(_patient(app, stop), crowd)
    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(
                    trio.serve_listeners,
                    partial(_converse, server, crowd),
                    [_Door(listener, crowd)],
                    handler_nursery=serving,
                )
            )
            task_status.started(_url(listener))
            await stop.wait()
            accepting.cancel_scope.cancel()
        await server.context.terminated.set()
        crowd.dismiss()
        serving.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS


async def _converse(server: Server, crowd: Crowd, stream: trio.SocketStream) -> None:
    """The whole life of a connection."""
    if not crowd.make_room():
        await crowd.refuse(stream)
        return
    connection = Connection(server, stream)
    crowd.entered(connection, Phase.NEW)
    try:
        await connection.run()
    except* Exception as errors:
        server.log.error("http.connection_failed", exc_info=errors)  # noqa: TRY400 - not the library's
    finally:
        crowd.left(connection)


class _Door(trio.abc.Listener[trio.SocketStream]):
    """Where there is no descriptor for who comes, one that only waits makes room."""

    def __init__(self, listener: trio.SocketListener, crowd: Crowd) -> None:
        self._listener = listener
        self._crowd = crowd
        self._log = ThrottledLog(structlog.get_logger())

    async def accept(self) -> trio.SocketStream:
        while True:
            try:
                return await self._listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._log.error("http.no_room", error=error.strerror, connections=len(self._crowd))
            self._crowd.shed()
            await trio.sleep(ACCEPT_AGAIN_SECONDS)

    async def aclose(self) -> None:
        await self._listener.aclose()


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(where: str | socket.socket) -> socket.socket:
    if isinstance(where, str):
        host, _, port = where.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    else:
        listener = where
    # Connections inherit both.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SEND_SECONDS * 1000))
    return listener


def _patient(app: ASGIApp, stop: trio.Event) -> ASGIApp:
    """Reads what is left of a body that was answered early, before the connection is closed.

    Closing on unread data resets the connection, and the client may lose the answer (RFC 9112, section 9.6);
    and hypercorn would wait for ever to hand over the rest.
    """

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        scope["reportd.stop"] = stop
        read = False

        async def noting_receive() -> Message:
            nonlocal read
            message = await receive()
            read = not message.get("more_body", False)
            return message

        async def lingering_send(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body") or read or not _has_body(scope):
                await send(message)
                return
            await send({**message, "more_body": True})
            async with trio.open_nursery() as nursery:
                enough = trio.Event()
                nursery.start_soon(_discard, receive, enough)
                with trio.move_on_after(LINGER_SECONDS):
                    await enough.wait()
                await send({"type": "http.response.body", "body": b""})
                nursery.cancel_scope.cancel()

        await app(scope, noting_receive, lingering_send)

    return patient


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


async def _discard(receive: Receive, enough: trio.Event) -> None:
    """Goes on after ``enough``, until the connection is closed."""
    size = pieces = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        pieces += 1
        if not message.get("more_body", False) or size > LINGER_BYTES or pieces > LINGER_PIECES:
            enough.set()
        if message["type"] == "http.disconnect":
            return

"""Serves the application, and protects it from slow and faulty clients.

Any input on a connection can at worst end that connection, and log a line once a minute.
"""

import errno
import socket
from functools import partial

import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reportd.system.log_throttle import ThrottledLog
from reportd_web.http.connection import SEND_SECONDS, Connection, Phase, Server
from reportd_web.http.connection_limit import ConnectionLimit

GRACE_SECONDS = 3.0
"""Time for the responses under way when the daemon stops. The daemon closes its other parts only afterwards, and both
must end long before ``app.shutdown.CUT_SECONDS`` are over.
"""

BACKLOG = 1024

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
LINGER_PIECES = 16384
"""A body in single bytes costs a thousand times as much as one in large pieces."""

ACCEPT_AGAIN_SECONDS = 0.1
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors of accept(2) when the process or the machine has no resources for another connection."""


async def serve(
    app: ASGIApp,
    where: str | socket.socket,
    stop: trio.Event,
    max_connections: int,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``stop`` is set; then finish the responses under way. ``task_status`` gets the real URL.

    ``where``: HOST:PORT, or a listening socket. Raises OSError when it can't listen there.
    """
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(_listen(where)))
    connections = ConnectionLimit(max_connections)
    server = Server(_lingering(app, stop), connections)
    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(
                    trio.serve_listeners,
                    partial(_serve_connection, server, connections),
                    [_Listener(listener, connections)],
                    handler_nursery=serving,
                )
            )
            task_status.started(_url(listener))
            await stop.wait()
            accepting.cancel_scope.cancel()
        await server.context.terminated.set()
        connections.dismiss()
        serving.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS


async def _serve_connection(server: Server, connections: ConnectionLimit, stream: trio.SocketStream) -> None:
    if not connections.make_room():
        await connections.refuse(stream)
        return
    connection = Connection(server, stream)
    connections.entered(connection, Phase.NEW)
    try:
        await connection.run()
    except* Exception as errors:
        server.log.error("http.connection_failed", exc_info=errors)  # noqa: TRY400 - structlog's logger
    finally:
        connections.left(connection)


class _Listener(trio.abc.Listener[trio.SocketStream]):
    """Closes an idle connection when no descriptor is left for a new one."""

    def __init__(self, listener: trio.SocketListener, connections: ConnectionLimit) -> None:
        self._listener = listener
        self._connections = connections
        self._log = ThrottledLog(structlog.get_logger())

    async def accept(self) -> trio.SocketStream:
        while True:
            try:
                return await self._listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._log.error("http.no_room", error=error.strerror, connections=len(self._connections))
            self._connections.shed()
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
    # Connections inherit both options.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SEND_SECONDS * 1000))
    return listener


def _lingering(app: ASGIApp, stop: trio.Event) -> ASGIApp:
    """Read the rest of a body that was answered early, before the connection is closed.

    Closing with unread data resets the connection, and the client may lose the response (RFC 9112, section 9.6);
    and hypercorn would wait for ever to pass on the rest.
    """

    async def lingering(scope: Scope, receive: Receive, send: Send) -> None:
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

    return lingering


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


async def _discard(receive: Receive, enough: trio.Event) -> None:
    """Read and drop the body. Set ``enough`` at its end or limit, and go on until the connection is closed."""
    size = pieces = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        pieces += 1
        if not message.get("more_body", False) or size > LINGER_BYTES or pieces > LINGER_PIECES:
            enough.set()
        if message["type"] == "http.disconnect":
            return

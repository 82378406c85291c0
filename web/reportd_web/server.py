"""Serves the application with hypercorn's trio worker, and spares it the clients that would hold it up."""

import logging
import socket

import hypercorn.trio
import trio
from hypercorn.config import Config
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GRACE_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 75.0
"""Longer than the 60 s of common load balancers: who closes first must not be the one that is sent requests."""

SEND_SECONDS = 20.0
"""A client that takes nothing for so long is cut off; without that it could hold up the end of the daemon."""

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024


async def serve(
    app: ASGIApp,
    where: str | socket.socket,
    stop: trio.Event,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Until ``stop`` is set; then what is being answered is finished. ``task_status`` gets the real URL.

    ``where``: HOST:PORT, or a socket that listens already. Raises OSError when it can't listen there.
    """
    config = Config()
    config.bind = [f"fd://{_listen(where).detach()}"]
    config.backlog = 1024
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.graceful_timeout = GRACE_SECONDS
    config.shutdown_timeout = GRACE_SECONDS
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.h11_max_incomplete_size = 64 * 1024
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(_serve, _patient(app, stop), config, stop)
        task_status.started(urls[0])


async def _serve(app: ASGIApp, config: Config, stop: trio.Event, task_status: trio.TaskStatus[list[str]]) -> None:
    await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)  # type: ignore[arg-type]


def _listen(where: str | socket.socket) -> socket.socket:
    if isinstance(where, str):
        host, _, port = where.rpartition(":")
        host = host.strip("[]")
        listener = socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
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
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
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
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False) or size > LINGER_BYTES:
            enough.set()
        if message["type"] == "http.disconnect":
            return

"""An HTTP server for tests: on a free loopback port, with pages that are scripted by the test, and a record of
what was asked for. ``async with open_site({"/report": "<p>…</p>"}) as site`` serves until the block ends.

A page is a text (HTML), a ``Reply``, or an async function that gets the request and the bare connection: those
below hang, stream for ever, or speak WebSocket.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import trio

from reportd.concurrency.nurseries import open_background


@dataclass(frozen=True, slots=True)
class Request:
    """What came. ``target`` as it was sent; ``headers`` by lower-case name."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of known length."""

    body: str | bytes = ""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, method: str = "GET") -> bytes:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        if self.status in (204, 304):
            body = b""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", f"Content-Length: {len(body)}"]
        if body:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else body)


Handler = Callable[[Request, trio.SocketStream], Awaitable[None]]
Content = str | Reply | Handler


class Site:
    """Made by ``open_site``. ``pages`` may change at any time; ``otherwise`` is what other paths get."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Content]) -> None:
        self.host = host
        self.port = port
        self.pages = dict(pages)
        self.otherwise: Content = Reply("<p>Not here</p>", status=404)
        self.requests: list[Request] = []
        self.connections = 0

    def url(self, path: str = "/", host: str = "") -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    def asked(self, path: str) -> list[Request]:
        """The requests for a path, the oldest first."""
        return [request for request in self.requests if request.path == path]

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            pending = b""
            while (arrived := await _receive(stream, pending)) is not None:
                request, pending = arrived
                self.requests.append(request)
                content = self.pages.get(request.path, self.otherwise)
                if callable(content):
                    await content(request, stream)
                    return
                reply = Reply(content) if isinstance(content, str) else content
                await stream.send_all(reply.encoded(request.method))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the browser has gone away


@asynccontextmanager
async def open_site(
    pages: Mapping[str, Content] | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Site]:
    """``host``: any address in 127.0.0.0/8; each is an origin of its own.

    ``port``: of ``servers.ports`` where a whole daemon is asked for many pages: its proxies take any port that the
    kernel gives, on another address maybe the same one, and no page may go to the daemon's own ports.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    site = Site(host, listeners[0].socket.getsockname()[1], pages or {})
    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, site.serve, listeners)
        yield site


# --- scripted behaviour -------------------------------------------------------------------------------------


async def hang(_: Request, stream: trio.SocketStream) -> None:
    """Never answers, until the browser gives up."""
    await _until_closed(stream)


async def hang_up(_: Request, stream: trio.SocketStream) -> None:
    """Ends the connection without an answer."""
    await stream.aclose()


async def hang_in_body(_: Request, stream: trio.SocketStream) -> None:
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n<p>So far, so good"
    )
    await _until_closed(stream)


async def stream_for_ever(_: Request, stream: trio.SocketStream) -> None:
    """A page without end."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<pre>")
    while True:
        await stream.send_all(b"more and more of it " * 4096)


async def accept_websocket(request: Request, stream: trio.SocketStream) -> None:
    """RFC 6455 section 4.2.2: upgrades, and then is silent."""
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    await _until_closed(stream)


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"Location": location})


def after(seconds: float, reply: Reply) -> Handler:
    """The reply, late."""

    async def handle(request: Request, stream: trio.SocketStream) -> None:
        await trio.sleep(seconds)
        await stream.send_all(reply.encoded(request.method))

    return handle


def of_size(size_bytes: int) -> Handler:
    """An HTML page of so many bytes, sent in pieces."""

    async def handle(_: Request, stream: trio.SocketStream) -> None:
        piece = b"<p>" + b"x" * 65533
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {size_bytes}\r\n\r\n"
        await stream.send_all(head.encode())
        for start in range(0, size_bytes, len(piece)):
            await stream.send_all(piece[: size_bytes - start])

    return handle


# --- HTTP/1.1 -----------------------------------------------------------------------------------------------


async def _receive(stream: trio.SocketStream, pending: bytes) -> tuple[Request, bytes] | None:
    """One request, and what has come of the next; None when the browser is done, or speaks something else."""
    while b"\r\n\r\n" not in pending:
        data = await stream.receive_some(65536)
        pending += data
        if not data or not pending[:1].isalpha():
            return None
    head, _, pending = pending.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(pending) < length:
        pending += await stream.receive_some(65536)
    parts = urlsplit(target)
    return Request(method, target, parts.path, dict(parse_qsl(parts.query)), headers, pending[:length]), pending[
        length:
    ]


async def _until_closed(stream: trio.SocketStream) -> None:
    while await stream.receive_some(65536):
        pass

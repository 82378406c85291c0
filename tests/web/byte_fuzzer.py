"""Connections with arbitrary bytes: mutations of HTTP/1.1, HTTP/2, WebSocket and TLS, noise, nothing, slow drips.

The same seed repeats a run.
"""

import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio

from tests.web import raw

READ_SECONDS = 0.05
"""The longest wait for an answer. Clients that leave early are also tested."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""

_BODY = b'{"reportType": "sales_summary", "parameters": {}, "userId": "nobody"}'
_HOST = b"Host: localhost\r\n"

_REQUESTS = (
    b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    b"GET /reports?limit=1 HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\nCookie: reportd=a.b.c.d; x\r\n\r\n",
    b"GET /reports/99999999-2222-4333-8444-555555555555?wait=0.01 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /events HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET http://localhost/healthz HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"DELETE /no/such HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /login HTTP/1.1\r\n" + _HOST + b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 7\r\n\r\ntoken=x",
    b"POST /reports/generate-async HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY),
    b"POST /reports/generate-async HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(_BODY), _BODY),
    b"POST /reports/generate-async HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY),
    b"POST /healthz HTTP/1.1\r\n" + _HOST + b"Content-Length: 200000\r\n\r\n" + bytes(200000),
    b"GET /static/status.css HTTP/1.1\r\n" + _HOST + b"Range: bytes=0-3\r\n\r\n",
)

_OTHERS = tuple(raw.SEEN.values())

_PIECES = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"\xff", b" ", b":", b";", b"0\r\n\r\n", b"HTTP/2.0", b"HTTP/1.0", b"PRI * "),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 99999999999999999999\r\n"),
    *(b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n", b"Connection: close\r\n"),
    *(
        b"Expect: 100-continue\r\n",
        b"HTTP2-Settings: a\r\n",
        b"Host: evil.example\r\n",
        b"Sec-WebSocket-Protocol: \xff\r\n",
    ),
    *(raw.PREFACE, raw.priorities(3), raw.frame(raw.CONTINUATION, 0, 1), raw.frame(raw.RST_STREAM, 0, 1, bytes(4))),
    *(raw.frame(raw.GOAWAY, 0, 0, bytes(8)), raw.frame(raw.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), raw.CLIENT_HELLO),
)


@dataclass(frozen=True, slots=True)
class Client:
    """Sends ``parts`` with pauses, then reads or does not, and closes in one of several ways."""

    parts: Sequence[bytes]
    pause_seconds: float
    reads: bool
    ends: bool
    """It closes its side before it reads."""
    resets: bool


def clients(seed: int, count: int) -> Iterator[Client]:
    chance = random.Random(seed)
    for _ in range(count):
        yield _client(chance)


def _client(chance: random.Random) -> Client:
    data = _conversation(chance)
    drips = chance.random() < 0.1
    if drips and data:
        cuts = sorted(chance.randrange(len(data)) for _ in range(chance.randrange(1, 12)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    else:
        parts = [data]
    reads, ends, resets = (chance.random() < share for share in (0.8, 0.2, 0.2))
    return Client(parts, 0.005 if drips else 0.0, reads, ends, resets)


def _conversation(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.02:
        return b""
    if kind < 0.07:
        return chance.randbytes(chance.choice((1, 30, 1000, 70_000)))
    many = chance.randrange(1, 5)
    sources = (_REQUESTS, _OTHERS, (*_REQUESTS, *_OTHERS))[0 if kind < 0.5 else 1 if kind < 0.8 else 2]
    data = b"".join(chance.choice(sources) for _ in range(many))
    for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
        data = chance.choice(_MUTATIONS)(data, chance)
    return data


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + chance.randbytes(1) + data[at + 1 :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_PIECES) + data[at:]


def _insert_line(data: bytes, chance: random.Random) -> bytes:
    """Insert a line where a header may be."""
    lines = data.split(b"\r\n")
    return b"\r\n".join([*lines[:1], chance.choice(_PIECES).removesuffix(b"\r\n"), *lines[1:]])


def _remove(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.choice((1, 2, 10, 1000)) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at : at + chance.choice((1, 20, 100))] * chance.choice((2, 50)) + data[at:]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flip, _insert, _insert_line, _remove, _repeat, _cut)


async def attack(port: int, seed: int, count: int, at_once: int = 40) -> None:
    """Open ``count`` connections. The answers do not matter."""
    places = trio.CapacityLimiter(at_once)
    async with trio.open_nursery() as nursery:
        for client in clients(seed, count):
            await places.acquire_on_behalf_of(client_id := object())
            nursery.start_soon(_run, port, client, places, client_id)


async def _run(port: int, client: Client, places: trio.CapacityLimiter, client_id: object) -> None:
    try:
        with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(5):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await _talk(stream, client)
    finally:
        places.release_on_behalf_of(client_id)


async def _talk(stream: trio.SocketStream, client: Client) -> None:
    if client.resets:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with trio.move_on_after(1):
        for part in client.parts:
            await stream.send_all(part)
            await trio.sleep(client.pause_seconds)
        if client.ends:
            await stream.send_eof()
    if client.reads:
        piece: bytes | bytearray = b"begin"
        while piece:
            piece = b""
            with trio.move_on_after(READ_SECONDS):
                piece = await stream.receive_some(65536)

"""The application on a real server, and clients that send any bytes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from reportd.concurrency.nurseries import open_background
from reportd_web.http import server
from tests.web.running import Running

URL = "/reports/generate-async"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A client that writes to the socket directly."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""

    async def send(self, *parts: str | bytes) -> None:
        await self.stream.send_all(b"".join(part.encode() if isinstance(part, str) else part for part in parts))

    async def answer(self, *, head: bool = False) -> Answer:
        while b"\r\n\r\n" not in self._received:
            await self._more()
        raw, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = raw.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status, size = int(first.split(" ")[1]), 0 if head else int(headers.get("content-length", "0"))
        while len(self._received) < size:
            await self._more()
        body, self._received = self._received[:size], self._received[size:]
        return Answer(status, headers, body)

    async def _more(self) -> None:
        piece = await self.stream.receive_some()
        assert piece, "the connection was closed"
        self._received += piece

    async def closed(self) -> bool:
        """Wait for a clean close by the server: no further byte, and no reset."""
        return not self._received and not await self.stream.receive_some()


@dataclass
class Served:
    running: Running
    url: str
    stop: trio.Event
    ended: trio.Event
    clients: AsyncExitStack

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def connect(self) -> Connection:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        return Connection(await self.clients.enter_async_context(stream))

    async def end(self) -> float:
        """Stop the server. Return how long that took."""
        began = trio.current_time()
        self.stop.set()
        await self.ended.wait()
        return trio.current_time() - began


@asynccontextmanager
async def serving(
    running: Running, bind: str = "127.0.0.1:0", *, within_seconds: float = 30.0, max_connections: int = 100
) -> AsyncIterator[Served]:
    stop, ended = trio.Event(), trio.Event()

    async def serve(task_status: trio.TaskStatus[str]) -> None:
        await server.serve(running.app, bind, stop, max_connections, task_status)
        ended.set()

    with trio.fail_after(within_seconds):
        async with open_background() as nursery, AsyncExitStack() as clients:
            url = await nursery.start(serve)
            yield Served(running, url, stop, ended, clients)
            stop.set()
            await clients.aclose()
            await ended.wait()


def post(size: int | str, **headers: str) -> str:
    """The head of a submission."""
    given = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(size)} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return f"POST {URL} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in given.items() if v) + "\r\n"


def get(path: str, method: str = "GET", **headers: str) -> str:
    given = {"Host": "localhost"} | headers
    return f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in given.items()) + "\r\n"

"""So many people have the status page open."""

import selectors
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

PAGES = 200


@asynccontextmanager
async def watching(port: int, count: int) -> AsyncIterator[None]:
    """So many open pages, in a process of their own."""
    command = [sys.executable, "-m", "tests.bench.watchers", str(port), str(count)]
    child = await trio.to_thread.run_sync(lambda: subprocess.Popen(command, stdin=subprocess.PIPE))
    try:
        await trio.sleep(2.0)
        yield
    finally:
        child.communicate(b"")


def read(port: int, count: int) -> None:
    """Take whatever comes, and do nothing with it, until standard input is closed."""
    selector, buffer = selectors.DefaultSelector(), bytearray(1 << 20)
    request = f"GET /events?as=html HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if not isinstance(key.fileobj, socket.socket):
                return
            if not key.fileobj.recv_into(buffer):
                raise ConnectionError("the daemon has ended a stream")


if __name__ == "__main__":
    read(int(sys.argv[1]), int(sys.argv[2]))

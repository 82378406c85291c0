"""What it costs that many people have the status page open, in PDFs a second and in processor time a PDF.

Rounds with and without them alternate. Processor time is that of the daemon and its browsers, so it tells the cost even
on a machine that is busy with something else.
"""

import os
import selectors
import socket
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.e2e.process import Daemon

PAGES = 200
TICKS = os.sysconf("SC_CLK_TCK")

Run = Callable[[Daemon, int, int], Awaitable[float]]


async def compare(daemon: Daemon, run: Run, rows: int, count: int, rounds: int) -> None:
    """Prints a line."""
    alone: list[tuple[float, float]] = []
    watched: list[tuple[float, float]] = []
    for _ in range(rounds):
        alone.append(await _measured(daemon, run, rows, count))
        async with watching(daemon.port, PAGES):
            watched.append(await _measured(daemon, run, rows, count))
    pace = statistics.median(b[0] / a[0] for a, b in zip(alone, watched, strict=True))
    work = statistics.median(b[1] / a[1] for a, b in zip(alone, watched, strict=True))
    print(
        f"  {rows} rows, {PAGES} pages open: {statistics.median(a for a, _ in alone):.2f} PDFs/s alone,"
        f" {statistics.median(b for b, _ in watched):.2f} watched, ratio {pace:.3f};"
        f" processor time a PDF {1000 * statistics.median(a for _, a in alone):.1f} ms alone,"
        f" {1000 * statistics.median(b for _, b in watched):.1f} ms watched, ratio {work:.3f}"
    )


async def _measured(daemon: Daemon, run: Run, rows: int, count: int) -> tuple[float, float]:
    """PDFs a second, and processor seconds a PDF."""
    before = _processor_seconds(daemon.pid)
    pace = await run(daemon, rows, count)
    return pace, (_processor_seconds(daemon.pid) - before) / count


def _processor_seconds(root: int) -> float:
    """Of a process and all below it."""
    parents, times = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        times[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    wanted, added = {root}, True
    while added:
        added = bool(more := {pid for pid, parent in parents.items() if parent in wanted} - wanted)
        wanted |= more
    return sum(times.get(pid, 0.0) for pid in wanted)


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

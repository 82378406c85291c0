"""The daemon's own memory: it does not grow with the jobs it has done, nor with the size of a PDF."""

import random
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.process import Daemon, finished, open_daemon, submit

pytestmark = pytest.mark.browser

PAGES = 120
SIDE = 250
"""Pixels of noise that compress to nothing less: 187 kB a picture."""

ROWS = [{"product": f"Lamp {n}", "quantity": n, "revenue": 10.5 * n} for n in range(20)]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}


def noise(seed: int) -> bytes:
    """A PNG (RFC 2083) of random pixels."""
    pixels = random.Random(seed).randbytes(3 * SIDE * SIDE)
    lines = b"".join(b"\0" + pixels[n * 3 * SIDE : (n + 1) * 3 * SIDE] for n in range(SIDE))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


async def answer(stream: trio.SocketStream) -> None:
    """One request: ``/N.png`` is a picture, anything else the page of all of them."""
    request = await stream.receive_some(65536)
    path = request.split(b" ")[1].decode()
    if path.endswith(".png"):
        kind, body = "image/png", await trio.to_thread.run_sync(noise, int(path[1:-4]))
    else:
        pictures = "".join(
            f'<p style="break-after: page">{n}<img src="/{n}.png" width="600" height="600"></p>' for n in range(PAGES)
        )
        kind, body = "text/html", f"<!doctype html>{pictures}".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await stream.send_all(head.encode() + body)
    await stream.aclose()


@asynccontextmanager
async def open_pictures() -> AsyncIterator[str]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def test_a_pdf_of_120_pages_and_20_megabytes_passes_in_little_memory(tmp_path: Path) -> None:
    async with open_pictures() as url, open_daemon(tmp_path, f'[reports.big]\nurl = "{url}"\n') as daemon:
        async with daemon.client() as client:
            report = await finished(client, await submit(client, "big", {}), within_seconds=120)
            assert report["state"] == "succeeded", report["error"]
            assert report["pdf"]["bytes"] >= 20_000_000
            async with client.stream("GET", report["pdf"]["url"]) as pdf:
                size = 0
                async for piece in pdf.aiter_raw():
                    size += len(piece)
            assert size == report["pdf"]["bytes"]
        peak = daemon.rss_mib("VmHWM")
        print(f"\n{size / 1e6:.1f} MB, peak RSS {peak:.0f} MiB")
        assert peak < 300
        assert list((daemon.data_dir / "spool").iterdir()) == []


@pytest.mark.soak
async def test_two_thousand_renders_do_not_grow_the_daemon(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        await _render(daemon, 200)
        before = daemon.rss_mib()
        await _render(daemon, 1800)
        after = daemon.rss_mib()
        print(f"\nRSS {before:.1f} MiB after 200 renders, {after:.1f} MiB after 2,000")
        assert after - before < 20


async def _render(daemon: Daemon, count: int) -> None:
    """So many more, a hundred waiting at most."""
    async with daemon.client() as client:
        for _ in range(count // 100):
            task_ids = [await submit(client, "sales_summary", PARAMETERS) for _ in range(100)]
            for task_id in task_ids:
                assert (await finished(client, task_id))["state"] == "succeeded"

"""The daemon under hostile connections: it lives, renders, and says that it is healthy (I12)."""

import json
import math
import os
import resource
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

import reportd_web
from reportd.concurrency.nurseries import open_background
from tests.e2e.process import Daemon, finished, open_daemon, submit
from tests.web.byte_fuzzer import attack
from tests.web.raw import SEEN

pytestmark = [pytest.mark.browser, pytest.mark.timed]

SEED = int(os.environ.get("REPORTD_TEST_SEED") or time.time())
ROWS = [{"product": "Lamp", "quantity": 1, "revenue": 10.0}]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}

SAMPLE = Path(reportd_web.__file__).parent / "reports" / "user_activity.sample.json"

HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
STREAM = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
AGAIN_SECONDS = 2.0


@pytest.fixture(autouse=True)
def _plenty_of_files() -> Iterator[None]:
    """For the clients."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def healthy(daemon: Daemon, within_seconds: float = 1.0) -> float:
    """How long it took to say so, on a connection of its own."""
    began = trio.current_time()
    with trio.fail_after(within_seconds):
        async with await trio.open_tcp_stream("127.0.0.1", daemon.port) as stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    return trio.current_time() - began


async def alive(daemon: Daemon, pid: int) -> None:
    """It is the same process, all of it works, and it ends when it is told to."""
    await healthy(daemon, within_seconds=10)
    async with daemon.client() as client:
        assert (await finished(client, await submit(client, "sales_summary", PARAMETERS)))["state"] == "succeeded"
    assert daemon.pid == pid
    assert await daemon.stop() == 0


# Bytes


async def test_what_once_ended_the_daemon_ends_a_connection(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        pid = daemon.pid
        for sent in SEEN.values():
            with trio.move_on_after(0.3):
                async with await trio.open_tcp_stream("127.0.0.1", daemon.port) as stream:
                    try:
                        await stream.send_all(sent)
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass
            await healthy(daemon)
        if curl := shutil.which("curl"):
            command = [curl, "-s", "-m", "5", "-o", "/dev/null", "--http2-prior-knowledge", "-T", "-"]
            await trio.run_process([*command, f"{daemon.url}/healthz"], stdin=bytes(3_000_000), check=False)
        await alive(daemon, pid)


@pytest.mark.soak
async def test_twenty_thousand_connections_with_anything_on_them(tmp_path: Path) -> None:
    print(f"\nseed {SEED}")
    async with open_daemon(tmp_path) as daemon:
        pid, began = daemon.pid, time.monotonic()
        for part in range(20):
            await attack(daemon.port, SEED + part, 1000)
            await healthy(daemon)
        print(f"20,000 connections in {time.monotonic() - began:.0f} s")
        print(f"memory {daemon.rss_mib():.0f} MiB, descriptors {descriptors(pid)}")
        await alive(daemon, pid)


# Numbers


async def test_a_flood_of_connections_holds_nothing_up(tmp_path: Path) -> None:
    """With few enough places that they do not suffice."""
    async with open_daemon(tmp_path, "max_connections = 120\n") as daemon:
        pid = daemon.pid
        async with flood(daemon, half_open=150, streams=20, polls=20):
            for _ in range(10):
                await healthy(daemon)
            assert await pace(daemon, 10) > 0
        await alive(daemon, pid)


@pytest.mark.soak
async def test_two_thousand_half_open_and_a_thousand_that_wait(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        pid = daemon.pid
        await pace(daemon, 50)
        before: list[float] = []
        during: list[float] = []
        waits: list[float] = []
        for _ in range(3):
            before.append(await pace(daemon, 100))
            async with flood(daemon, half_open=2000, streams=500, polls=500):
                open_ = descriptors(pid)
                async with open_background() as nursery:
                    nursery.start_soon(keep_asking, daemon, waits)
                    during.append(await pace(daemon, 100))
                print(f"\n{open_} descriptors; pace {before[-1]:.1f}/s, {during[-1]:.1f}/s in the flood", end="")
                print(f"; /healthz within {max(waits):.2f} s of {len(waits)} times", end="")
        print(f"\nratio {sum(during) / sum(before):.2f}")
        # The clients take one of the machine's cores: what is measured is theirs as well.
        assert max(waits) < 1.0
        assert sum(during) / sum(before) >= 0.9
        await alive(daemon, pid)


@pytest.mark.soak
async def test_where_the_system_allows_few_files_jobs_are_rendered_all_the_same(tmp_path: Path) -> None:
    limit = ["prlimit", "--nofile=1024:1024"]
    async with open_daemon(tmp_path, start=False) as daemon:
        daemon.command = [*limit, *daemon.command]
        await daemon.start()
        pid = daemon.pid
        async with flood(daemon, half_open=1100, streams=100, polls=100):
            await healthy(daemon)
            assert descriptors(pid) < 512
            assert await pace(daemon, 20) > 0
        await alive(daemon, pid)


async def pace(daemon: Daemon, count: int) -> float:
    """So many reports, in reports a second. All of them succeed at their first attempt."""
    async with daemon.client() as client:
        began = trio.current_time()
        task_ids = [await submit(client, "sales_summary", PARAMETERS) for _ in range(count)]
        for task_id in task_ids:
            # Without a long poll, of which this address may have no more.
            while (report := (await client.get(f"/reports/{task_id}")).json())["state"] in ("queued", "running"):
                await trio.sleep(0.05)
            assert (report["state"], report["attempts"]) == ("succeeded", 1)
        return count / (trio.current_time() - began)


async def keep_asking(daemon: Daemon, waits: list[float]) -> None:
    while True:
        waits.append(await healthy(daemon, math.inf))
        await trio.sleep(0.1)


@asynccontextmanager
async def flood(daemon: Daemon, *, half_open: int, streams: int, polls: int) -> AsyncIterator[None]:
    """Whoever is closed comes again."""
    async with daemon.client() as client:
        task_id = await postponed(client)
    poll = f"GET /reports/{task_id}?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with open_background() as nursery:
        for sent, count in ((HALF, half_open), (STREAM, streams), (poll, polls)):
            for number in range(count):
                nursery.start_soon(hold, daemon.port, sent)
                if number % 50 == 0:
                    await trio.sleep(0.01)
        await trio.sleep(1)
        yield


async def postponed(client: httpx.AsyncClient) -> str:
    """A report that will not be finished meanwhile."""
    answer = await client.post("/breakers/user_activity/open", json={"reason": "a test"})
    assert answer.status_code in (httpx.codes.OK, httpx.codes.CONFLICT), answer.text
    return await submit(client, "user_activity", json.loads(SAMPLE.read_text()))


async def hold(port: int, sent: bytes) -> None:
    while True:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(sent)
                while await stream.receive_some(65536):
                    pass
        except (OSError, trio.BrokenResourceError):
            pass
        await trio.sleep(AGAIN_SECONDS)

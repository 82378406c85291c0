"""A daemon whose event loop stands still: its health check fails, and systemd gets no sign of life from it."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
import trio

from reportd.telemetry.watchdog import LIMIT_SECONDS
from tests.e2e.process import open_daemon

UNIT = Path(__file__).parents[3] / "reportd.service"
WATCHDOG_SECONDS = 6.0
STANDSTILL_SECONDS = 6.5

# A signal handler runs on the thread of the event loop, between two of its steps.
PROGRAM = f"""
import resource, signal, sys, time
from reportd.cli.main import main
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGUSR1, lambda *_: time.sleep({STANDSTILL_SECONDS}))
sys.exit(main(sys.argv[1:]))
"""


def test_the_health_fails_before_systemd_restarts_the_daemon() -> None:
    found = re.search(r"^WatchdogSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert found
    assert float(found[1]) > LIMIT_SECONDS
    assert LIMIT_SECONDS < WATCHDOG_SECONDS < STANDSTILL_SECONDS


class Systemd:
    """systemd's end of the socket. ``heard``: the lines, and when they came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []

    async def listen(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            await server.bind(str(self.path))
            task_status.started()
            while True:
                lines = (await server.recv(4096)).decode().splitlines()
                self.heard += [(trio.current_time(), line) for line in lines]

    def signs(self) -> list[float]:
        """Return when the signs of life came."""
        return [at for at, line in self.heard if line == "WATCHDOG=1"]

    async def sign(self) -> float:
        """Wait for the next sign of life. Return when it came."""
        known = len(self.signs())
        while len(self.signs()) == known:
            await trio.sleep(0.02)
        return self.signs()[known]


@pytest.mark.browser
@pytest.mark.timed
async def test_a_loop_that_stands_still_fails_its_health_and_systemd_hears_nothing(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    init = Systemd(tmp_path / "notify")
    await nursery.start(init.listen)
    environ = {"NOTIFY_SOCKET": str(init.path), "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))}
    async with open_daemon(tmp_path, environ=environ, start=False) as daemon:
        daemon.command = [sys.executable, "-c", PROGRAM]
        await daemon.start()
        async with daemon.client() as client:
            assert (await client.get("/healthz")).status_code == httpx.codes.OK
            for _ in range(2):  # it hears in time, while all is well
                with trio.fail_after(WATCHDOG_SECONDS):
                    last = await init.sign()
            os.kill(daemon.pid, signal.SIGUSR1)
            await trio.sleep(1.0)
            with trio.move_on_after(STANDSTILL_SECONDS / 2) as waiting:
                await client.get("/healthz")
            assert waiting.cancelled_caught, "a loop that stands still can't answer"
            async with daemon.client() as other:
                answer = await other.get("/healthz")
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert re.search(r"event loop .* for \d+\.\d s", answer.json()["detail"])
            recovered = await init.sign()
            assert recovered - last > WATCHDOG_SECONDS, "systemd would not have noticed"
            with trio.fail_after(30):
                while (await client.get("/healthz")).status_code != httpx.codes.OK:
                    await trio.sleep(0.2)
            metrics = (await client.get("/metrics")).text
        bucket = re.search(r'lag_seconds_bucket{le="5\.0"} (\S+)\n', metrics)
        count = re.search(r"lag_seconds_count (\S+)\n", metrics)
        assert bucket
        assert count
        assert float(count[1]) - float(bucket[1]) == 1
        assert daemon.events("event_loop.stood_still")
        assert await daemon.stop() == 0
    told = [line for _, line in init.heard if line != "WATCHDOG=1" and not line.startswith("STATUS=")]
    assert told == ["READY=1", "STOPPING=1"]


@pytest.mark.browser
@pytest.mark.timed
async def test_what_systemd_does_then_shows_where_it_stood(tmp_path: Path) -> None:
    """systemd sends SIGABRT. The log then names the line, and no browser is left."""
    async with open_daemon(tmp_path, start=False) as daemon:
        daemon.command = [sys.executable, "-c", PROGRAM]
        await daemon.start()
        os.kill(daemon.pid, signal.SIGUSR1)
        await trio.sleep(0.5)
        os.kill(daemon.pid, signal.SIGABRT)
        with trio.fail_after(30):
            assert await daemon.ended() == -signal.SIGABRT
            while daemon.processes():
                await trio.sleep(0.05)
        log = daemon.log.read_text()
        assert "Fatal Python error: Aborted" in log
        assert 'File "<string>", line 5 in <lambda>' in log

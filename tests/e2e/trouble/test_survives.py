"""Unforeseen faults: the daemon goes on, and says which part is in trouble (I12)."""

import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from reportd.app.shutdown import LAST_SECONDS
from tests.e2e.operator.test_reload import TYPES, configure, reloaded
from tests.e2e.process import Daemon, finished, open_daemon, submit

pytestmark = pytest.mark.browser

DRAIN_SECONDS = 1.0


@asynccontextmanager
async def spoilt(daemon: Daemon, table: str) -> AsyncIterator[None]:
    """Make every write to that table fail."""
    file = daemon.data_dir / "reportd.db"
    for event in ("INSERT", "UPDATE", "DELETE"):
        body = f"BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'no right to it'); END"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"CREATE TRIGGER spoilt_{event} {body}")
    yield
    for event in ("INSERT", "UPDATE", "DELETE"):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"DROP TRIGGER spoilt_{event}")


async def background(client: httpx.AsyncClient) -> Any:
    answer = await client.get("/readyz")
    assert answer.status_code == httpx.codes.OK, "it can accept and render"
    return answer.json()["parts"]["background"]


async def test_signs_of_life_that_cannot_be_given_cost_no_job_and_are_told(tmp_path: Path) -> None:
    (tmp_path / "word.html").write_text("<p>{{ word }}")
    async with open_daemon(tmp_path, TYPES.format(level="info", name="one")) as daemon, daemon.client() as client:
        assert await background(client) == {"ok": True, "detail": "no trouble"}
        async with spoilt(daemon, "nodes"):
            with trio.fail_after(20):
                while (await background(client))["ok"]:
                    await trio.sleep(0.1)
            detail = (await background(client))["detail"]
            assert detail.startswith("presence: ")
            assert "no right to it" in detail
            with trio.fail_after(10):
                while "background work presence has been failing" not in (await client.get("/")).text:
                    await trio.sleep(0.5)
            assert "no right to it" in (await client.get("/")).text
            assert 'reportd_part_ready{part="background"} 0.0' in (await client.get("/metrics")).text
            assert (await finished(client, await submit(client, "one", {"word": "x"})))["state"] == "succeeded"
        with trio.fail_after(60):
            while not (await background(client))["ok"]:
                await trio.sleep(0.2)
        failed = daemon.events("background.failed")
        assert {event["part"] for event in failed} == {"presence"}
        assert all("Traceback" in event["exception"] for event in failed)
        assert await daemon.stop() == 0


async def test_a_reload_survives_whatever_lies_in_the_place_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "word.html").write_text("<p>{{ word }}")
    good = TYPES.format(level="info", name="one")
    async with open_daemon(tmp_path, good) as daemon, daemon.client() as client:
        file = tmp_path / "reportd.toml"
        pid = daemon.pid
        configure(daemon, good.replace("word.html", "x" * 300))
        assert "File name too long" in await reloaded(daemon, "config.kept")
        for replace in (file.mkdir, partial(os.mkfifo, file), partial(file.symlink_to, "/dev/zero")):
            if file.is_dir():
                file.rmdir()
            else:
                file.unlink()
            replace()
            assert "can't be read" in await reloaded(daemon, "config.kept")
            assert "configuration" in (await background(client))["detail"]
        file.unlink()
        configure(daemon, good)
        await reloaded(daemon, "config.read")
        assert (await background(client))["ok"]
        assert (await finished(client, await submit(client, "one", {"word": "x"})))["state"] == "succeeded"
        assert daemon.pid == pid
        assert await daemon.stop() == 0


# A system call on the thread of the event loop that never returns, once the daemon stops.
HANGS = """
import sys, time
from reportd.app import processing
from reportd.cli.main import main
processing.drain = lambda *_: time.sleep(3600)
sys.exit(main(sys.argv[1:]))
"""


async def test_what_can_not_be_cancelled_is_ended_and_takes_its_browsers_with_it(tmp_path: Path) -> None:
    config = f"[shutdown]\ndrain_seconds = {DRAIN_SECONDS}\n"
    async with open_daemon(tmp_path, config, start=False) as daemon:
        daemon.command = [sys.executable, "-c", HANGS]
        await daemon.start()
        begun = trio.current_time()
        os.kill(daemon.pid, signal.SIGTERM)
        with trio.fail_after(30):
            assert await daemon.ended() == 1
        assert trio.current_time() - begun == pytest.approx(DRAIN_SECONDS + LAST_SECONDS, abs=1.5)
        assert "in <lambda>" in daemon.log.read_text(), "where it stood"
        with trio.fail_after(10):
            while daemon.processes() or daemon.profiles():
                await trio.sleep(0.05)

"""A daemon that is told to read its configuration again, and one that systemd listens for."""

import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest
import trio

from reportd.config.report_types import BUILT_IN
from tests.e2e.process import USER, Daemon, finished, open_daemon, submit
from tests.e2e.trouble.test_standstill import Systemd
from tests.wording import mentions

pytestmark = pytest.mark.browser

PAGE = "<p>{{ word }}"
TYPES = """
[log]
level = "{level}"
[reports.{name}]
template = "word.html"
"""

# As systemd starts one for a socket unit.
ACTIVATED = """
import os, socket, sys
listener = socket.create_server(("{host}", {port}))
os.dup2(listener.fileno(), 3)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
from reportd.cli.main import main
from reportd.config.report_types import BUILT_IN
sys.exit(main(sys.argv[1:]))
"""


def configure(daemon: Daemon, text: str) -> None:
    file = daemon.data_dir.parent / "reportd.toml"
    file.write_text(f'data_dir = "{daemon.data_dir}"\n[http]\nbind = "127.0.0.1:{daemon.port}"\n{text}')


async def reloaded(daemon: Daemon, event: str) -> str:
    """SIGHUP, and what the log says of it."""
    known = len(daemon.events(event))
    os.kill(daemon.pid, signal.SIGHUP)
    with trio.fail_after(20):
        while len(daemon.events(event)) == known:
            await trio.sleep(0.05)
    return str(daemon.events(event)[-1])


async def test_report_types_and_level_change_under_running_jobs(tmp_path: Path, nursery: trio.Nursery) -> None:
    (tmp_path / "word.html").write_text(PAGE)
    (tmp_path / "slow.html").write_text(PAGE)
    init = Systemd(tmp_path / "notify")
    await nursery.start(init.listen)
    slow = '[reports.slow]\ntemplate = "slow.html"\ndelay_seconds = 3\n'
    config = TYPES.format(level="warning", name="one") + slow
    async with (
        open_daemon(tmp_path, config, {"NOTIFY_SOCKET": str(init.path)}) as daemon,
        daemon.client() as client,
    ):
        under_way = await submit(client, "slow", {"word": "before"})
        with trio.fail_after(20):
            while (await client.get(f"/reports/{under_way}")).json()["state"] != "running":
                await trio.sleep(0.05)

        # Gone while a job of it is rendered; another one has come.
        configure(daemon, TYPES.format(level="info", name="two"))
        pid = daemon.pid
        assert "two" in await reloaded(daemon, "config.read")
        for gone in ("one", "slow"):
            body = {"reportType": gone, "parameters": {"word": "x"}, "userId": USER}
            answer = await client.post("/reports/generate-async", json=body)
            assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
        assert (await finished(client, await submit(client, "two", {"word": "after"})))["state"] == "succeeded"
        assert (await finished(client, under_way))["state"] == "succeeded"
        assert 'report_type="two"' in (await client.get("/metrics")).text
        breakers = (await client.get("/breakers")).json()["breakers"]
        assert {breaker["reportType"] for breaker in breakers} == {"two", *BUILT_IN}
        document = (await client.get("/openapi.json")).text
        assert '"two"' in document
        assert '"slow"' not in document

        # A mistake changes nothing and is told.
        configure(daemon, TYPES.format(level="loud", name="three"))
        assert "log.level" in await reloaded(daemon, "config.kept")
        assert (await finished(client, await submit(client, "two", {"word": "still"})))["state"] == "succeeded"
        with trio.fail_after(10):
            while not any(line.startswith("STATUS=") and "configuration" in line for _, line in init.heard):
                await trio.sleep(0.05)
        assert daemon.pid == pid
        assert await daemon.stop() == 0
    told = [line for _, line in init.heard if not line.startswith(("STATUS=", "WATCHDOG=", "MONOTONIC_USEC="))]
    assert told == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    standing = [line for _, line in init.heard if line.startswith("STATUS=")]
    assert standing[:2] == ["STATUS=opening database, queue and store", "STATUS=starting browsers"]
    assert standing[2].startswith(f"STATUS=serving http://127.0.0.1:{daemon.port}, 0 of 2 slots busy")
    assert any("1 of 2 slots busy, 1 job in hand" in line for line in standing)
    assert standing[-1].startswith("STATUS=draining: ")


async def test_a_hangup_during_the_start_does_no_harm(tmp_path: Path) -> None:
    async with open_daemon(tmp_path, start=False) as daemon:
        daemon.launch()
        until = time.monotonic() + 20
        while not (daemon.data_dir / "reportd.db").exists() and time.monotonic() < until:
            await trio.sleep(0.01)
        os.kill(daemon.pid, signal.SIGHUP)
        await daemon.wait_ready()
        with trio.fail_after(10):
            while not daemon.events("config.read"):
                await trio.sleep(0.05)
        assert await daemon.stop() == 0


async def test_who_is_listened_for_by_systemd_takes_that_socket(tmp_path: Path) -> None:
    (tmp_path / "word.html").write_text(PAGE)
    async with open_daemon(tmp_path, TYPES.format(level="info", name="one"), start=False) as daemon:
        configured = daemon.port
        daemon.command = [sys.executable, "-c", ACTIVATED.format(host="127.0.0.1", port=configured)]
        file = daemon.data_dir.parent / "reportd.toml"
        file.write_text(file.read_text().replace(f"127.0.0.1:{configured}", "127.0.0.1:1"))
        await daemon.start()
        async with daemon.client() as client:
            assert (await finished(client, await submit(client, "one", {"word": "x"})))["state"] == "succeeded"
        assert await daemon.stop() == 0


async def test_a_socket_that_others_reach_asks_for_tokens(tmp_path: Path) -> None:
    async with open_daemon(tmp_path, start=False) as daemon:
        daemon.command = [sys.executable, "-c", ACTIVATED.format(host="127.0.0.1", port=daemon.port)]
        # Only told to be elsewhere: nothing is bound there.
        program = daemon.command[2].replace(
            "from reportd.cli", "socket.socket.getsockname = lambda _: ('192.0.2.1', 80)\nfrom reportd.cli"
        )
        daemon.command[2] = program
        daemon.launch()
        with trio.fail_after(30):
            assert await daemon.ended() == 2
        assert mentions(daemon.log.read_text(), "systemd, 192.0.2.1:80: http.bind: ", "auth.tokens_file")

"""How the daemon stops (I9), how it is found again after it was killed (I1), and what it refuses at the start."""

import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from reportd.app.shutdown import LAST_SECONDS
from tests.e2e.process import Daemon, finished, open_daemon, submit

pytestmark = pytest.mark.browser


class SlowPage:
    """A page whose answers wait until they are let go. ``asked`` counts the requests."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.asked = 0
        self.go = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        self.asked += 1
        await self.go.wait()
        page = b"<h1>late</h1>"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        try:
            await stream.send_all(head % len(page) + page)
        except trio.BrokenResourceError:
            return  # the browser has gone away


@asynccontextmanager
async def open_slow_page() -> AsyncIterator[SlowPage]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    page = SlowPage(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, page.serve, listeners)
        yield page
        nursery.cancel_scope.cancel()


def config(page: SlowPage, drain_seconds: float) -> str:
    return f'[reports.slow]\nurl = "{page.url}"\n[shutdown]\ndrain_seconds = {drain_seconds}\n'


async def states(daemon: Daemon) -> Counter[str]:
    async with daemon.client() as client:
        return Counter(report["state"] for report in (await client.get("/reports")).json()["reports"])


async def until_asked(page: SlowPage, count: int) -> None:
    with trio.fail_after(20):
        while page.asked < count:
            await trio.sleep(0.02)


async def test_sigterm_lets_running_jobs_finish_and_gives_the_rest_back(tmp_path: Path) -> None:
    async with open_slow_page() as page, open_daemon(tmp_path, config(page, 30)) as daemon:
        async with daemon.client() as client:
            task_ids = [await submit(client, "slow", {}) for _ in range(5)]
        await until_asked(page, 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_let_go_once_it_drains, page, daemon)
            assert await daemon.stop() == 0
        assert daemon.processes() == []
        assert len(daemon.events("job.succeeded")) == 2
        assert page.asked == 2, "a job was begun after SIGTERM"
        await daemon.start()
        async with daemon.client() as client:
            reports = [await finished(client, task_id) for task_id in task_ids]
        assert [(report["state"], report["attempts"]) for report in reports] == [("succeeded", 1)] * 5


async def test_a_systemd_that_has_gone_is_no_reason_not_to_drain(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(address))
        environ = {"NOTIFY_SOCKET": str(address)}
        async with open_slow_page() as page, open_daemon(tmp_path, config(page, 30), environ) as daemon:
            async with daemon.client() as client:
                await submit(client, "slow", {})
            await until_asked(page, 1)
            address.unlink()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_let_go_once_it_drains, page, daemon)
                assert await daemon.stop() == 0
            assert len(daemon.events("job.succeeded")) == 1
            assert len(daemon.events("systemd.unreachable")) == 1


async def _let_go_once_it_drains(page: SlowPage, daemon: Daemon) -> None:
    while not daemon.events("daemon.stopping"):
        await trio.sleep(0.02)
    page.go.set()


async def test_what_is_not_finished_in_time_goes_back_at_once_and_has_used_no_attempt(tmp_path: Path) -> None:
    async with open_slow_page() as page, open_daemon(tmp_path, config(page, 0.3)) as daemon:
        async with daemon.client() as client:
            task_ids = [await submit(client, "slow", {}) for _ in range(3)]
        await until_asked(page, 2)
        assert await daemon.stop(within_seconds=10) == 0
        page.go.set()
        await daemon.start()
        async with daemon.client() as client:
            # Long before the visibility timeout of a minute: they were given back, not left.
            reports = [await finished(client, task_id, within_seconds=20) for task_id in task_ids]
        assert [(report["state"], report["attempts"]) for report in reports] == [("succeeded", 1)] * 3


async def test_who_never_sends_his_request_to_its_end_does_not_cut_the_daemon_off(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, await trio.open_tcp_stream("127.0.0.1", daemon.port) as client:
        head = "POST /reports/generate-async HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        await client.send_all(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        async with daemon.client() as other:
            await other.get("/healthz")
        os.kill(daemon.pid, signal.SIGTERM)
        while not daemon.events("daemon.stopping"):
            await trio.sleep(0.02)
        assert await daemon.stop(within_seconds=LAST_SECONDS) == 0
        assert daemon.events("daemon.cut_off") == []


async def test_a_job_that_was_running_when_the_daemon_was_killed_is_done_once_more(tmp_path: Path) -> None:
    async with open_slow_page() as page, open_daemon(tmp_path, config(page, 30)) as daemon:
        async with daemon.client() as client:
            task_id = await submit(client, "slow", {})
        await until_asked(page, 1)
        await daemon.kill()
        with trio.fail_after(10):
            while daemon.processes() or daemon.profiles():
                await trio.sleep(0.05)
        page.go.set()
        await daemon.start()
        async with daemon.client() as client:
            report = await finished(client, task_id)
        assert (report["state"], report["attempts"]) == ("succeeded", 1)
        assert page.asked == 2


async def test_a_cancelled_job_stops_rendering_at_once(tmp_path: Path) -> None:
    async with open_slow_page() as page, open_daemon(tmp_path, config(page, 30)) as daemon, daemon.client() as client:
        task_id = await submit(client, "slow", {})
        await until_asked(page, 1)
        assert (await client.delete(f"/reports/{task_id}")).json()["state"] == "cancelled"
        with trio.fail_after(10):
            while (await client.get("/status")).json()["held"]:
                await trio.sleep(0.02)
        page.go.set()
        assert (await client.get(f"/reports/{task_id}")).json()["state"] == "cancelled"
        other = await submit(client, "slow", {})
        assert (await finished(client, other))["state"] == "succeeded"
        assert await states(daemon) == {"cancelled": 1, "succeeded": 1}


async def test_a_second_daemon_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        other = tmp_path / "other"
        other.mkdir()
        async with open_daemon(other, start=False, environ={"REPORTD_DATA_DIR": str(daemon.data_dir)}) as second:
            second.launch()
            assert await _ended(second) == 1
            assert f"another reportd uses {daemon.data_dir}" in second.log.read_text()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{daemon.url}/healthz")).status_code == httpx.codes.OK


async def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        other = tmp_path / "other"
        other.mkdir()
        bind = daemon.url.removeprefix("http://")
        async with open_daemon(other, start=False, environ={"REPORTD_HTTP__BIND": bind}) as second:
            second.launch()
            assert await _ended(second) == 1
            said = second.log.read_text()
            assert "Traceback" not in said
            assert bind in said


async def _ended(daemon: Daemon) -> int:
    with trio.fail_after(20):
        return await daemon.ended()

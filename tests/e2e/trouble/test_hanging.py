"""Engines that take connections and answer nothing: the daemon lives, says so, stops in time, and loses no job."""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from reportd.app.shutdown import LAST_SECONDS
from reportd.intake.service import ACCEPT_SECONDS
from tests.e2e.cluster import engines_config, new_engines
from tests.e2e.operator.test_shutdown import open_slow_page, until_asked
from tests.e2e.process import USER, Daemon, finished, open_daemon, submit
from tests.servers.aws import ENVIRONMENT
from tests.servers.postgresql import Postgres, running_postgres
from tests.servers.redis import running_redis

pytestmark = pytest.mark.browser

DRAIN_SECONDS = 2.0
LIMIT_SECONDS = DRAIN_SECONDS + LAST_SECONDS
MARGIN_SECONDS = 1.5
"""For a loaded machine to end a process."""

SHUTDOWN = f"[shutdown]\ndrain_seconds = {DRAIN_SECONDS}\n"
PARAMETERS = {"word": "x"}


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """No other test's: it is stopped in the middle."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(own_postgres: Postgres) -> Iterator[str]:
    with own_postgres.new_database("hanging") as url:
        yield url


def with_template(folder: Path) -> str:
    (folder / "word.html").write_text("<p>{{ word }}")
    return '[reports.word]\ntemplate = "word.html"\n'


async def stopped(daemon: Daemon) -> tuple[int, float]:
    """The exit status after SIGTERM, and how long it took."""
    begun = time.monotonic()
    status = await daemon.stop(within_seconds=90)
    seconds = time.monotonic() - begun
    print(f"ended with {status} after {seconds:.1f} s")
    return status, seconds


async def none_left(daemon: Daemon) -> None:
    """However it ended, its browsers did, too."""
    with trio.fail_after(10):
        while daemon.processes() or daemon.profiles():
            await trio.sleep(0.05)


async def test_while_postgresql_hangs_the_daemon_answers_and_afterwards_no_job_is_lost(
    tmp_path: Path, own_postgres: Postgres, database_url: str
) -> None:
    config = f'[database]\nurl = "{database_url}"\n{with_template(tmp_path)}{SHUTDOWN}'
    async with open_daemon(tmp_path, config) as daemon, daemon.client() as client:
        task_ids = [await submit(client, "word", PARAMETERS) for _ in range(5)]
        with own_postgres.hanging():
            refused: list[tuple[int, float]] = []

            async def try_to_submit() -> None:
                begun = trio.current_time()
                body = {"reportType": "word", "parameters": PARAMETERS, "userId": USER}
                answer = await client.post("/reports/generate-async", json=body)
                refused.append((answer.status_code, trio.current_time() - begun))

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(try_to_submit)
                await trio.sleep(1.5)
                with trio.fail_after(1.0):
                    assert (await client.get("/healthz")).status_code == httpx.codes.OK
                with trio.fail_after(2.5):
                    answer = await client.get("/readyz")
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert "no answer" in answer.json()["parts"]["database"]["detail"]
            assert [status for status, _ in refused] == [httpx.codes.SERVICE_UNAVAILABLE] * 3
            assert max(seconds for _, seconds in refused) < ACCEPT_SECONDS + MARGIN_SECONDS
            with trio.fail_after(ACCEPT_SECONDS + 10):
                answer = await client.get(f"/reports/{task_ids[0]}")
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        with trio.fail_after(30):
            while (await client.get("/readyz")).status_code != httpx.codes.OK:
                await trio.sleep(0.2)
        task_ids.append(await submit(client, "word", PARAMETERS))
        reports = [await finished(client, task_id) for task_id in task_ids]
        assert {report["state"] for report in reports} == {"succeeded"}
        assert await daemon.stop() == 0


async def test_a_database_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, own_postgres: Postgres, database_url: str
) -> None:
    async with open_slow_page() as page:
        config = f'[database]\nurl = "{database_url}"\n[reports.slow]\nurl = "{page.url}"\n'
        config += f"{SHUTDOWN}[queue]\nvisibility_seconds = 10\n"
        async with open_daemon(tmp_path, config) as daemon:
            async with daemon.client() as client:
                await submit(client, "slow", {})
            await until_asked(page, 1)
            with own_postgres.hanging():
                await trio.sleep(1.0)
                status, seconds = await stopped(daemon)
                assert seconds < LIMIT_SECONDS + MARGIN_SECONDS
                assert status == 1, "what it held is not given back"
                assert daemon.events("daemon.cut_off")
                await none_left(daemon)
            page.go.set()
            # The message comes back by itself.
            await daemon.start()
            async with daemon.client() as client:
                (report,) = (await client.get("/reports")).json()["reports"]
                assert (await finished(client, report["taskId"], within_seconds=90))["state"] == "succeeded"
            assert await daemon.stop() == 0


async def test_a_start_that_hangs_is_called_off_at_once(
    tmp_path: Path, own_postgres: Postgres, database_url: str
) -> None:
    config = f'[database]\nurl = "{database_url}"\n{SHUTDOWN}'
    async with open_daemon(tmp_path, config, start=False) as daemon:
        with own_postgres.hanging():
            daemon.launch()
            with trio.fail_after(20):
                while not (daemon.data_dir / "lock").exists():
                    await trio.sleep(0.05)
            await trio.sleep(0.5)
            status, seconds = await stopped(daemon)
        assert (status, seconds < 3 + MARGIN_SECONDS) == (0, True), seconds


async def test_redis_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running_redis() as redis:
        config = f'[breaker]\nstore = "{redis.url}"\n{with_template(tmp_path)}{SHUTDOWN}'
        async with open_daemon(tmp_path, config) as daemon:
            async with daemon.client() as client:
                with redis.hanging():
                    task_id = await submit(client, "word", PARAMETERS)
                    assert (await finished(client, task_id))["state"] == "succeeded"
                    status, seconds = await stopped(daemon)
            assert (status, seconds < LIMIT_SECONDS) == (0, True), seconds


class Relay:
    """In front of a server; once it is ``silent`` it takes connections and requests, and nothing goes on."""

    def __init__(self, port: int) -> None:
        self.silent = False
        self._port = port

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server)
            await self._pump(server, client)
            nursery.cancel_scope.cancel()

    async def _pump(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            async for piece in source:
                while self.silent:
                    await trio.sleep(0.05)
                await target.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


@asynccontextmanager
async def open_relay(server: str) -> AsyncIterator[tuple[Relay, str]]:
    relay = Relay(int(server.rpartition(":")[2]))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, relay.serve, listeners)
        yield relay, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_sqs_and_s3_that_hang_do_not_hold_up_the_end(tmp_path: Path, moto: str) -> None:
    async with open_relay(moto) as (relay, url), open_slow_page() as page:
        queue_url, dead_letter_url, bucket = new_engines(moto)
        queue_url, dead_letter_url = (one.replace(moto, url) for one in (queue_url, dead_letter_url))
        config = (
            f'[reports.slow]\nurl = "{page.url}"\n{SHUTDOWN}{engines_config(url, queue_url, dead_letter_url, bucket)}'
        )
        async with open_daemon(tmp_path, config, ENVIRONMENT) as daemon, daemon.client() as client:
            await submit(client, "slow", {})
            await until_asked(page, 1)
            relay.silent = True
            begun = time.monotonic()
            body = {"reportType": "slow", "parameters": {}, "userId": USER}
            answer = await client.post("/reports/generate-async", json=body)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert time.monotonic() - begun < ACCEPT_SECONDS + MARGIN_SECONDS
            status, seconds = await stopped(daemon)
            assert seconds < LIMIT_SECONDS + MARGIN_SECONDS
            assert status in (0, 1)
            await none_left(daemon)


async def test_a_second_signal_waits_for_no_job(tmp_path: Path) -> None:
    async with open_slow_page() as page:
        config = f'[reports.slow]\nurl = "{page.url}"\n[shutdown]\ndrain_seconds = 60\n'
        async with open_daemon(tmp_path, config) as daemon:
            async with daemon.client() as client:
                await submit(client, "slow", {})
            await until_asked(page, 1)
            os.kill(daemon.pid, signal.SIGTERM)
            await trio.sleep(1.0)
            status, seconds = await stopped(daemon)
            assert (status, seconds < 5) == (0, True), seconds
            page.go.set()
            await daemon.start()  # and what ran has gone back at once
            async with daemon.client() as client:
                (report,) = (await client.get("/reports")).json()["reports"]
                told = await finished(client, report["taskId"], within_seconds=15)
            assert (told["state"], told["attempts"]) == ("succeeded", 1)
            assert await daemon.stop() == 0

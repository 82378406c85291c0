"""A real daemon in a process of its own, for tests and benchmarks: started, killed, stopped, and looked at."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.servers.ports import free_port

START_SECONDS = 30.0
TERMINAL = frozenset({"succeeded", "quarantined", "cancelled"})
USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


class Daemon:
    """``reportd serve`` with a data folder and a configuration of its own. Made by ``open_daemon``."""

    def __init__(self, folder: Path, config: str, environ: Mapping[str, str]) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "reportd.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "reportd.cli.main"]
        self._config = folder / "reportd.toml"
        self._config.write_text(f'data_dir = "{self.data_dir}"\n[http]\nbind = "127.0.0.1:{self.port}"\n{config}')
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REPORTD_")}
        self._environ = {**kept, "HOME": str(folder), **environ}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def launch(self) -> None:
        """Start the process; ``wait_ready`` says when it serves."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self.command, "serve", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                cwd="/",
            )

    async def wait_ready(self) -> None:
        assert self._child is not None
        with trio.fail_after(START_SECONDS):
            async with httpx.AsyncClient(trust_env=False) as client:
                while True:
                    assert self._child.poll() is None, f"the daemon ended: {self.log.read_text()[-2000:]}"
                    try:
                        if (await client.get(f"{self.url}/readyz")).status_code == httpx.codes.OK:
                            return
                    except httpx.TransportError:
                        pass
                    await trio.sleep(0.05)

    async def start(self) -> None:
        self.launch()
        await self.wait_ready()

    async def kill(self) -> None:
        """SIGKILL: nothing is put in order."""
        assert self._child is not None
        self._child.kill()
        await trio.to_thread.run_sync(self._child.wait)

    async def stop(self, within_seconds: float = 60.0) -> int:
        """SIGTERM, and the exit status."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        with trio.fail_after(within_seconds):
            return await self.ended()

    async def ended(self) -> int:
        """The exit status, once it has ended by itself."""
        assert self._child is not None
        return await trio.to_thread.run_sync(self._child.wait, abandon_on_cancel=True)

    async def end(self) -> None:
        """However it stands: afterwards nothing of it runs."""
        if self._child is not None and self._child.poll() is None:
            await self.kill()
        with trio.fail_after(15):
            while self.processes() or self.profiles():
                await trio.sleep(0.05)

    # --- what it leaves on the machine ------------------------------------------------------------------------

    def processes(self) -> list[int]:
        """The processes of its browsers and their guard, found by the data folder in their command lines."""
        return [
            pid for pid in _pids() if str(self.data_dir) in _command(pid) and "reportd.cli.main" not in _command(pid)
        ]

    def browsers(self) -> list[int]:
        """The main processes of its browsers."""
        return [pid for pid in self.processes() if "--remote-debugging-pipe" in _command(pid) and _leads(pid)]

    def profiles(self) -> list[Path]:
        return list((self.data_dir / "browsers").glob("run-*"))

    def rss_mib(self, name: str = "VmRSS") -> float:
        """The daemon's own memory; ``VmHWM`` for its highest."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) / 1024

    def events(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one kind."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    # --- what it is asked -------------------------------------------------------------------------------------

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False)


@asynccontextmanager
async def open_daemon(
    folder: Path, config: str = "", environ: Mapping[str, str] | None = None, *, start: bool = True
) -> AsyncIterator[Daemon]:
    """A daemon that is gone after the block, with its browsers and their profiles."""
    daemon = Daemon(folder, config, environ or {})
    try:
        if start:
            await daemon.start()
        yield daemon
    finally:
        with trio.CancelScope(shield=True):
            await daemon.end()


async def submit(
    client: httpx.AsyncClient, report_type: str, parameters: Any, key: str = "", callback_url: str | None = None
) -> str:
    """The task id of an accepted report."""
    body = {"reportType": report_type, "parameters": parameters, "userId": USER}
    if callback_url is not None:
        body["callbackUrl"] = callback_url
    headers = {"Idempotency-Key": key} if key else {}
    answer = await client.post("/reports/generate-async", json=body, headers=headers)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    task_id: str = answer.json()["taskId"]
    return task_id


async def finished(client: httpx.AsyncClient, task_id: str, within_seconds: float = 60.0) -> dict[str, Any]:
    """The report once its state is terminal."""
    with trio.fail_after(within_seconds):
        while True:
            answer = await client.get(f"/reports/{task_id}", params={"wait": 20})
            assert answer.status_code == httpx.codes.OK, answer.text
            report: dict[str, Any] = answer.json()
            if report["state"] in TERMINAL:
                return report


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - names only


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False

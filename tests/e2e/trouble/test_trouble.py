"""What the daemon does while its disk is full or its database is locked: honest answers, and nothing lost (I1, I2)."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from tests.e2e.process import Daemon, finished, open_daemon, submit

pytestmark = pytest.mark.browser

ROWS = [{"product": "Lamp", "quantity": 1, "revenue": 10.0}]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}


async def test_a_database_locked_for_ten_seconds_loses_nothing(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        accepted = [await submit(client, "sales_summary", PARAMETERS) for _ in range(3)]
        answers: list[int] = []
        with sqlite3.connect(daemon.data_dir / "reportd.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            until = trio.current_time() + 10
            while trio.current_time() < until:
                answers.append(await _try(client))
            other.execute("ROLLBACK")
        other.close()
        assert set(answers) == {503}
        accepted.append(await submit(client, "sales_summary", PARAMETERS))
        reports = [await finished(client, task_id) for task_id in accepted]
        assert [report["state"] for report in reports] == ["succeeded"] * len(accepted)
        # Nothing that was refused has been kept.
        assert len((await client.get("/reports")).json()["reports"]) == len(accepted)


async def _try(client: httpx.AsyncClient) -> int:
    body = {"reportType": "sales_summary", "parameters": PARAMETERS, "userId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}
    answer = await client.post("/reports/generate-async", json=body)
    assert int(answer.headers["retry-after"]) > 0
    return answer.status_code


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, as only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_waited_out(tmp_path: Path, small_disk: Path) -> None:
    environ = {"REPORTD_ARTIFACTS__URL": f"file:{small_disk}/pdfs"}
    async with open_daemon(tmp_path, environ=environ) as daemon, daemon.client() as client:
        first = await submit(client, "sales_summary", PARAMETERS)
        assert (await finished(client, first))["state"] == "succeeded"
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            file.write(b"\0" * (shutil.disk_usage(small_disk).free - 4096))
        waiting = [await submit(client, "sales_summary", PARAMETERS) for _ in range(3)]
        await _until_waiting(daemon)
        for task_id in waiting:
            assert (await client.get(f"/reports/{task_id}")).json()["state"] in ("queued", "running")
        ballast.unlink()
        reports = [await finished(client, task_id) for task_id in waiting]
        assert [(report["state"], report["attempts"]) for report in reports] == [("succeeded", 1)] * 3
        assert not list((small_disk / "pdfs").rglob("*.part"))


async def _until_waiting(daemon: Daemon) -> None:
    with trio.fail_after(20):
        while not [entry for entry in daemon.events("waiting_for_part") if entry["part"] == "artifacts"]:
            await trio.sleep(0.05)

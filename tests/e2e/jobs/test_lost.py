"""An accepted job ends whatever happens to its message: a purged queue, a restored backup (I1, I6)."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trio

from tests.e2e.cluster import engines_config, new_engines
from tests.e2e.process import Daemon, finished, open_daemon, submit
from tests.servers.aws import ENVIRONMENT, ask_s3, ask_sqs

pytestmark = pytest.mark.browser

JOBS = 30
SLOTS_AND_PREFETCH = 10
WITHIN_SECONDS = 180.0
"""After the end of the fault, with default settings."""

QUICK = "visibility_seconds = 5\n"
PARAMETERS = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "lamp", "quantity": 1, "revenue": 10.5}],
}


@pytest.mark.parametrize("keys", [QUICK, pytest.param("", marks=pytest.mark.soak)], ids=["quick", "defaults"])
async def test_jobs_of_a_purged_queue_end_once(tmp_path: Path, moto: str, keys: str) -> None:
    queue_url, dead_letter_url, bucket = new_engines(moto)
    config = engines_config(moto, queue_url, dead_letter_url, bucket) + keys
    async with open_daemon(tmp_path, config, ENVIRONMENT) as daemon, daemon.client() as client:
        await _hold_open(client)
        task_ids = [await submit(client, "sales_summary", PARAMETERS, f"key-{n}") for n in range(JOBS)]
        await _all_put_off(daemon)
        ask_sqs(moto, "PurgeQueue", QueueUrl=queue_url)
        await _close(client)
        await _all_end_once(daemon, client, moto, bucket, task_ids)


@pytest.mark.parametrize("keys", [QUICK, pytest.param("", marks=pytest.mark.soak)], ids=["quick", "defaults"])
async def test_jobs_of_a_restored_backup_end_once(tmp_path: Path, moto: str, keys: str) -> None:
    queue_url, dead_letter_url, bucket = new_engines(moto)
    config = engines_config(moto, queue_url, dead_letter_url, bucket) + keys
    backup = tmp_path / "backup.db"
    async with open_daemon(tmp_path, config, ENVIRONMENT) as daemon:
        async with daemon.client() as client:
            await _hold_open(client)
            task_ids = [await submit(client, "sales_summary", PARAMETERS) for _ in range(JOBS)]
            await _all_put_off(daemon)
            with (
                closing(sqlite3.connect(daemon.data_dir / "reportd.db")) as live,
                closing(sqlite3.connect(backup)) as to,
            ):
                live.backup(to)
        assert await daemon.stop() == 0
        ask_sqs(moto, "PurgeQueue", QueueUrl=queue_url)
        for old in daemon.data_dir.glob("reportd.db*"):
            old.unlink()
        backup.rename(daemon.data_dir / "reportd.db")
        await daemon.start()
        async with daemon.client() as client:
            await _all_end_once(daemon, client, moto, bucket, task_ids)


async def _hold_open(client: httpx.AsyncClient) -> None:
    (await client.post("/breakers/sales_summary/open", json={"reason": "a test"})).raise_for_status()


async def _close(client: httpx.AsyncClient) -> None:
    (await client.post("/breakers/sales_summary/close", json={})).raise_for_status()


async def _all_put_off(daemon: Daemon) -> None:
    with trio.fail_after(60):
        while len({entry["taskId"] for entry in daemon.events("job.put_off")}) < JOBS:
            await trio.sleep(0.2)


async def _all_end_once(daemon: Daemon, client: httpx.AsyncClient, moto: str, bucket: str, task_ids: list[str]) -> None:
    begun = time.monotonic()
    with trio.fail_after(WITHIN_SECONDS):
        reports = [await finished(client, task_id, WITHIN_SECONDS) for task_id in task_ids]
    print(f"\nall ended {time.monotonic() - begun:.0f} s after the fault's end")
    assert {report["state"] for report in reports} == {"succeeded"}
    assert len(daemon.events("job.succeeded")) == JOBS
    listing = ask_s3(moto, "GET", f"{bucket}?list-type=2").text
    stored = {part.split("</Key>")[0] for part in listing.split("<Key>")[1:]}
    assert stored == {"pdfs/store.id", *(f"pdfs/{task_id[:2]}/{task_id}.pdf" for task_id in task_ids)}
    # A message that was just being put off may have escaped the purge.
    resent = sum(entry["count"] for entry in daemon.events("messages.resent"))
    assert JOBS - SLOTS_AND_PREFETCH <= resent <= JOBS
    assert f"{resent} messages were lost and sent again" in json.dumps((await client.get("/status")).json())
    assert f"{float(resent)}" in next(
        line
        for line in (await client.get("/metrics")).text.splitlines()
        if line.startswith('reportd_messages_resent_total{report_type="sales_summary"}')
    )

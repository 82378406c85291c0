"""Nothing is lost when the daemon and its browsers are killed at any instant (I1), and nothing is left behind.

The instants come from a seed. A browser is only killed while every job in it is there for the first time: a job that
loses two browsers is quarantined on purpose (I5), which other tests see to.
"""

import os
import random
import signal
import time
from pathlib import Path
from uuid import UUID, uuid5

import httpx
import pytest
import trio

from tests.e2e.process import Daemon, open_daemon, submit

SEED = int(os.environ.get("REPORTD_TEST_SEED") or time.time())
NAMESPACE = UUID("b6d1a2a2-4a63-4c50-b0ef-0e6a8f2a9b11")


@pytest.mark.browser
async def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    await _chaos(tmp_path, jobs=40, daemon_kills=2, browser_kills=2, seed=SEED)


@pytest.mark.browser
@pytest.mark.soak
async def test_many_kills_lose_nothing(tmp_path: Path) -> None:
    await _chaos(tmp_path, jobs=300, daemon_kills=10, browser_kills=10, seed=SEED)


async def _chaos(folder: Path, *, jobs: int, daemon_kills: int, browser_kills: int, seed: int) -> None:
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    async with open_daemon(folder) as daemon:
        task_ids: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_submit_all, daemon, jobs, task_ids, rng.random())
            # Spread over the run: each kill waits until some more jobs are done.
            kills = ["daemon"] * daemon_kills + ["browser"] * browser_kills
            rng.shuffle(kills)
            for number, victim in enumerate(kills, 1):
                await _until_done(daemon, number * jobs * 0.9 / (len(kills) + 1))
                await trio.sleep(rng.uniform(0, 0.5))
                if victim == "daemon":
                    await daemon.kill()
                    await trio.sleep(rng.uniform(0, 0.2))
                    await daemon.start()
                else:
                    await _kill_a_browser(daemon, rng)
        await _until_done(daemon, jobs)
        async with daemon.client() as client:
            reports = [(await client.get(f"/reports/{task_id}")).json() for task_id in task_ids]
            states = [report["state"] for report in reports]
            assert states.count("succeeded") == jobs, [r for r in reports if r["state"] != "succeeded"]
            for report in reports:
                pdf = await client.get(report["pdf"]["url"])
                assert pdf.content.startswith(b"%PDF-")
                assert len(pdf.content) == report["pdf"]["bytes"]
        stored = list((daemon.data_dir / "artifacts").rglob("*"))
        assert sum(path.suffix == ".pdf" for path in stored) == jobs
        assert [path.name for path in stored if path.is_file() and path.suffix != ".pdf"] == ["store.id"]
        assert await daemon.stop() == 0
        assert daemon.processes() == []
        assert daemon.profiles() == []
        assert list((daemon.data_dir / "spool").iterdir()) == []


async def _submit_all(daemon: Daemon, jobs: int, task_ids: list[str], salt: float) -> None:
    """As a careful client does: with a key, again when there was no answer."""
    async with daemon.client() as client:
        for number in range(jobs):
            rows = [{"product": f"灯具 {n}", "quantity": n + 1, "revenue": 10.5 * n} for n in range(20)]
            parameters = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": rows}
            key = str(uuid5(NAMESPACE, f"{salt} {number}"))
            while True:
                try:
                    task_ids.append(await submit(client, "sales_summary", parameters, key))
                    break
                except httpx.TransportError:
                    await trio.sleep(0.1)
            await trio.sleep(0.01)


async def _until_done(daemon: Daemon, count: float) -> None:
    with trio.fail_after(240):
        async with daemon.client() as client:
            while (await client.get("/status")).json()["jobs"]["succeeded"] < count:
                await trio.sleep(0.05)


async def _kill_a_browser(daemon: Daemon, rng: random.Random) -> None:
    with trio.fail_after(30):
        while True:
            browsers = daemon.browsers()
            alone = [entry for entry in daemon.events("job.started") if entry["alone"]]
            done = {entry["taskId"] for entry in daemon.events("job.succeeded")}
            if browsers and not [entry for entry in alone if entry["taskId"] not in done]:
                os.kill(rng.choice(browsers), signal.SIGKILL)
                return
            await trio.sleep(0.05)

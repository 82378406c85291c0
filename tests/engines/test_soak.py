"""200 jobs on real engines while a node is killed every ten seconds: each ends once (I1, I2, I6).

``database_url`` and ``breaker_store`` are fixtures of this folder: what they lead to may stand before PostgreSQL, or be
many servers of Redis.
"""

import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import trio

from tests.e2e.cluster import engines_config, new_engines
from tests.e2e.process import TERMINAL, USER, Daemon, open_daemon
from tests.servers.aws import ENVIRONMENT, ask_s3, ask_sqs

pytestmark = [pytest.mark.browser, pytest.mark.soak]

SEED = int(os.environ.get("REPORTD_TEST_SEED") or time.time())

JOBS = 200
NODES = 3
KILL_SECONDS = 10.0
PACE_SECONDS = 0.3
"""Between two submissions, so that they go on for a minute and meet half a dozen kills."""

END_SECONDS = 300.0
ROWS = [{"product": f"灯具 {n}", "quantity": n + 1, "revenue": 10.5 * n} for n in range(20)]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}


@pytest.mark.parametrize("kind", ["standard", "fifo"])
async def test_every_job_ends_once_while_nodes_are_killed(
    tmp_path: Path, elasticmq: str, s3: str, database_url: str, breaker_store: str, kind: str
) -> None:
    print(f"\nseed {SEED}")
    queue_url, dead_letter_url, bucket = new_engines(elasticmq, s3_server=s3, fifo=kind == "fifo")
    config = f"""
[database]
url = "{database_url}"
[breaker]
store = "{breaker_store}"
{engines_config(s3, queue_url, dead_letter_url, bucket)}
visibility_seconds = 10
"""
    async with _running(tmp_path, config) as fleet:
        began = trio.current_time()
        task_ids: list[str] = []
        reports: dict[str, dict[str, Any]] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.kill_for_ever)
            for _ in range(JOBS):
                task_ids.append(await fleet.submit())
                await trio.sleep(PACE_SECONDS)
            with trio.fail_after(END_SECONDS):
                for task_id in task_ids:
                    reports[task_id] = await fleet.finished(task_id)
            nursery.cancel_scope.cancel()
        print(f"{kind}: {JOBS} jobs in {trio.current_time() - began:.0f} s, {fleet.kills} kills")
        assert Counter(report["state"] for report in reports.values()) == {"succeeded": JOBS}
        assert len(reports) == JOBS
        keys = {task_id: f"pdfs/{task_id[:2]}/{task_id}.pdf" for task_id in task_ids}
        listed = ask_s3(s3, "GET", f"{bucket}?list-type=2").text
        objects = sorted(part.split("</Key>")[0] for part in listed.split("<Key>")[1:])
        assert objects == sorted([*keys.values(), "pdfs/store.id"])
        for task_id, key in keys.items():
            # Nobody has put another rendering in the place of the one that is on record.
            stored = hashlib.sha256(ask_s3(s3, "GET", f"{bucket}/{key}").content).hexdigest()
            assert reports[task_id]["pdf"]["sha256"] == stored
        with trio.fail_after(60):
            # What a killed node held comes again, and is found to be settled.
            while any(_counts(elasticmq, queue_url)):
                await trio.sleep(0.5)
        assert not any(_counts(elasticmq, dead_letter_url))
        told = Counter(event["taskId"] for daemon in fleet.daemons for event in daemon.events("job.succeeded"))
        assert set(told.values()) == {1}
        # One that is killed between recording a success and logging it leaves no line.
        assert JOBS - fleet.kills * 2 <= len(told) <= JOBS


class _Fleet:
    def __init__(self, daemons: list[Daemon]) -> None:
        self.daemons = daemons
        self.kills = 0
        self._clients = [daemon.client() for daemon in daemons]
        self._random = random.Random(SEED)

    async def kill_for_ever(self) -> None:
        """One every so many seconds, be it that it has only just begun; it is started again at once."""
        while True:
            await trio.sleep(KILL_SECONDS)
            victim = self._random.choice(self.daemons)
            self.kills += 1
            await victim.kill()
            victim.launch()

    async def submit(self) -> str:
        """Whoever gets no answer asks another node, with the same key."""
        body = {"reportType": "sales_summary", "parameters": PARAMETERS, "userId": USER}
        headers = {"Idempotency-Key": str(uuid4())}
        answer = await self._ask("POST", "/reports/generate-async", json=body, headers=headers)
        task_id: str = answer["taskId"]
        return task_id

    async def finished(self, task_id: str) -> dict[str, Any]:
        while (report := await self._ask("GET", f"/reports/{task_id}?wait=5"))["state"] not in TERMINAL:
            pass
        return report

    async def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with trio.fail_after(60):
            while True:
                for client in self._random.sample(self._clients, NODES):
                    try:
                        answer = await client.request(method, path, **more)
                    except httpx.TransportError:
                        continue
                    if answer.status_code < httpx.codes.BAD_REQUEST:
                        told: dict[str, Any] = answer.json()
                        return told
                    assert answer.status_code in (429, 503), answer.text
                await trio.sleep(0.2)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def _running(folder: Path, config: str) -> AsyncIterator[_Fleet]:
    async with AsyncExitStack() as stack:
        daemons = []
        for number in range(NODES):
            own = folder / f"node-{number}"
            own.mkdir()
            daemons.append(await stack.enter_async_context(open_daemon(own, config, ENVIRONMENT)))
        fleet = _Fleet(daemons)
        try:
            yield fleet
        finally:
            await fleet.close()


def _counts(server: str, url: str) -> list[int]:
    names = [f"ApproximateNumberOfMessages{which}" for which in ("", "NotVisible", "Delayed")]
    told = ask_sqs(server, "GetQueueAttributes", QueueUrl=url, AttributeNames=names)["Attributes"]
    return [int(told[name]) for name in names]

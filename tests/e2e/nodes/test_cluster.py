"""Many nodes on SQS, S3, PostgreSQL and Redis: nothing is lost, nothing is done twice (I1, I2, I6, I8, I9)."""

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
import trio

from tests.e2e.cluster import QUEUE_LIMIT_BYTES, Cluster, open_cluster
from tests.e2e.process import USER, Daemon, finished, submit
from tests.servers.aws import REGION, ask_sqs
from tests.servers.faulty_proxy import open_proxy
from tests.servers.postgresql import Postgres
from tests.servers.site import Site, open_site

pytestmark = pytest.mark.browser

SEED = int(os.environ.get("REPORTD_TEST_SEED") or time.time())

ROWS = [{"product": f"灯具 {n}", "quantity": n + 1, "revenue": 10.5 * n} for n in range(20)]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}


async def test_kills_and_drains_lose_nothing(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    await _cluster_chaos(tmp_path, moto, postgres, nodes=2, jobs=60, kills=2)


@pytest.mark.soak
async def test_many_kills_and_drains_lose_nothing(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    await _cluster_chaos(tmp_path, moto, postgres, nodes=3, jobs=600, kills=12)


async def _cluster_chaos(folder: Path, moto: str, postgres: Postgres, *, nodes: int, jobs: int, kills: int) -> None:
    print(f"\nseed {SEED}")
    rng = random.Random(SEED)
    async with (
        open_site({"/done": "thank you"}) as site,
        open_cluster(folder, moto, postgres, nodes=nodes, visibility_seconds=5, reports=_callbacks_to(site)) as cluster,
    ):
        # The first node takes the jobs in and stays; the others come and go.
        first, *others = cluster.daemons
        async with first.client() as client:
            async with trio.open_nursery() as nursery:
                task_ids: list[str] = []
                nursery.start_soon(_submit_all, client, jobs, task_ids, site.url("/done"))
                for number in range(1, kills + 1):
                    await _until_done(client, number * jobs * 0.9 / (kills + 1))
                    await trio.sleep(rng.uniform(0, 0.5))
                    victim = rng.choice(others)
                    if number == kills:
                        assert await victim.stop() == 0
                    else:
                        await victim.kill()
                    cluster.redis.stop()
                    await victim.start()
                    cluster.redis.start()
            await _until_done(client, jobs)
            reports = [await finished(client, task_id) for task_id in task_ids]
        assert Counter(report["state"] for report in reports) == {"succeeded": jobs}
        assert len(set(task_ids)) == jobs
        assert sorted(cluster.objects()) == sorted(f"pdfs/{task_id[:2]}/{task_id}.pdf" for task_id in task_ids)
        await _until_empty(cluster)
        await _one_callback_each(site, task_ids)
        for daemon in cluster.daemons:
            assert await daemon.stop() == 0
            assert daemon.processes() == []
        done = sum(len(daemon.events("job.succeeded")) for daemon in cluster.daemons)
        # A node that is killed between recording a success and logging it leaves no line.
        assert jobs - kills <= done <= jobs


def _callbacks_to(site: Site) -> str:
    return f'[callbacks]\nallowed_hosts = ["127.0.0.1:{site.port}"]'


async def _one_callback_each(site: Site, task_ids: list[str]) -> None:
    """A node that died while it sent one may have sent it twice, with the same id."""

    def heard() -> set[tuple[str, str]]:
        bodies = [(json.loads(one.body), one.headers["webhook-id"]) for one in site.asked("/done")]
        return {(body["data"]["taskId"], callback_id) for body, callback_id in bodies}

    with trio.fail_after(120.0):
        while len(heard()) < len(task_ids):
            await trio.sleep(0.2)
    assert sorted(task_id for task_id, _ in heard()) == sorted(task_ids)


async def _submit_all(client: httpx.AsyncClient, jobs: int, task_ids: list[str], callback_url: str | None) -> None:
    for _ in range(jobs):
        task_id = await submit(client, "sales_summary", PARAMETERS, callback_url=callback_url)
        task_ids.append(task_id)


async def _until_done(client: httpx.AsyncClient, count: float) -> None:
    with trio.fail_after(300):
        while (await client.get("/status")).json()["jobs"]["succeeded"] < count:
            await trio.sleep(0.1)


async def _until_empty(cluster: Cluster) -> None:
    """No message is left, visible or not. What a killed node held comes again, and is found to be settled."""
    with trio.fail_after(60):
        while any(cluster.messages(cluster.queue_url).values()):
            await trio.sleep(0.2)
    assert cluster.messages(cluster.dead_letter_url) == {"Visible": 0, "NotVisible": 0, "Delayed": 0}


async def test_outside_producers_and_large_parameters(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    async with open_cluster(tmp_path, moto, postgres, nodes=1) as cluster:
        (daemon,) = cluster.daemons
        async with daemon.client() as client:
            task_id = str(uuid4())
            await trio.to_thread.run_sync(_send_with_boto3, cluster, _message(task_id, traceId="abc"))
            report = await _appears(client, task_id)
            assert (report["state"], report["userId"]) == ("succeeded", USER)
            pdf = await client.get(report["pdf"]["url"], follow_redirects=True)
            assert pdf.content.startswith(b"%PDF-")
            assert pdf.headers["content-type"] == "application/pdf"

            rows = [{"product": f"灯具 {n} " + "x" * 150, "quantity": n, "revenue": 1.5 * n} for n in range(2700)]
            large = PARAMETERS | {"rows": rows}
            assert len(json.dumps(large, ensure_ascii=False).encode()) >= 2 * QUEUE_LIMIT_BYTES
            report = await finished(client, await submit(client, "sales_summary", large), within_seconds=120)
            assert report["state"] == "succeeded", report["error"]

            bad = str(uuid4())
            await trio.to_thread.run_sync(_send_with_boto3, cluster, _message(bad, reportType="no_such_type"))
            report = await _appears(client, bad)
            assert (report["state"], report["error"]["kind"]) == ("quarantined", "unknown_report_type")


def _message(task_id: str, **changes: Any) -> str:
    message = {
        "taskId": task_id,
        "reportType": "sales_summary",
        "parameters": PARAMETERS,
        "userId": USER,
        "submittedAt": "2026-01-31T09:30:00.250Z",
    }
    return json.dumps(message | changes)


def _send_with_boto3(cluster: Cluster, body: str) -> None:
    client = boto3.client(
        "sqs",
        endpoint_url=cluster.server,
        region_name=REGION,
        aws_access_key_id="AKIATESTING",
        aws_secret_access_key="s3cr3t-of-the-tests",
    )
    client.send_message(QueueUrl=cluster.queue_url, MessageBody=body)
    client.close()


async def _appears(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """The finished report of a message that nobody announced."""
    with trio.fail_after(60):
        while (await client.get(f"/reports/{task_id}")).status_code == httpx.codes.NOT_FOUND:
            await trio.sleep(0.05)
    return await finished(client, task_id)


async def test_sigterm_in_a_long_poll_leaves_no_message_invisible(
    tmp_path: Path, moto: str, postgres: Postgres
) -> None:
    async with open_cluster(tmp_path, moto, postgres, nodes=1, visibility_seconds=600) as cluster:
        (daemon,) = cluster.daemons
        await _until_polling(daemon)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_trickle, cluster)
            await trio.sleep(0.5)
            begun = trio.current_time()
            assert await daemon.stop() == 0
            assert trio.current_time() - begun < 10
        counts = cluster.messages(cluster.queue_url)
        assert counts["NotVisible"] == 0, counts


@pytest.mark.soak
async def test_sqs_is_asked_seldom(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    jobs = 300
    async with open_proxy(moto) as proxy:
        keys = f'endpoint_url = "{proxy.url}"\nprefetch = 10'
        async with open_cluster(tmp_path, moto, postgres, nodes=1, visibility_seconds=60, queue_keys=keys) as cluster:
            async with cluster.daemons[0].client() as client:
                proxy.seen.clear()
                task_ids: list[str] = []
                async with trio.open_nursery() as nursery:
                    for _ in range(10):
                        nursery.start_soon(_submit_all, client, jobs // 10, task_ids, None)
                await _until_done(client, jobs)
                await _until_empty(cluster)
                loaded = proxy.seen.copy()
            proxy.seen.clear()
            await trio.sleep(60)
            idle = proxy.seen.copy()
    print(f"\n{loaded.total() / jobs:.2f} requests a job at full load {dict(loaded)}; idle, 60 s: {dict(idle)}")
    assert loaded.total() <= 0.5 * jobs
    # Two queues, one poll of 20 seconds each at a time.
    assert idle.total() <= 2 * 60 / 20 + 2


async def _until_polling(daemon: Daemon) -> None:
    with trio.fail_after(10):
        while not daemon.events("daemon.ready"):
            await trio.sleep(0.05)
    await trio.sleep(0.5)


async def _trickle(cluster: Cluster) -> None:
    """Messages that come in at any instant of the stop."""
    for _ in range(40):
        await trio.to_thread.run_sync(_send_one, cluster)
        await trio.sleep(0.05)


def _send_one(cluster: Cluster) -> None:
    ask_sqs(cluster.server, "SendMessage", QueueUrl=cluster.queue_url, MessageBody=_message(str(uuid4())))

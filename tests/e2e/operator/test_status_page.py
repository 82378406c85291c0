"""The status page of a real daemon: what it did is on it, what somebody does shows at once, and its end is told."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.e2e.process import Daemon, finished, open_daemon, submit

CONFIG = '[reports.broken]\nurl = "http://127.0.0.1:9/{taskId}"\n'
PARAMETERS = json.loads(Path("web/reportd_web/reports/sales_summary.sample.json").read_text())


async def status(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/status")).json()
    return document


async def test_what_it_did_is_on_the_page(tmp_path: Path) -> None:
    async with open_daemon(tmp_path, CONFIG) as daemon, daemon.client() as client:
        task_id = await submit(client, "sales_summary", PARAMETERS)
        await finished(client, task_id)
        for _ in range(3):
            await submit(client, "broken", {})
        with trio.fail_after(30):
            while "broken</b> is OPEN for" not in (page := (await client.get("/")).text):
                await trio.sleep(0.1)
        assert f'href="/reports/{task_id}/pdf"' in page
        assert "Fault of a host that its page loads from" in page
        document = await status(client)
        figures = {view["reportType"]: view["figures"] for view in document["types"]}
        assert (figures["sales_summary"]["perMinute"], figures["sales_summary"]["failed"]) == (1.0, 0)
        assert figures["sales_summary"]["p95Seconds"] > 0
        assert figures["broken"]["failed"] >= 3
        assert document["queue"]["storedP95Seconds"] > 0
        assert document["jobs"]["succeeded"] == 1
        assert [node["name"] for node in document["nodes"]] == [document["node"]]
        assert document["pool"]["browsers"][0]["pid"] in daemon.browsers()
        text = re.sub("<[^>]*>", "", (await client.get(f"/jobs/{task_id}")).text)
        assert f"attempt 1 on {document['node']}: succeeded" in text


async def test_what_somebody_does_shows_at_once(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        assert "All clear" in (await client.get("/")).text
        for order, shown in (("open", "held OPEN"), ("close", "All clear"), ("open", "held OPEN")):
            answer = await client.post(f"/types/user_activity/{order}", data={"reason": "a try"}, follow_redirects=True)
            assert answer.url.path == "/"
            assert shown in answer.text, "however short a time ago the page was looked at"


async def test_its_end_is_told(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        ended = trio.Event()

        async def read(task_status: trio.TaskStatus[None]) -> None:
            async with client.stream("GET", "/events?as=html") as stream:
                started = False
                async for line in stream.aiter_lines():
                    if line.startswith("data: {") and not started:
                        started = True
                        task_status.started()
            ended.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(read)
            assert await daemon.stop(within_seconds=20) == 0
            with trio.fail_after(5):
                await ended.wait()
        assert await left(daemon) == []


async def left(daemon: Daemon) -> list[str]:
    """The nodes that the database still has."""
    await daemon.start()
    async with daemon.client() as client:
        document = await status(client)
        return [node["name"] for node in document["nodes"] if node["name"] != document["node"]]

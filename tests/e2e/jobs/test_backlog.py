"""One report type is held open and has filled its share of the backlog: the healthy ones notice nothing of it (I15)."""

import re
import statistics
from pathlib import Path

import httpx
import pytest
import trio

from tests.bench.pages import TEMPLATE, parameters
from tests.e2e.process import USER, finished, open_daemon, submit

MAX_BACKLOG = 400
CONFIG = f"""
[queue]
max_backlog = {MAX_BACKLOG}
[pool]
browsers = 1
pages_per_browser = 2
recycle_after_jobs = 100000
[reports.sick]
template = "bench.html"
[reports.healthy]
template = "bench.html"
[reports.other]
template = "bench.html"
"""

JOBS, ROUNDS = 40, 41
"""Many short rounds: whatever else the machine does is in both of a pair, or in few of them."""

KEPT_PACE = 0.97


async def answered(client: httpx.AsyncClient, report_type: str) -> httpx.Response:
    body = {"reportType": report_type, "parameters": parameters(20), "userId": USER}
    return await client.post("/reports/generate-async", json=body)


async def hold_and_fill(client: httpx.AsyncClient) -> httpx.Response:
    """Hold the sick type open and submit until nothing more of it is accepted; the refusal.

    What is accepted while the daemon counts may count twice for a second.
    """
    ordered = await client.post("/breakers/sick/open", json={"reason": "it is sick"})
    assert ordered.status_code == httpx.codes.OK, ordered.text
    accepted = 0
    with trio.fail_after(60):
        while True:
            answer = await answered(client, "sick")
            if answer.status_code == httpx.codes.ACCEPTED:
                accepted += 1
            elif accepted == MAX_BACKLOG:
                return answer
            else:
                await trio.sleep(0.2)


async def work(client: httpx.AsyncClient, jobs: int) -> float:
    """How long so many jobs of the healthy types take. Every one of them must be accepted, and succeed."""
    begun = trio.current_time()
    task_ids = [await submit(client, ("healthy", "other")[number % 2], parameters(20)) for number in range(jobs)]
    for task_id in task_ids:
        assert (await finished(client, task_id))["state"] == "succeeded"
    return trio.current_time() - begun


def folder(of: Path, name: str) -> Path:
    place = of / name
    place.mkdir()
    (place / "bench.html").write_text(TEMPLATE)
    return place


@pytest.mark.browser
async def test_a_held_type_with_its_share_full_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async with open_daemon(folder(tmp_path, "sick"), CONFIG) as daemon, daemon.client() as client:
        refused = await hold_and_fill(client)
        assert refused.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        told = refused.json()
        assert (told["limit"], told["waiting"], told["accepted"]) == ("report_type", MAX_BACKLOG, MAX_BACKLOG)
        await work(client, 20)
        with trio.fail_after(10):  # what is shown is a second old, and older on a busy machine
            while (status := (await client.get("/status")).json())["queue"]["visible"]:
                await trio.sleep(0.2)
        assert status["queue"]["held"] == MAX_BACKLOG
        scaling = status["scaling"]
        assert (scaling["held"], scaling["backlog"], scaling["nodesWanted"]) == (MAX_BACKLOG, 0, 1)
        findings = [finding["text"] for finding in status["verdict"]["findings"]]
        assert any(text.startswith("sick: ") and "refused within 10 min" in text for text in findings)
        assert any(text.startswith("sick is held OPEN") for text in findings)
        metrics = (await client.get("/metrics")).text
        refusals = r'reportd_submissions_refused_total{reason="report_type",report_type="sick"} [1-9]'
        assert re.search(refusals, metrics)
        assert f'reportd_queue_messages{{queue="main",state="held"}} {MAX_BACKLOG}.0' in metrics
        assert "reportd_nodes_wanted 1.0" in metrics


@pytest.mark.browser
@pytest.mark.soak
async def test_the_healthy_types_keep_their_pace(tmp_path: Path) -> None:
    async with (
        open_daemon(folder(tmp_path, "sick"), CONFIG) as sick,
        open_daemon(folder(tmp_path, "well"), CONFIG) as well,
        sick.client() as to_sick,
        well.client() as to_well,
    ):
        await hold_and_fill(to_sick)
        for client in (to_sick, to_well):
            await work(client, JOBS)
        ratios = []
        for number in range(ROUNDS):
            # In turn, so that a machine whose speed drifts slows both.
            order = (to_well, to_sick) if number % 2 else (to_sick, to_well)
            seconds = {id(client): await work(client, JOBS) for client in order}
            ratios.append(seconds[id(to_well)] / seconds[id(to_sick)])
        print(f"\nof the pace without a held type: {statistics.median(ratios):.3f}; {sorted(ratios)}")
        assert statistics.median(ratios) >= KEPT_PACE, ratios

"""Nodes that share their breakers through Redis: one probe at a time in all of them together (I4), whoever dies, and
while Redis is away each goes on alone.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.e2e.cluster import Cluster, open_cluster
from tests.e2e.load import open_load
from tests.e2e.nodes.test_cluster import PARAMETERS
from tests.e2e.process import Daemon, submit
from tests.servers.postgresql import Postgres
from tests.servers.site import Reply, Request, Site, hang, open_site

pytestmark = pytest.mark.browser

DOWN = Reply("<p>Sorry", status=500)
UP = "<p>The report"
PERIOD_SECONDS = 3.0
TIMEOUT_SECONDS = 5.0
LEASE_SECONDS = TIMEOUT_SECONDS + 10
NODES_SEE_WITHIN_SECONDS = 1.0
LOG_SECONDS = 1.0
"""A line is written a moment after what it tells of."""


@asynccontextmanager
async def open_flaky(folder: Path, moto: str, postgres: Postgres, nodes: int) -> AsyncIterator[tuple[Cluster, Site]]:
    """A cluster with a report type ``flaky``, whose page is down."""
    # A failed attempt is tried again soon and often, so that each job lives to see the end.
    queue_keys = "max_attempts = 20\nbackoff_seconds = 0.5\nmax_backoff_seconds = 1"
    breaker_keys = f"recovery_seconds = {PERIOD_SECONDS}\nmax_recovery_seconds = {PERIOD_SECONDS}"
    async with open_site({"/report": DOWN}) as site:
        reports = f'[reports.flaky]\nurl = "{site.url("/report?task={taskId}")}"\ntimeout_seconds = {TIMEOUT_SECONDS}'
        async with open_cluster(
            folder,
            moto,
            postgres,
            nodes=nodes,
            max_receive_count=5,
            queue_keys=queue_keys,
            breaker_keys=breaker_keys,
            reports=reports,
        ) as cluster:
            yield cluster, site
            # However often a message came again, the queue's own redrive has taken none (I3).
            assert [daemon.events("dead_letter.requeued") for daemon in cluster.daemons] == [[]] * nodes


async def test_in_an_outage_there_is_one_probe_a_period(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    await _outage(tmp_path, moto, postgres, nodes=2, periods=2)


@pytest.mark.soak
async def test_in_a_long_outage_four_nodes_probe_once_a_period(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    await _outage(tmp_path, moto, postgres, nodes=4, periods=10)


async def _outage(folder: Path, moto: str, postgres: Postgres, *, nodes: int, periods: int) -> None:
    async with open_flaky(folder, moto, postgres, nodes) as (cluster, site):
        daemons = cluster.daemons
        async with daemons[0].client() as client:
            task_ids = [await submit(client, "flaky", {}) for _ in range(10 * nodes)]
            await _until(lambda: len(_starts(daemons, probe=True)) > periods, 2 * PERIOD_SECONDS * (periods + 2))
            probes = [_at(start) for start in _starts(daemons, probe=True)]
            gaps = [round(later - earlier, 2) for earlier, later in pairwise(probes)]
            print(f"\n{len(probes)} probes, seconds between them: {gaps}")
            assert all(PERIOD_SECONDS <= gap < 2 * PERIOD_SECONDS for gap in gaps)
            known = _moved(daemons, "open")[0] + NODES_SEE_WITHIN_SECONDS + LOG_SECONDS
            assert [start for start in _starts(daemons, probe=False) if _at(start) > known] == []

            site.pages["/report"] = UP
            # Enough for every node to be given some, before and after.
            while not (closed := _moved(daemons, "closed")) or _now() < closed[0] + 2 * NODES_SEE_WITHIN_SECONDS:
                task_ids.append(await submit(client, "flaky", {}))
                await trio.sleep(0.1)
            known = closed[0] + NODES_SEE_WITHIN_SECONDS + LOG_SECONDS
            await _until_all_succeeded(client, len(task_ids))
            assert [entry for daemon in daemons for entry in daemon.events("job.put_off") if _at(entry) > known] == []
            for daemon in daemons:
                assert [start for start in _starts([daemon], probe=False) if _at(start) > closed[0]]
            reports = [(await client.get(f"/reports/{task_id}")).json() for task_id in task_ids]
        _see_that_attempts_are_requests(reports, site)
        assert sum(report["deferrals"] for report in reports) >= len(task_ids)


@pytest.mark.soak
async def test_the_next_probe_comes_by_itself_when_the_node_of_one_is_killed(
    tmp_path: Path, moto: str, postgres: Postgres
) -> None:
    async with open_flaky(tmp_path, moto, postgres, 4) as (cluster, site):
        async with cluster.daemons[0].client() as client:
            task_ids = [await submit(client, "flaky", {}) for _ in range(40)]
        await _until(lambda: bool(_moved(cluster.daemons, "open")), 20)
        # Those that were under way when it opened are done.
        await trio.sleep(NODES_SEE_WITHIN_SECONDS + LOG_SECONDS)
        caught = trio.Event()

        async def catch(request: Request, stream: trio.SocketStream) -> None:
            caught.set()
            await hang(request, stream)

        site.pages["/report"] = catch
        with trio.fail_after(20):
            await caught.wait()
        probe = _starts(cluster.daemons, probe=True)[-1]
        [holder] = [daemon for daemon in cluster.daemons if probe in daemon.events("job.started")]
        await holder.kill()
        site.pages["/report"] = UP
        others = [daemon for daemon in cluster.daemons if daemon is not holder]
        await _until(lambda: bool(_moved(others, "closed")), LEASE_SECONDS + 15)
        next_probe = next(start for start in _starts(others, probe=True) if _at(start) > _at(probe))
        seconds = _at(next_probe) - _at(probe)
        print(f"\nthe next probe came {seconds:.1f} s after the one whose node was killed")
        assert seconds >= LEASE_SECONDS - LOG_SECONDS
        async with others[0].client() as client:
            await _until_all_succeeded(client, len(task_ids))
            reports = [(await client.get(f"/reports/{task_id}")).json() for task_id in task_ids]
        _see_that_attempts_are_requests(reports, site, cut_off=probe["taskId"])


@pytest.mark.soak
async def test_while_redis_is_away_rendering_goes_on(tmp_path: Path, moto: str, postgres: Postgres) -> None:
    async with open_flaky(tmp_path, moto, postgres, 2) as (cluster, site):
        daemon, mix = cluster.daemons[0], ["sales_summary"] * 9 + ["flaky"]
        async with open_load(daemon, mix, PARAMETERS, backlog=50, doomed=["flaky"]) as load:
            await trio.sleep(5)
            usual = await _seconds_of(30)
            with cluster.redis.hanging():
                hanging = await _seconds_of(30)
            await trio.sleep(5)
            cluster.redis.stop()
            gone = await _seconds_of(30)
            cluster.redis.start()
            await trio.sleep(5)
            ends = await load.ends("sales_summary")
        site.pages["/report"] = UP
        async with daemon.client() as client:
            await _until_all_succeeded(client, sum(map(len, load.task_ids.values())))
            healthy, flaky = await load.reports("sales_summary"), await load.reports("flaky")
        paces = [sum(since <= end + load.begun < until for end in ends) / 30 for since, until in (usual, hanging, gone)]
        print("\nPDFs/s before, while Redis hangs, while it is gone: " + ", ".join(f"{pace:.1f}" for pace in paces))
        assert min(paces[1:]) > 0.5 * paces[0]
        # None lost, none double-counted.
        assert [len(healthy), len(flaky)] == [len(load.task_ids[name]) for name in ("sales_summary", "flaky")]
        assert Counter(report["attempts"] for report in healthy) == {1: len(healthy)}
        assert len(cluster.objects()) == len(healthy) + len(flaky)
        done = Counter(entry["taskId"] for daemon in cluster.daemons for entry in daemon.events("job.succeeded"))
        assert set(done.values()) == {1}
        _see_that_attempts_are_requests(flaky, site)


def _see_that_attempts_are_requests(reports: Sequence[dict[str, Any]], site: Site, cut_off: str = "") -> None:
    """Every attempt opened the page: being put off used none. Nor did the one whose node was killed."""
    asked = Counter(request.query["task"] for request in site.asked("/report"))
    asked.subtract([cut_off])
    assert {report["taskId"]: report["attempts"] for report in reports} == {
        report["taskId"]: asked[report["taskId"]] for report in reports
    }


# --- what the daemons' logs tell ----------------------------------------------------------------------------


def _starts(daemons: Sequence[Daemon], *, probe: bool) -> list[dict[str, Any]]:
    """In the order of time."""
    starts = [entry for daemon in daemons for entry in daemon.events("job.started")]
    return sorted((entry for entry in starts if entry["probe"] is probe and entry["reportType"] == "flaky"), key=_at)


def _moved(daemons: Sequence[Daemon], after: str) -> list[float]:
    """When the breaker came into that state."""
    moves = [entry for daemon in daemons for entry in daemon.events("breaker.moved")]
    return sorted(_at(entry) for entry in moves if entry["after"] == after)


def _at(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["timestamp"]).timestamp()


def _now() -> float:
    return datetime.now().astimezone().timestamp()


async def _seconds_of(seconds: float) -> tuple[float, float]:
    begun = _now()
    await trio.sleep(seconds)
    return begun, begun + seconds


async def _until(holds: Any, within_seconds: float) -> None:
    with trio.fail_after(within_seconds):
        while not holds():
            await trio.sleep(0.05)


async def _until_all_succeeded(client: httpx.AsyncClient, count: int) -> None:
    with trio.fail_after(120):
        while (await client.get("/status")).json()["jobs"]["succeeded"] < count:
            await trio.sleep(0.2)

"""Outcomes of jobs, dead letters and browsers are counted once."""

from collections import Counter
from typing import Any

import pytest
import trio

from reportd.browsers.pool import PoolSettings, open_pool
from reportd.core.faults import FaultKind
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import Outgoing
from reportd.telemetry.metrics import Metrics
from tests.daemon.node import Node, World, job
from tests.exposed import Samples, samples
from tests.fakes import FakeLauncher

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Counted:
    """A node whose jobs are counted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.metrics = Metrics({"report": "report"})
        self.node = Node(world)
        self.node.worker._meter = self.node.worker._settler._meter = self.node.triage._meter = self.metrics

    def seen(self) -> Samples:
        return samples(self.metrics.exposition())

    def jobs(self) -> Counter[str]:
        """Return the counts above 0 by outcome."""
        seen = self.seen().items()
        counts: Counter[str] = Counter()
        for name, value in seen:
            if name[0] == "reportd_jobs_total" and value:
                counts[dict(name[1:])["outcome"]] += int(value)
        return counts

    def failures(self) -> dict[tuple[str, str], float]:
        seen = self.seen().items()
        labels = [(dict(name[1:]), value) for name, value in seen if name[0] == "reportd_job_failures_total"]
        return {(label["report_type"], label["kind"]): value for label, value in labels}


async def test_success_is_counted_once_however_often_the_message_comes() -> None:
    world, one = World(), job()
    world.renderer.seconds = 2.0
    counted = Counted(world)
    await trio.sleep(5.0)
    for _ in range(3):
        await counted.node.handle(*await world.received(one))
    seen = counted.seen()
    assert counted.jobs() == {"succeeded": 1}
    assert seen["reportd_job_wait_seconds_sum", ("report_type", "report")] == pytest.approx(5.0, abs=0.1)
    assert seen["reportd_render_seconds_sum", ("report_type", "report")] == pytest.approx(2.0, abs=0.1)
    assert seen["reportd_job_duration_seconds_sum", ("report_type", "report")] == pytest.approx(7.0, abs=0.1)
    size = len(world.artifacts.stored[one.task_id])
    assert seen["reportd_pdf_bytes_total", ("report_type", "report")] == size


async def test_warnings_are_counted_once_by_kind_when_their_job_has_succeeded() -> None:
    world, one, other = World(), job(1), job(2)
    logo = JobWarning(WarningKind.RESOURCES, "https://cdn.internal/logo.png", "404", 3)
    style = JobWarning(WarningKind.RESOURCES, "https://cdn.internal/style.css", "500")
    for task_id in (one.task_id, other.task_id):
        world.renderer.warnings[task_id] = (logo, JobWarning(WarningKind.CLIPPED, "right", "80 mm"), style)
    world.renderer.faults[other.task_id] = [FaultKind.PAGE_STATUS]
    counted = Counted(world)
    for _ in range(3):
        await counted.node.handle(*await world.received(one))
    await counted.node.handle(*await world.received(other))
    seen = counted.seen()
    found = {
        kind: seen["reportd_job_warnings_total", ("kind", kind), ("report_type", "report")] for kind in WarningKind
    }
    assert found == dict.fromkeys(WarningKind, 0) | {WarningKind.RESOURCES: 4, WarningKind.CLIPPED: 1}


async def test_failures_and_dead_letters() -> None:
    world, one, other = World(), job(1), job(2, "of_nobody")
    world.renderer.faults[one.task_id] = [FaultKind.SCRIPT_ERROR, FaultKind.PAGE_STATUS]
    counted = Counted(world)
    await world.send(one)
    for _ in range(2):
        await counted.node.handle(*await world.queue.receive(1, 60.0))
    assert counted.jobs() == {"retried": 1, "dead_lettered": 1}
    assert counted.failures() == {("report", "script_error"): 1, ("report", "page_status"): 1}
    await world.queue.send([Outgoing("{", "", "", "")])
    await world.send(other)
    await counted.node.handle(*await world.queue.receive(2, 0.0))
    assert counted.failures()["other", "malformed_message"] == 1
    assert counted.failures()["other", "unknown_report_type"] == 1
    assert counted.jobs() == {"retried": 1, "dead_lettered": 2}
    await counted.node.triage.settle_visible()
    seen = counted.seen()
    assert seen["reportd_triage_verdicts_total", ("verdict", "quarantine")] == 3


async def test_what_is_called_off_is_no_failure() -> None:
    world, one = World(), job()
    world.renderer.seconds = 60.0
    counted = Counted(world)
    messages = await world.received(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counted.node.handle, *messages)
        await trio.sleep(5.0)
        counted.node.in_flight.cancel(one.task_id)
    assert counted.jobs() == {"cancelled": 1}
    assert counted.failures() == {}


async def test_browsers() -> None:
    metrics = Metrics({})
    launcher: Any = FakeLauncher()
    async with open_pool(launcher, PoolSettings(), metrics):
        assert samples(metrics.exposition())[("reportd_browsers_started_total",)] == 1
        launcher.browsers[0].died.set()
        await trio.sleep(60.0)
    seen = samples(metrics.exposition())
    assert seen[("reportd_browsers_lost_total",)] == 1
    assert seen[("reportd_browsers_started_total",)] == 2

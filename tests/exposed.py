"""What a scrape of /metrics brings, taken apart for tests; and the parts of a daemon to be scraped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from prometheus_client.parser import text_string_to_metric_families

from reportd.browsers.pool import PoolState
from reportd.browsers.supply import BrowserState
from reportd.concurrency.nurseries import open_background
from reportd.core.breaker.breaker import Breaker, BreakerEvent, BreakerState, Transition
from reportd.core.capacity.scaling import ScalingPolicy
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.jobs.warnings import WarningKind
from reportd.status.demand import Scaling
from reportd.status.prometheus import Exposition
from reportd.telemetry.metrics import Metrics
from tests.daemon.node import World
from tests.fakes import now

Samples = dict[tuple[str, *tuple[tuple[str, str], ...]], float]
"""By name and sorted labels."""


def samples(text: bytes) -> Samples:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def names(text: bytes) -> set[str]:
    """Of all series that there may be, as a query names them."""
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("# TYPE")]
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for _, _, name, kind in lines for suffix in suffixes.get(kind, ("",))}


def everything(metrics: Metrics, report_type: str) -> None:
    """Each call once."""
    metrics.accepted(report_type)
    metrics.refused(report_type, "backlog")
    metrics.started(report_type, 1.0)
    metrics.rendered(report_type, 1.0, 1000)
    metrics.failed(report_type, FaultKind.TIMEOUT)
    metrics.ended(report_type, JobEvent.SUCCEEDED, 1.0)
    metrics.warned(report_type, WarningKind.RESOURCES, 2)
    metrics.deferred(report_type)
    metrics.breaker_moved(
        Transition(
            report_type,
            BreakerState.CLOSED,
            BreakerEvent.TRIPPED,
            BreakerState.OPEN,
            0.0,
            "3 failures in a row",
            (),
            "node",
        )
    )
    metrics.triage_verdict("quarantined")
    metrics.callback("delivered")
    metrics.alert("webhook", "sent")
    metrics.browser_started()
    metrics.browser_lost()
    metrics.browser_recycled()
    metrics.loop_lag(0.01)


BROWSERS = (BrowserState(1, 5, 1, 100.0, retiring=False), BrowserState(2, 5, 1, 50.0, retiring=False))
POOL = PoolState(slots=4, busy=2, waiting=1, stalled=0, crashed=0, trouble="", browsers=BROWSERS)
BREAKERS = [Breaker("activity"), Breaker("of nobody"), Breaker("sales", BreakerState.HALF_OPEN)]


class Scene:
    """A daemon's parts, as a scrape sees them."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.parts = {"database": (True, "answers"), "queue": (True, "answers")}
        self.requests: dict[str, dict[str, int]] = {}
        self.metrics = Metrics({"sales": "sales", "activity": "activity"})
        self.exposition = Exposition(
            self.metrics,
            queues={"main": world.queue, "dead": world.dead},
            depth_seconds=30.0,
            requests=lambda: self.requests,
            pool=lambda: POOL,
            breakers=lambda: BREAKERS,
            in_flight=lambda: 3,
            parts=self._parts,
            demand=Scaling(
                jobs=world.jobs,
                slots=lambda: POOL.slots,
                render_seconds=lambda: self.metrics.render_seconds,
                policy=ScalingPolicy(),
                nursery=nursery,
                fresh_seconds=30.0,
            ).demand,
            nursery=nursery,
            clock=now,
        )

    async def _parts(self) -> dict[str, tuple[bool, str]]:
        return self.parts

    async def scrape(self) -> Samples:
        return samples(await self.exposition.text())


@asynccontextmanager
async def open_scene(world: World) -> AsyncIterator[Scene]:
    with world.without_threads():
        async with open_background() as nursery:
            yield Scene(world, nursery)

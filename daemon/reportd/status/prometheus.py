"""Makes the answer of ``GET /metrics``: the counters, and the current values of each part.

A scrape must not slow the daemon down, and must get an answer also while a part is unavailable. So expensive values are
cached, unknown ones are left out, and the text is made in a thread.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import trio
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from reportd.browsers.pool import PoolState
from reportd.concurrency.cached import Cached
from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.capacity.scaling import Demand
from reportd.core.status.snapshot import ready
from reportd.ports import Depth, UnavailableError
from reportd.telemetry.metrics import Metrics

PATIENCE_SECONDS = 1.0


class HasDepth(Protocol):
    """A queue, as far as it is needed here."""

    async def depth(self) -> Depth: ...


Parts = Mapping[str, tuple[bool, str]]
Requests = Mapping[str, Mapping[str, int]]


class Exposition:
    """Made by ``app``.

    ``queues``: the job queue as ``main``, the dead-letter queue as ``dead``; each is asked for its depth once in
    ``depth_seconds`` at most. ``requests``: number of SQS requests by queue and action. ``in_flight``: number of
    messages that this node holds. ``parts``: readiness of each part. ``demand``: the scaling figures at a queue depth.
    ``nursery``: the nursery in which a query that hangs goes on.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        queues: Mapping[str, HasDepth],
        depth_seconds: float,
        requests: Callable[[], Requests],
        pool: Callable[[], PoolState],
        breakers: Callable[[], Sequence[Breaker]],
        in_flight: Callable[[], int],
        parts: Callable[[], Awaitable[Parts]],
        demand: Callable[[Depth], Awaitable[Demand]],
        nursery: trio.Nursery,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._depths = {
            name: Cached("queue", queue.depth, nursery, fresh_seconds=depth_seconds, patience_seconds=PATIENCE_SECONDS)
            for name, queue in queues.items()
        }
        self._requests = requests
        self._pool = pool
        self._breakers = breakers
        self._in_flight = in_flight
        self._parts = parts
        self._demand = demand
        self._clock = clock

    async def text(self) -> bytes:
        """Return the metrics in Prometheus's text format, version 0.0.4."""
        depths: dict[str, Depth] = {}
        parts: dict[str, tuple[bool, str]] = {}

        async def read_depth(name: str, depth: Cached[Depth]) -> None:
            with suppress(UnavailableError):  # /readyz says why
                depths[name] = await depth.get()

        async def read_parts() -> None:
            parts.update(await self._parts())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_parts)
            for name, depth in self._depths.items():
                nursery.start_soon(read_depth, name, depth)
        current = [
            *_of_parts(parts),
            *_of_queues(depths, self._clock()),
            *_of_pool(self._pool()),
            *(_of_demand(await self._demand(depths["main"])) if "main" in depths else ()),
            *_of_breakers([b for b in self._breakers() if self._metrics.label(b.report_type) == b.report_type]),
            GaugeMetricFamily(
                "reportd_messages_held", "Messages that this node works on or has prefetched.", self._in_flight()
            ),
            _of_sqs(self._requests()),
        ]
        return await trio.to_thread.run_sync(self._metrics.exposition, current)


def _of_parts(parts: Parts) -> list[Metric]:
    by_part = GaugeMetricFamily("reportd_part_ready", "Whether a part works, as on /readyz.", labels=["part"])
    for name, (ok, _) in parts.items():
        by_part.add_metric([name], ok)
    text = "Whether the node should get requests, as on /readyz."
    return [by_part, GaugeMetricFamily("reportd_ready", text, ready(parts))]


def _of_queues(depths: Mapping[str, Depth], now: float) -> list[Metric]:
    messages = GaugeMetricFamily(
        "reportd_queue_messages",
        "Messages of a queue, each counted once; held ones wait for a breaker.",
        labels=["queue", "state"],
    )
    oldest = GaugeMetricFamily(
        "reportd_queue_oldest_message_age_seconds",
        "Age of the oldest visible message; unknown with SQS.",
        labels=["queue"],
    )
    for name, depth in depths.items():
        counts = {"visible": depth.visible, "in_flight": depth.in_flight, "delayed": depth.delayed}
        if name == "main":
            counts["held"] = depth.held
        for state, count in counts.items():
            messages.add_metric([name, state], count)
        if depth.oldest_at is not None or not depth.visible:
            oldest.add_metric([name], max(0.0, now - (depth.oldest_at or now)))
    return [messages, oldest]


def _of_pool(pool: PoolState) -> list[Metric]:
    memory = sum(browser.memory_mib for browser in pool.browsers) * 1024 * 1024
    return [
        GaugeMetricFamily("reportd_pool_slots", "Reports that this node renders at once.", pool.slots),
        GaugeMetricFamily("reportd_pool_busy_slots", "Slots that jobs use.", pool.busy),
        GaugeMetricFamily("reportd_pool_waiting_jobs", "Jobs of this node that wait for a slot.", pool.waiting),
        GaugeMetricFamily("reportd_pool_stalled_jobs", "Jobs that wait in a page, without a slot.", pool.stalled),
        GaugeMetricFamily("reportd_browsers", "Running browsers.", len(pool.browsers)),
        GaugeMetricFamily("reportd_browsers_memory_bytes", "Memory of the browsers.", memory),
    ]


def _of_demand(demand: Demand) -> list[Metric]:
    per_slot = "Messages waiting in the queue, per slot of this node."
    seconds = "How long this node alone needs for the messages waiting in the queue."
    gauges: list[Metric] = [
        GaugeMetricFamily("reportd_backlog_per_slot", per_slot, demand.backlog_per_slot),
        GaugeMetricFamily("reportd_backlog_seconds", seconds, demand.backlog_seconds),
    ]
    if demand.nodes_wanted is not None:
        text = "Number of nodes like this one that bring the wait to scaling.target_seconds."
        gauges.append(GaugeMetricFamily("reportd_nodes_wanted", text, demand.nodes_wanted))
    return gauges


def _of_breakers(breakers: Sequence[Breaker]) -> list[Metric]:
    text = "1 for the current state of a breaker, else 0."
    states = GaugeMetricFamily("reportd_breaker_state", text, labels=["report_type", "state"])
    for breaker in breakers:
        for state in BreakerState:
            states.add_metric([breaker.report_type, str(state)], breaker.state is state)
    return [states]


def _of_sqs(requests: Requests) -> Metric:
    family = CounterMetricFamily(
        "reportd_sqs_requests", "Requests to SQS, retries included.", labels=["queue", "action"]
    )
    for queue, actions in requests.items():
        for action, count in actions.items():
            family.add_metric([queue, action], count)
    return family

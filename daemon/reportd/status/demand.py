"""Measures the demand: the backlog against the slots, in figures that a fleet can be scaled by.

``core.capacity.scaling`` decides. Every node can compute them; one node at a time publishes them.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from reportd.concurrency.cached import DUTY_FACTOR, Cached
from reportd.core.capacity.scaling import Demand, Needs, ScalingPolicy, Workload, hold_demand, nodes_needed
from reportd.core.jobs.transitions import JobState
from reportd.ports import Depth, Jobs, UnavailableError

log = structlog.get_logger()

PUBLISH_SECONDS = 60.0
"""The standard resolution of CloudWatch metrics."""

LEASE_SECONDS = 1.5 * PUBLISH_SECONDS
PATIENCE_SECONDS = 10.0
LOOK_PATIENCE_SECONDS = 1.0


class ScalingMetricsSink(Protocol):
    """Takes the figures, e.g. CloudWatch."""

    async def publish(self, demand: Demand) -> None:
        """Publish the figures. Raises UnavailableError."""
        ...


class Scaling:
    """Computes the demand, one object for each node.

    ``fresh_seconds``: the maximum age of the number of running jobs. ``nursery``: the nursery in which a database query
    that hangs goes on.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        slots: Callable[[], int],
        render_seconds: Callable[[], float],
        policy: ScalingPolicy,
        nursery: trio.Nursery,
        fresh_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._slots = slots
        self._render_seconds = render_seconds
        self._policy = policy
        self._needs: Needs = ()
        self._counts = Cached(
            "database",
            jobs.counts,
            nursery,
            fresh_seconds=fresh_seconds,
            patience_seconds=LOOK_PATIENCE_SECONDS,
            duty_factor=DUTY_FACTOR,
        )

    async def demand(self, depth: Depth) -> Demand:
        """Return the demand at this queue depth. Never raises, and takes at most LOOK_PATIENCE_SECONDS."""
        try:
            running: int | None = (await self._counts.get()).get(JobState.RUNNING, 0)
        except UnavailableError:
            running = None
        # Held jobs wait for a breaker, delayed ones for their next attempt: more nodes would not start them sooner.
        load = Workload(depth.visible, running, max(1, self._slots()), self._render_seconds())
        needed = nodes_needed(load, self._policy)
        if needed is not None:
            self._needs = hold_demand(self._needs, needed, trio.current_time(), self._policy)
        return Demand(
            backlog=load.backlog,
            backlog_per_slot=load.backlog_per_slot,
            backlog_seconds=load.backlog_seconds,
            render_seconds=load.render_seconds,
            running=running,
            nodes_wanted=None if needed is None else self._needs[0][1],
            target_seconds=self._policy.target_seconds,
            held=depth.held,
        )

    async def publish(self, depth: Callable[[], Awaitable[Depth]], board: ScalingMetricsSink | None, node: str) -> None:
        """Publish every PUBLISH_SECONDS while this node has the lease. Skip a round when a part is unavailable."""
        while board is not None:
            try:
                with trio.fail_after(PATIENCE_SECONDS):
                    if await self._jobs.acquire_lease("publish_figures", node, LEASE_SECONDS):
                        await board.publish(await self.demand(await depth()))
            except UnavailableError as error:
                log.warning("figures.not_published", part=error.part, error=str(error))
            except trio.TooSlowError:
                log.warning("figures.not_published", error=f"no answer within {PATIENCE_SECONDS:g} s")
            await trio.sleep(PUBLISH_SECONDS)

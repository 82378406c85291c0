"""Wires what takes messages off the queue and turns them into PDFs: the folders ``work`` and ``breakers``."""

import random
import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog
import trio

from reportd.app import policies
from reportd.app.backends import Backends
from reportd.breakers.manager import Breakers
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.core.breaker.breaker import Transition
from reportd.ports import ANY, NULL_METER, Meter, Renderer, TokenSigner
from reportd.system.file_descriptors import Descriptors
from reportd.work.attempt_tokens import AttemptTokens
from reportd.work.bulkheads import Bulkheads
from reportd.work.heartbeat import RETRY_SECONDS, extend_visibility, renew_jobs
from reportd.work.in_flight import InFlightTasks
from reportd.work.job_waiters import JobWaiters
from reportd.work.poller import Poller, drain
from reportd.work.progress import report_progress
from reportd.work.settlement import MessageSettler
from reportd.work.timeouts import LearnedTimeouts
from reportd.work.worker import JobReportTypes, Worker

RETURNS_PER_SLOT = 10.0
"""Deferred messages that return a second and slot once a breaker has closed: enough to fill the slots, no flood."""

log = structlog.get_logger()


class Processing:
    """One a node. ``slots``: how many jobs can be rendered at once now. ``listeners`` hear of breaker transitions."""

    def __init__(
        self,
        config: Config,
        backends: Backends,
        *,
        node: str,
        renderer: Renderer,
        slots: Callable[[], int],
        types: JobReportTypes,
        supervisor: Supervisor,
        signer: TokenSigner | None = None,
        meter: Meter = NULL_METER,
        listeners: Iterable[Callable[[Transition], None]] = (),
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.in_flight = InFlightTasks()
        self.waiters = JobWaiters()
        self._backends = backends
        self._supervisor = supervisor
        self._drain_seconds = config.shutdown.drain_seconds
        self._timeouts = LearnedTimeouts(policies.timeout_factors(config))
        self._descriptors = Descriptors()
        self.breakers = Breakers(
            backends.breaker_store,
            policies.breaker_policy(config),
            node=node,
            report_types=config.reports,
            returns_per_second=lambda: RETURNS_PER_SLOT * slots(),
            listeners=[_log_transition, *listeners],
            chance=chance,
        )
        least = policies.least_places(config)
        self.bulkheads = Bulkheads(
            policies.concurrency_limits(config),
            slots,
            config.pool.stall_seconds,
            self.breakers,
            # With one slot free, the poller must still find as many places as it asks for.
            spare=max(0, config.queue.prefetch + 1 - least),
        )
        self.settler = MessageSettler(
            jobs=backends.jobs,
            queue=backends.queue,
            dead=backends.dead,
            artifacts=backends.artifacts,
            waiters=self.waiters,
            policy=policies.retry_policy(config),
            max_receive_count=policies.max_receive_count(config, backends.queue),
            meter=meter,
            clock=clock,
            chance=chance,
        )
        self.worker = Worker(
            jobs=backends.jobs,
            artifacts=backends.artifacts,
            renderer=renderer,
            types=types,
            breakers=self.breakers,
            bulkheads=self.bulkheads,
            timeouts=self._timeouts,
            in_flight=self.in_flight,
            settler=self.settler,
            evidence=backends.evidence,
            node=node,
            tokens=AttemptTokens(signer, clock),
            meter=meter,
            shortage_since=self._descriptors.felt_since,
            clock=clock,
        )
        self.poller = Poller(
            backends.queue,
            self.worker.handle,
            slots() + config.queue.prefetch,
            least,
            self.bulkheads.at_most if policies.tells_types(config) else lambda: ANY,
            self.bulkheads.limits_drift,
            supervisor,
        )
        self.breakers.on_change = self.bulkheads.recheck
        self.bulkheads.on_change = self.poller.recheck

    async def start(self, background: trio.Nursery) -> None:
        """Start all but the poller. Returns once the breakers have asked their store, whether it answered or not."""
        keep = self._supervisor.keep
        background.start_soon(keep, "descriptors", self._descriptors.run)
        await background.start(self._supervisor.keep_started, "breakers", self.breakers.run)
        self.start_heartbeat(background)

    def start_heartbeat(self, background: trio.Nursery) -> None:
        """Keep what is in flight on this node invisible to others, and known to be alive."""
        keep = self._supervisor.keep
        heartbeat = partial(extend_visibility, self._backends.queue, self.in_flight)
        # After a longer pause, messages in flight would be visible to other nodes.
        background.start_soon(partial(keep, longest_seconds=RETRY_SECONDS), "heartbeat", heartbeat)
        background.start_soon(keep, "renewal", partial(renew_jobs, self._backends.jobs, self.in_flight))
        background.start_soon(keep, "progress", partial(report_progress, self._backends.jobs, self.in_flight))

    async def drain(self, hurried: trio.Event | None = None) -> None:
        """Take no more messages; give those in flight ``shutdown.drain_seconds``, or less once ``hurried`` is set."""
        self.poller.stop()
        await drain(self.in_flight, self._drain_seconds, hurried)

    def reconfigure(self, config: Config) -> None:
        """Use the report types of another configuration."""
        self.breakers.reconfigure(config.reports)
        self._timeouts.reconfigure(policies.timeout_factors(config))
        self.bulkheads.reconfigure(policies.concurrency_limits(config))

    def resized(self, change: int) -> None:
        """Adapt to so many more, or fewer, slots."""
        self.poller.change_capacity(change)
        self.bulkheads.recheck()

    def stalled(self, report_type: str, change: int) -> None:
        """Adapt to so many more, or fewer, pages of that type that wait without a slot."""
        self.poller.change_capacity(change)
        self.bulkheads.stalled(report_type, change)


def _log_transition(change: Transition) -> None:
    log.warning(
        "breaker.moved",
        reportType=change.report_type,
        before=change.source,
        after=change.target,
        reason=change.reason,
        faults=change.faults,
        by=change.by,
    )

"""Wires what says how the daemon is: the folder ``status``, for the page, Prometheus, the fleet and systemd."""

from collections.abc import Callable, Mapping
from functools import partial

import trio

from reportd.app import policies
from reportd.app.backends import Backends, sqs_requests
from reportd.app.processing import Processing
from reportd.browsers.pool import Pool
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.maintenance.rescuer import Rescuer
from reportd.status.demand import Scaling
from reportd.status.prometheus import Exposition
from reportd.status.queue_depth import WorkableQueue
from reportd.status.status import Status
from reportd.status.systemd_status import StatusLine
from reportd.telemetry.heartbeat import HeartbeatReporter
from reportd.telemetry.history import History
from reportd.telemetry.metrics import Metrics


class Observability:
    """One a node."""

    def __init__(
        self,
        config: Config,
        backends: Backends,
        *,
        node: str,
        pool: Pool,
        processing: Processing,
        rescuer: Rescuer,
        metrics: Metrics,
        history: History,
        supervisor: Supervisor,
        background: trio.Nursery,
        stop: trio.Event,
        template_troubles: Callable[[], Mapping[str, str]],
    ) -> None:
        self.workable = WorkableQueue(backends.queue, backends.jobs, processing.breakers.holding, background)
        self._scaling = Scaling(
            jobs=backends.jobs,
            slots=lambda: pool.slots,
            render_seconds=lambda: metrics.render_seconds,
            policy=policies.scaling_policy(config),
            nursery=background,
            fresh_seconds=policies.scraped_depth_seconds(config),
        )
        self.status = Status(
            jobs=backends.jobs,
            depth=self.workable.depth,
            dead=backends.dead,
            pool=pool,
            poller=processing.poller,
            breakers=processing.breakers,
            bulkheads=processing.bulkheads,
            in_flight=processing.in_flight,
            history=history,
            fleet=backends.fleet,
            stop=stop,
            node=node,
            nursery=background,
            supervisor=supervisor,
            part_trouble=lambda part: backends.conditions[part].trouble,
            template_troubles=template_troubles,
            letters=backends.letters,
            demand=self._scaling.demand,
            rescuer=rescuer,
            depth_seconds=policies.depth_seconds(config),
            sample_seconds=policies.sampled_depth_seconds(config),
            idle_seconds=policies.idle_sampled_depth_seconds(config),
        )
        self.exposition = Exposition(
            metrics,
            queues={"main": self.workable, "dead": backends.dead},
            depth_seconds=policies.scraped_depth_seconds(config),
            requests=sqs_requests(backends.queue, backends.dead),
            pool=pool.state,
            breakers=processing.breakers.snapshot,
            in_flight=processing.in_flight.__len__,
            parts=self.status.parts,
            demand=self._scaling.demand,
            nursery=background,
        )
        self._heartbeat = HeartbeatReporter(backends.fleet, self.status.here, single_node=backends.single_node)
        self._publish = partial(self._scaling.publish, self.workable.depth, backends.scaling_metrics, node)
        self._conditions = backends.conditions
        self._processing = processing
        self._pool = pool
        self._supervisor = supervisor
        self._background = background
        self._stop = stop
        self._template_troubles = template_troubles

    def start(self) -> None:
        loops = {f"condition.{name}": condition.run for name, condition in self._conditions.items()}
        loops |= {"history": self.status.run, "presence": self._heartbeat.run, "scaling": self._publish}
        for part, loop in loops.items():
            self._background.start_soon(self._supervisor.keep, part, loop)

    def status_line(self, url: str, reload_trouble: Callable[[], str]) -> StatusLine:
        """Make the line that ``systemctl status`` shows."""
        return StatusLine(
            url=url,
            pool=self._pool,
            poller=self._processing.poller,
            part_trouble=lambda: [condition.trouble for condition in self._conditions.values()],
            breakers=self._processing.breakers,
            in_flight=self._processing.in_flight,
            stop=self._stop,
            reloaded=lambda: "; ".join(filter(None, [reload_trouble(), *self._template_troubles().values()])),
        )

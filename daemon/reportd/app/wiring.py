"""Wires the parts of a daemon, by constructor, over ``Backends`` and a pool. Nothing here opens or starts anything."""

from dataclasses import dataclass
from functools import partial

import trio

from reportd.adapters.jwt_signer import JwtSigner
from reportd.app import policies
from reportd.app.backends import Backends
from reportd.app.observability import Observability
from reportd.app.processing import Processing
from reportd.app.upkeep import Upkeep
from reportd.browsers.autosize import autosize_pool
from reportd.browsers.pool import Pool
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.dead_letters.reader import LetterReader
from reportd.intake.backlog import Backlog
from reportd.intake.catalogue import Catalogue
from reportd.notify.alerts import Alerts
from reportd.notify.callbacks import Notifier
from reportd.ports import Checker, MeterFanOut
from reportd.telemetry.audit_recorder import Recorder
from reportd.telemetry.history import History
from reportd.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Telemetry:
    """What the parts report to."""

    metrics: Metrics
    history: History
    recorder: Recorder
    alerts: Alerts
    supervisor: Supervisor


class Daemon:
    """All parts but the HTTP server. ``stop`` is set when the daemon is asked to end."""

    def __init__(
        self,
        config: Config,
        backends: Backends,
        telemetry: Telemetry,
        *,
        node: str,
        pool: Pool,
        types: Catalogue,
        checker: Checker,
        signer: JwtSigner,
        background: trio.Nursery,
        stop: trio.Event,
    ) -> None:
        metrics, supervisor, alerts = telemetry.metrics, telemetry.supervisor, telemetry.alerts
        meter = MeterFanOut(metrics, telemetry.history)
        self._config = config
        self._outbox = backends.outbox
        self._pool = pool
        self._signer = signer
        self._telemetry = telemetry
        self._reader = LetterReader(checker, policies.report_names(config), types.schemas_text, types.check_options)
        self.processing = Processing(
            config,
            backends,
            node=node,
            renderer=pool,
            slots=lambda: pool.slots,
            types=types,
            supervisor=supervisor,
            signer=signer,
            meter=meter,
            listeners=[metrics.breaker_moved, alerts.breaker_moved, telemetry.recorder.transition],
        )
        pool.on_stall, pool.on_resize = self.processing.stalled, self.processing.resized
        self.backlog = Backlog(
            policies.backlog_policy(config),
            jobs=backends.jobs,
            queue=backends.queue,
            held=self.processing.breakers.holding,
            meter=meter,
        )
        self._upkeep = Upkeep(
            config,
            backends,
            node=node,
            reader=self._reader,
            breakers=self.processing.breakers,
            waiters=self.processing.waiters,
            on_quarantined=alerts.quarantined,
            supervisor=supervisor,
            meter=metrics,
        )
        self.observability = Observability(
            config,
            backends,
            node=node,
            pool=pool,
            processing=self.processing,
            rescuer=self._upkeep.rescuer,
            metrics=metrics,
            history=telemetry.history,
            supervisor=supervisor,
            background=background,
            stop=stop,
            template_troubles=types.troubles,
        )
        self._notifier = Notifier(
            backends.outbox,
            backends.messenger,
            retry_seconds=config.callbacks.retry_hours * 3600,
            meter=metrics,
            supervisor=supervisor,
        )

    async def start(self, background: trio.Nursery) -> None:
        """Start all loops but the poller."""
        keep, depth = self._telemetry.supervisor.keep, self.observability.workable.depth
        await self.processing.start(background)
        self._upkeep.start(background)
        self.observability.start()
        background.start_soon(self._notifier.run)
        background.start_soon(self._telemetry.alerts.run)
        background.start_soon(keep, "backlog", partial(self.backlog.watch, policies.depth_seconds(self._config)))
        sizes = policies.size_policy(self._config)
        background.start_soon(keep, "sizing", partial(autosize_pool, self._pool, depth, sizes))

    def reconfigure(self, config: Config) -> None:
        """Use the report types and the keys of render tokens of another configuration."""
        self._signer.reconfigure(config.render_tokens.issuer, config.render_tokens.parsed())
        for counter in (self._telemetry.metrics, self._telemetry.history):
            counter.reconfigure(policies.labels(config))
        self.processing.reconfigure(config)
        self._reader.reconfigure(policies.report_names(config))
        self._outbox.reconfigure(policies.callback_urls(config))

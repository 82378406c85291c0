"""The daemon's parts, put together: who works on jobs, who looks after what is left, who watches, who answers.

``app`` opens what they stand on, and runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
import trio

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.stores.audit import SqlAudit
from reportd.adapters.sql.stores.dead_letters import SqlDeadLetters
from reportd.adapters.sql.stores.fleet import SqlFleet
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.adapters.sql.stores.secrets import shared_secret
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.app import backends
from reportd.app.checks import Checks
from reportd.app.reload import Orders, Reload
from reportd.breakers.manager import Breakers
from reportd.breakers.operator import Controls
from reportd.browsers.autosize import keep_sized
from reportd.browsers.pool import Pool
from reportd.concurrency.batching import Batcher
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.core.breaker.breaker import Transition
from reportd.core.jobs.job import Job
from reportd.dead_letters.quarantine import Quarantine
from reportd.dead_letters.reader import LetterReader
from reportd.dead_letters.service import DeadLetterOffice
from reportd.dead_letters.triage import Triage
from reportd.intake.backlog import Backlog
from reportd.intake.catalogue import Catalogue
from reportd.intake.service import Service
from reportd.intake.tokens import Tokens
from reportd.maintenance.janitor import Janitor
from reportd.maintenance.rescuer import Rescuer, keep_renewed
from reportd.notify.alerts import Alerts
from reportd.notify.callbacks import Notifier
from reportd.ports import ANY, Artifacts, BreakerStore, Checker, Messenger, Queue, Record, Several
from reportd.status.condition import Condition
from reportd.status.demand import Board, Scaling
from reportd.status.prometheus import Exposition
from reportd.status.queue_depth import WorkableQueue
from reportd.status.status import Status
from reportd.status.systemd_status import Standing
from reportd.system.file_descriptors import Descriptors
from reportd.telemetry.audit_recorder import Recorder
from reportd.telemetry.heartbeat import Presence
from reportd.telemetry.history import History
from reportd.telemetry.metrics import Metrics
from reportd.telemetry.watchdog import Watchdog
from reportd.work.bulkheads import Bulkheads
from reportd.work.in_flight import Held
from reportd.work.job_waiters import Changes
from reportd.work.poller import TROUBLE_SECONDS, Poller, keep_invisible
from reportd.work.settlement import Outcomes
from reportd.work.timeouts import Deadlines
from reportd.work.worker import Worker
from reportd_web.app import Face
from reportd_web.security.access import Access
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.sessions import Sessions

log = structlog.get_logger()

RETURNS_PER_SLOT = 10.0
"""Messages a second that come back when a breaker has closed, so that a slot is never without and none is flooded."""


@dataclass(frozen=True)
class Grounds:
    """What the parts stand on: what was opened for them, and what they share."""

    config: Config
    node: str
    stop: trio.Event
    types: Catalogue
    checker: Checker
    tokens: Tokens
    metrics: Metrics
    history: History
    watchdog: Watchdog
    database: Database
    jobs: SqlJobs
    queue: Queue
    dead: Queue
    artifacts: Artifacts
    conditions: Mapping[str, Condition]
    breaker_store: BreakerStore
    outbox: SqlOutbox
    messenger: Messenger
    alerts: Alerts
    recorder: Recorder
    board: Board | None
    pool: Pool
    background: trio.Nursery
    supervisor: Supervisor
    intake: Batcher[Job, Record]
    held: Held = field(default_factory=Held)
    changes: Changes = field(default_factory=Changes)


class Work:
    """Takes messages off the queue and turns them into PDFs."""

    def __init__(self, on: Grounds) -> None:
        config, told = on.config, Several(on.metrics, on.history)
        self._on, self.told = on, told
        self.names = backends.report_names(config)
        self._limits = _limits(config)
        self._deadlines = Deadlines(_deadline_factors(config))
        self._descriptors = Descriptors()
        self.breakers = Breakers(
            on.breaker_store,
            backends.breaker_policy(config),
            node=on.node,
            report_types=config.reports,
            returns_per_second=lambda: RETURNS_PER_SLOT * on.pool.slots,
            listeners=[_log_move, on.metrics.breaker_moved, on.alerts.breaker_moved, on.recorder.transition],
        )
        self.workable = WorkableQueue(on.queue, on.jobs, self.breakers.holding, on.background)
        self.bulkheads = Bulkheads(
            self._limits,
            lambda: on.pool.slots,
            config.pool.stall_seconds,
            self.breakers,
            # The poller must still find the places that it asks for, with one slot free.
            spare=max(0, config.queue.prefetch + 1 - backends.least_places(config)),
        )
        outcomes = Outcomes(
            jobs=on.jobs,
            queue=on.queue,
            dead=on.dead,
            artifacts=on.artifacts,
            changes=on.changes,
            policy=backends.retry_policy(config),
            max_receive_count=backends.max_receive_count(config, on.queue),
            meter=told,
        )
        self.worker = Worker(
            jobs=on.jobs,
            artifacts=on.artifacts,
            renderer=on.pool,
            types=on.types,
            breakers=self.breakers,
            bulkheads=self.bulkheads,
            deadlines=self._deadlines,
            held=on.held,
            outcomes=outcomes,
            node=on.node,
            meter=told,
            shortage_since=self._descriptors.felt_since,
        )
        capacity = on.pool.slots + config.queue.prefetch
        at_most = self.bulkheads.at_most if backends.tells_types(config) else lambda: ANY
        self.poller = Poller(
            on.queue,
            self.worker.handle,
            capacity,
            backends.least_places(config),
            at_most,
            self.bulkheads.unsettled,
            on.supervisor,
        )
        self.breakers.on_change = self.bulkheads.look_again
        self.bulkheads.on_change = self.poller.look_again
        on.pool.on_stall = self._stalled
        on.pool.on_resize = self._resized

    async def begin(self) -> None:
        """Everything but taking messages."""
        on = self._on
        keep, background = on.supervisor.keep, on.background
        background.start_soon(keep, "descriptors", self._descriptors.run)
        await background.start(on.supervisor.keep_started, "breakers", self.breakers.run)
        heartbeat = partial(keep_invisible, on.queue, on.held)
        # What is held would be visible to others before a longer pause is over.
        background.start_soon(partial(keep, longest_seconds=TROUBLE_SECONDS), "heartbeat", heartbeat)
        background.start_soon(keep, "renewal", partial(keep_renewed, on.jobs, on.held))
        size = partial(keep_sized, on.pool, self.workable.depth, backends.size_policy(on.config))
        background.start_soon(keep, "sizing", size)

    def learn(self, config: Config) -> None:
        """Whoever knows the report types by name learns those of another configuration."""
        for counter in (self._on.metrics, self._on.history):
            counter.know(labels(config))
        self.breakers.know(config.reports)
        self._deadlines.know(_deadline_factors(config))
        self._on.outbox.know(backends.callback_urls(config))
        self.names.clear()
        self.names.update(backends.report_names(config))
        self._limits.clear()
        self._limits.update(_limits(config))
        self.bulkheads.look_again()

    def _resized(self, change: int) -> None:
        self.poller.widen(change)
        self.bulkheads.look_again()

    def _stalled(self, report_type: str, change: int) -> None:
        self.poller.widen(change)
        self.bulkheads.stalled(report_type, change)


class Care:
    """Looks after what nobody else does: dead letters, callbacks, alerts, what is old."""

    def __init__(self, on: Grounds, work: Work) -> None:
        config, audit = on.config, SqlAudit(on.database)
        self.letters = SqlDeadLetters(on.database)
        quarantine = Quarantine(
            jobs=on.jobs,
            letters=self.letters,
            audit=audit,
            changes=on.changes,
            node=on.node,
            on_quarantined=on.alerts.quarantined,
        )
        triage = Triage(
            jobs=on.jobs,
            queue=on.queue,
            dead=on.dead,
            letters=self.letters,
            quarantine=quarantine,
            breakers=work.breakers,
            reader=LetterReader(on.checker, work.names, on.types.schemas_text),
            audit=audit,
            policy=backends.triage_policy(config),
            interval_seconds=config.triage.interval_seconds,
            node=on.node,
            meter=on.metrics,
            supervisor=on.supervisor,
        )
        retention_seconds = config.artifacts.retention_days * 86400
        self.rescuer = Rescuer(
            jobs=on.jobs,
            letters=self.letters,
            queue=on.queue,
            dead=on.dead,
            holding=work.breakers.holding,
            meter=on.metrics,
        )
        janitor = Janitor(
            jobs=on.jobs,
            queue=on.queue,
            artifacts=on.artifacts,
            rescuer=self.rescuer,
            retention_seconds=retention_seconds,
            node=on.node,
            supervisor=on.supervisor,
        )
        retry_seconds = config.callbacks.retry_hours * 3600
        notifier = Notifier(
            on.outbox, on.messenger, retry_seconds=retry_seconds, meter=on.metrics, supervisor=on.supervisor
        )
        self._tasks = (triage.run, janitor.run, notifier.run, on.alerts.run)
        self._background = on.background

    def begin(self) -> None:
        for task in self._tasks:
            self._background.start_soon(task)


class Watch:
    """Knows how the daemon is, for the status page, for Prometheus, for the fleet and for systemd."""

    def __init__(self, on: Grounds, work: Work, care: Care) -> None:
        config = on.config
        self._on = on
        self._work = work
        self._fleet = SqlFleet(on.database)
        self._scaling = Scaling(
            jobs=on.jobs,
            slots=lambda: on.pool.slots,
            render_seconds=lambda: on.metrics.render_seconds,
            policy=backends.scaling_policy(config),
            looks=on.background,
            fresh_seconds=backends.scraped_depth_seconds(config),
        )
        self.status = Status(
            jobs=on.jobs,
            depth=work.workable.depth,
            dead=on.dead,
            pool=on.pool,
            poller=work.poller,
            breakers=work.breakers,
            bulkheads=work.bulkheads,
            held=on.held,
            history=on.history,
            fleet=self._fleet,
            stop=on.stop,
            node=on.node,
            looks=on.background,
            troubles=on.supervisor,
            ailing=lambda part: on.conditions[part].trouble,
            letters=care.letters,
            demand=self._scaling.demand,
            rescuer=care.rescuer,
            depth_seconds=backends.depth_seconds(config),
            sample_seconds=backends.sampled_depth_seconds(config),
            idle_seconds=backends.idle_sampled_depth_seconds(config),
        )
        self.exposition = Exposition(
            on.metrics,
            queues={"main": work.workable, "dead": on.dead},
            depth_seconds=backends.scraped_depth_seconds(config),
            requests=backends.sqs_requests(on.queue, on.dead),
            pool=on.pool.state,
            breakers=work.breakers.snapshot,
            held=on.held.__len__,
            parts=self.status.parts,
            demand=self._scaling.demand,
            looks=on.background,
        )

    def begin(self) -> None:
        on = self._on
        presence = Presence(self._fleet, self.status.here, alone=on.database.is_sqlite)
        publish = partial(self._scaling.publish, self._work.workable.depth, on.board, on.node)
        for name, condition in on.conditions.items():
            on.background.start_soon(on.supervisor.keep, f"condition.{name}", condition.run)
        for part, work in (("history", self.status.run), ("presence", presence.run), ("scaling", publish)):
            on.background.start_soon(on.supervisor.keep, part, work)

    def standing(self, url: str, reload: Reload) -> Standing:
        """For systemd's status line."""
        return Standing(
            url=url,
            pool=self._on.pool,
            poller=self._work.poller,
            ailing=lambda: [condition.trouble for condition in self._on.conditions.values()],
            breakers=self._work.breakers,
            held=self._on.held,
            stop=self._on.stop,
            reloaded=lambda: reload.trouble,
        )


async def answering(on: Grounds, work: Work, care: Care, watch: Watch, max_connections: int) -> Face:
    """What the HTTP face calls."""
    config, audit = on.config, SqlAudit(on.database)
    backlog = Backlog(
        backends.backlog_policy(config), jobs=on.jobs, queue=on.queue, held=work.breakers.holding, meter=work.told
    )
    on.background.start_soon(on.supervisor.keep, "backlog", partial(backlog.watch, backends.depth_seconds(config)))
    service = Service(
        jobs=on.jobs,
        queue=on.queue,
        artifacts=on.artifacts,
        intake=on.intake,
        validator=on.types,
        changes=on.changes,
        held=on.held,
        backlog=backlog,
        retention_seconds=config.artifacts.retention_days * 86400,
        meter=on.metrics,
        outbox=on.outbox,
    )
    office = DeadLetterOffice(service=service, jobs=on.jobs, queue=on.queue, letters=care.letters, audit=audit)
    return Face(
        service=service,
        dead_letters=office,
        schemas=on.types.schemas,
        max_body_bytes=config.http.max_body_bytes,
        max_waits=max_connections // 2,
        public_url=config.http.public_url,
        ready=watch.status.parts,
        status=watch.status.snapshot,
        changed=watch.status.changed,
        audit=audit,
        note=on.recorder.note,
        nursery=on.background,
        controls=Controls(work.breakers, on.types, on.recorder),
        health=on.watchdog.trouble,
        metrics=watch.exposition.text,
        access=Access(
            on.tokens,
            Sessions(await shared_secret(on.database, "sessions")),
            EndedLogins(SqlEndedSessions(on.database), on.background),
        ),
    )


def reloading(on: Grounds, work: Work, orders: Orders, checks: Checks) -> Reload:
    """Who reads the configuration again."""
    return Reload(orders, on.config, on.types, checks, on.tokens, partial(Work.learn, work), on.supervisor)


def labels(config: Config) -> Mapping[str, str]:
    """Each name that a job may carry, and the one it is counted under."""
    return {name: label for label, report in config.reports.items() for name in (label, *report.aliases)}


def _limits(config: Config) -> dict[str, int]:
    return {name: report.max_concurrency for name, report in config.reports.items()}


def _deadline_factors(config: Config) -> dict[str, float]:
    return {name: report.timeout_p99_factor for name, report in config.reports.items()}


def _log_move(change: Transition) -> None:
    told: dict[str, Any] = {"reason": change.reason, "faults": change.faults, "by": change.by}
    log.warning("breaker.moved", reportType=change.report_type, before=change.source, after=change.target, **told)

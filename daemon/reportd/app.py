"""The daemon: what it opens, in which order, and how it stops. Read this first."""

import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path

import structlog
import trio
from starlette.types import ASGIApp

import reportd_web
from reportd import engines, systemd
from reportd.adapters.chromium import open_launcher
from reportd.adapters.sql.audit import SqlAudit
from reportd.adapters.sql.dead_letters import SqlDeadLetters
from reportd.adapters.sql.fleet import SqlFleet
from reportd.adapters.sql.jobs import SqlJobs
from reportd.adapters.sql.secrets import shared_secret
from reportd.adapters.templates import Templates
from reportd.background import alone, open_background
from reportd.batch import open_batcher
from reportd.breakers import Breakers
from reportd.bulkheads import Bulkheads
from reportd.catalogue import Catalogue
from reportd.changes import Changes
from reportd.config import Config
from reportd.controls import Controls
from reportd.core.breaker import Transition
from reportd.core.repair import Known
from reportd.dead_letters import DeadLetterOffice
from reportd.deadlines import Deadlines
from reportd.exposition import Exposition
from reportd.held import Held
from reportd.history import History
from reportd.janitor import Janitor
from reportd.metrics import Metrics
from reportd.notifier import Notifier
from reportd.outcomes import Outcomes
from reportd.poller import Poller, drain, keep_invisible
from reportd.pool import open_pool
from reportd.ports import Several
from reportd.presence import Presence
from reportd.quarantine import Quarantine
from reportd.recorder import open_recorder
from reportd.reload import Orders, Reload
from reportd.scaling import Scaling
from reportd.service import Intake, Service
from reportd.sizing import keep_sized
from reportd.standing import Standing, keep_told
from reportd.status import Status
from reportd.tokens import Tokens, TokensFileError
from reportd.triage import Triage
from reportd.watchdog import open_watchdog
from reportd.worker import Worker
from reportd_web import wire
from reportd_web.access import Access
from reportd_web.app import Face, create_app
from reportd_web.server import serve
from reportd_web.sessions import Sessions

log = structlog.get_logger()

SUBMISSIONS_PER_FLUSH = 100
RETURNS_PER_SLOT = 10.0
"""Messages a second that come back when a breaker has closed, so that a slot is never without and none is flooded."""


class StartError(Exception):
    """The daemon can't start; the text says why and what to do."""


async def run(  # noqa: PLR0915 - a table of contents
    config: Config,
    folders: list[Path],
    stop: trio.Event,
    reloads: Orders,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``stop`` is set, then drain. ``task_status`` gets the URL once a warm page exists.

    ``reloads``: orders to read the configuration again. Raises StartError, CatalogueError, BrowserError or
    UnavailableError when it can't start.
    """
    try:
        tokens = Tokens(config.auth.path(config.data_dir))
    except TokensFileError as error:
        raise StartError(str(error)) from error
    listener, config = _inherited(config)
    folders = [*folders, Path(reportd_web.__file__).parent / "reports"]
    types = Catalogue(config, folders, Templates(folders))
    labels = _labels(config)
    metrics, history = Metrics(labels), History(labels)
    told = Several(metrics, history)
    held, changes, node = Held(), Changes(), f"{socket.gethostname()}-{os.getpid()}"
    with _own(config.data_dir):
        async with (
            open_watchdog(metrics) as watchdog,
            _doing("opening database, queue and store"),
            engines.open_sql(config) as database,
            open_recorder(audit := SqlAudit(database)) as recorder,
            engines.open_queues(config, database) as (queue, dead),
            engines.open_callbacks(config, database, wire.callback_body) as (outbox, messenger),
            engines.open_alerts(config, database, metrics) as alerts,
            engines.open_artifacts(config) as artifacts,
            engines.open_breaker_store(config) as breaker_store,
            engines.open_board(config) as board,
            _doing("starting browsers"),
            open_launcher(engines.chromium_settings(config), config.data_dir, engines.own_ports(config)) as launcher,
            open_pool(launcher, engines.pool_settings(config), metrics) as pool,
            open_background() as background,
            open_batcher(
                Intake(jobs := SqlJobs(database, outbox), queue, background).accept, SUBMISSIONS_PER_FLUSH
            ) as intake,
        ):
            breakers = Breakers(
                breaker_store,
                engines.breaker_policy(config),
                node=node,
                report_types=config.reports,
                returns_per_second=RETURNS_PER_SLOT * pool.slots,
                listeners=[_tell_transition, metrics.breaker_moved, alerts.breaker_moved, recorder.transition],
            )
            bulkheads = Bulkheads(limits := _limits(config), pool.slots, config.pool.stall_seconds, breakers)
            outcomes = Outcomes(
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                changes=changes,
                policy=engines.retry_policy(config),
                max_receive_count=engines.max_receive_count(config, queue),
                meter=told,
            )
            worker = Worker(
                jobs=jobs,
                artifacts=artifacts,
                renderer=pool,
                types=types,
                breakers=breakers,
                bulkheads=bulkheads,
                deadlines=Deadlines({name: report.timeout_p99_factor for name, report in config.reports.items()}),
                held=held,
                outcomes=outcomes,
                node=node,
                meter=told,
            )
            capacity = pool.slots + config.queue.prefetch
            poller = Poller(queue, worker.handle, capacity, engines.least_places(config), bulkheads.at_most)
            bulkheads.on_change = poller.look_again

            def stalled(report_type: str, change: int) -> None:
                poller.widen(change)
                bulkheads.stalled(report_type, change)

            pool.on_stall = stalled
            pool.on_resize = poller.widen
            reload = Reload(
                reloads, config, types, tokens, partial(_learn, (metrics, history), breakers, bulkheads, limits)
            )
            janitor = Janitor(
                jobs=jobs,
                queue=queue,
                artifacts=artifacts,
                retention_seconds=config.artifacts.retention_days * 86400,
                node=node,
            )
            letters = SqlDeadLetters(database)
            triage = Triage(
                jobs=jobs,
                queue=queue,
                dead=dead,
                letters=letters,
                quarantine=Quarantine(
                    jobs=jobs,
                    letters=letters,
                    audit=audit,
                    changes=changes,
                    node=node,
                    on_quarantined=alerts.quarantined,
                ),
                breakers=breakers,
                known=Known(engines.report_names(config), types.check),
                audit=audit,
                policy=engines.triage_policy(config),
                interval_seconds=config.triage.interval_seconds,
                node=node,
                meter=metrics,
            )
            service = Service(
                jobs=jobs,
                queue=queue,
                artifacts=artifacts,
                intake=intake,
                validator=types,
                changes=changes,
                held=held,
                max_backlog=config.queue.max_backlog,
                meter=metrics,
                outbox=outbox,
            )
            status = Status(
                jobs=jobs,
                queue=queue,
                dead=dead,
                pool=pool,
                poller=poller,
                worker=worker,
                breakers=breakers,
                bulkheads=bulkheads,
                held=held,
                history=history,
                fleet=(fleet := SqlFleet(database)),
                stop=stop,
                node=node,
                looks=background,
                letters=letters,
                depth_seconds=engines.depth_seconds(config),
                sample_seconds=engines.sampled_depth_seconds(config),
            )
            scaling = Scaling(
                jobs=jobs,
                slots=lambda: pool.slots,
                render_seconds=lambda: metrics.render_seconds,
                policy=engines.scaling_policy(config),
                looks=background,
                fresh_seconds=engines.scraped_depth_seconds(config),
            )
            exposition = Exposition(
                metrics,
                queues={"main": queue, "dead": dead},
                depth_seconds=engines.scraped_depth_seconds(config),
                requests=engines.sqs_requests(queue, dead),
                pool=pool.state,
                breakers=breakers.snapshot,
                held=held.__len__,
                parts=status.parts,
                figures=scaling.figures,
                looks=background,
            )
            face = Face(
                service=service,
                dead_letters=DeadLetterOffice(service=service, jobs=jobs, queue=queue, letters=letters, audit=audit),
                schemas=types.schemas,
                max_body_bytes=config.http.max_body_bytes,
                ready=status.parts,
                status=status.snapshot,
                changed=status.changed,
                audit=audit,
                note=recorder.note,
                nursery=background,
                controls=Controls(breakers, types, recorder),
                health=watchdog.trouble,
                metrics=exposition.text,
                access=Access(tokens, Sessions(await shared_secret(database, "sessions"))),
            )
            notifier = Notifier(outbox, messenger, retry_seconds=config.callbacks.retry_hours * 3600, meter=metrics)
            await background.start(breakers.run)
            background.start_soon(notifier.run)
            background.start_soon(alerts.run)
            background.start_soon(keep_invisible, queue, held)
            background.start_soon(janitor.run)
            background.start_soon(status.run)
            background.start_soon(Presence(fleet, status.here).run)
            background.start_soon(triage.run)
            background.start_soon(keep_sized, pool, queue.depth, engines.size_policy(config))
            background.start_soon(service.watch_backlog, engines.depth_seconds(config))
            background.start_soon(scaling.publish, queue.depth, board, node)
            async with trio.open_nursery() as serving:
                http_stop = trio.Event()
                url = await _serve(serving, create_app(face), listener or config.http.bind, http_stop)
                log.info("daemon.ready", url=url, slots=pool.slots, node=node)
                standing = Standing(
                    url=url,
                    pool=pool,
                    poller=poller,
                    worker=worker,
                    breakers=breakers,
                    held=held,
                    stop=stop,
                    reloaded=lambda: reload.trouble,
                )
                systemd.notify("READY=1", f"STATUS={standing.line()}")
                background.start_soon(keep_told, standing.line, systemd.notify)
                background.start_soon(reload.run)
                # Ends when everything that was received is settled, also what came in at the last moment.
                async with trio.open_nursery() as taking:
                    taking.start_soon(poller.run)
                    task_status.started(url)
                    await stop.wait()
                    log.info("daemon.stopping", held=len(held))
                    systemd.notify("STOPPING=1", f"STATUS={standing.line()}")
                    poller.stop()
                    await drain(held, config.shutdown.drain_seconds)
                http_stop.set()
    log.info("daemon.stopped")


def _tell_transition(change: Transition) -> None:
    log.warning(
        "breaker.moved",
        reportType=change.report_type,
        before=change.source,
        after=change.target,
        reason=change.reason,
        faults=change.faults,
        by=change.by,
    )


def _labels(config: Config) -> dict[str, str]:
    """Each name that a job may carry, and the one it is counted under."""
    return {name: label for label, report in config.reports.items() for name in (label, *report.aliases)}


def _learn(
    counters: Iterable[Metrics | History],
    breakers: Breakers,
    bulkheads: Bulkheads,
    limits: dict[str, int],
    config: Config,
) -> None:
    """Whoever knows the report types by name learns those of another configuration."""
    for counter in counters:
        counter.know(_labels(config))
    breakers.know(config.reports)
    limits.clear()
    limits.update(_limits(config))
    for name in limits:
        bulkheads.stalled(name, 0)  # what waits for a place asks again


def _limits(config: Config) -> dict[str, int]:
    return {name: report.max_concurrency for name, report in config.reports.items()}


@asynccontextmanager
async def _doing(what: str) -> AsyncIterator[None]:
    """Says what comes next, for whoever waits for the start."""
    systemd.notify(f"STATUS={what}")
    yield


def _inherited(config: Config) -> tuple[socket.socket | None, Config]:
    """The socket that systemd listens on for us, if it does, and the configuration with its address."""
    try:
        listener = systemd.listener()
    except OSError as error:
        raise StartError(str(error)) from error
    if listener is None:
        return None, config
    host, port = listener.getsockname()[:2]
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    config = config.model_copy(update={"http": config.http.model_copy(update={"bind": bind})})
    for conflict in config.conflicts():  # an address that others reach asks for tokens, wherever it is from
        raise StartError(f"the socket of systemd, {bind}: {conflict.message}")
    return listener, config


async def _serve(serving: trio.Nursery, face: ASGIApp, where: str | socket.socket, stop: trio.Event) -> str:
    try:
        url: str = await serving.start(serve, face, where, stop)
    except (OSError, ExceptionGroup) as error:
        cause = alone(error)
        if isinstance(cause, OSError):
            raise StartError(f"http.bind {where} can't be used: {cause.strerror}; set another http.bind") from error
        raise
    return url


@contextmanager
def _own(data_dir: Path) -> Iterator[None]:
    """One daemon a data folder: the embedded queue and the browser profiles in it belong to one process."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"data_dir {data_dir} can't be used: {error.strerror}; set data_dir") from error
    with lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError:
            raise StartError(f"another reportd uses {data_dir}; stop it, or set another data_dir") from None
        yield

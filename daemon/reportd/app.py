"""The daemon: what it opens, in which order, and how it stops. Read this first."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import structlog
import trio
from starlette.types import ASGIApp

import reportd_web
from reportd import engines, systemd
from reportd.adapters.chromium import open_launcher
from reportd.adapters.sql.audit import SqlAudit
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
from reportd.exposition import Exposition
from reportd.held import Held
from reportd.janitor import Janitor
from reportd.metrics import Metrics
from reportd.poller import Poller, drain, keep_invisible
from reportd.pool import open_pool
from reportd.recorder import open_recorder
from reportd.scaling import Scaling
from reportd.service import Intake, Service
from reportd.sizing import keep_sized
from reportd.status import Status
from reportd.tokens import Tokens, TokensFileError
from reportd.watchdog import open_watchdog
from reportd.worker import Worker
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


async def run(
    config: Config,
    folders: list[Path],
    stop: trio.Event,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``stop`` is set, then drain. ``task_status`` gets the URL once a warm page exists.

    Raises StartError, CatalogueError, BrowserError or UnavailableError when it can't start.
    """
    try:
        tokens = Tokens(config.auth.path(config.data_dir))
    except TokensFileError as error:
        raise StartError(str(error)) from error
    folders = [*folders, Path(reportd_web.__file__).parent / "reports"]
    types = Catalogue(config, folders, Templates(folders))
    metrics = Metrics({name: label for label, report in config.reports.items() for name in (label, *report.aliases)})
    held, changes, node = Held(), Changes(), f"{socket.gethostname()}-{os.getpid()}"
    with _own(config.data_dir):
        async with (
            open_watchdog(metrics) as watchdog,
            engines.open_sql(config) as database,
            open_recorder(SqlAudit(database)) as recorder,
            engines.open_queues(config, database) as (queue, dead),
            engines.open_artifacts(config) as artifacts,
            engines.open_breaker_store(config) as breaker_store,
            engines.open_board(config) as board,
            open_launcher(engines.chromium_settings(config), config.data_dir, engines.own_ports(config)) as launcher,
            open_pool(launcher, engines.pool_settings(config), metrics) as pool,
            open_background() as background,
            open_batcher(Intake(jobs := SqlJobs(database), queue, background).accept, SUBMISSIONS_PER_FLUSH) as intake,
        ):
            breakers = Breakers(
                breaker_store,
                engines.breaker_policy(config),
                node=node,
                report_types=config.reports,
                returns_per_second=RETURNS_PER_SLOT * pool.slots,
                listeners=[_tell_transition, metrics.breaker_moved, recorder.transition],
            )
            limits = {name: report.max_concurrency for name, report in config.reports.items()}
            bulkheads = Bulkheads(limits, config.pool.stall_seconds, breakers)
            worker = Worker(
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                renderer=pool,
                types=types,
                breakers=breakers,
                bulkheads=bulkheads,
                max_receive_count=config.queue.max_receive_count,
                held=held,
                changes=changes,
                policy=engines.retry_policy(config),
                node=node,
                meter=metrics,
            )
            capacity = pool.slots + config.queue.prefetch
            poller = Poller(queue, worker.handle, capacity, engines.least_places(config), bulkheads.at_most)
            bulkheads.on_change = poller.look_again

            def stalled(report_type: str, change: int) -> None:
                poller.widen(change)
                bulkheads.stalled(report_type, change)

            pool.on_stall = stalled
            pool.on_resize = poller.widen
            janitor = Janitor(
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                changes=changes,
                retention_seconds=config.artifacts.retention_days * 86400,
                triage_seconds=config.triage.interval_seconds,
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
            )
            scaling = Scaling(
                jobs=jobs,
                slots=lambda: pool.slots,
                render_seconds=lambda: metrics.render_seconds,
                policy=engines.scaling_policy(config),
                looks=background,
                fresh_seconds=engines.scraped_depth_seconds(config),
            )
            status = Status(
                jobs=jobs,
                queue=queue,
                pool=pool,
                poller=poller,
                worker=worker,
                breakers=breakers,
                held=held,
                stop=stop,
                node=node,
                looks=background,
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
                schemas=types.schemas(),
                max_body_bytes=config.http.max_body_bytes,
                ready=status.parts,
                status=status.snapshot,
                controls=Controls(breakers, types, recorder),
                health=watchdog.trouble,
                metrics=exposition.text,
                access=Access(tokens, Sessions(await shared_secret(database, "sessions"))),
            )
            await background.start(breakers.run)
            background.start_soon(keep_invisible, queue, held)
            background.start_soon(janitor.run)
            background.start_soon(keep_sized, pool, queue.depth, engines.size_policy(config))
            background.start_soon(service.watch_backlog, engines.depth_seconds(config))
            background.start_soon(scaling.publish, queue.depth, board, node)
            async with trio.open_nursery() as serving:
                http_stop = trio.Event()
                url = await _serve(serving, create_app(face), config.http.bind, http_stop)
                log.info("daemon.ready", url=url, slots=pool.slots, node=node)
                systemd.notify("READY=1", f"STATUS=serving {url} with {pool.slots} slots")
                # Ends when everything that was received is settled, also what came in at the last moment.
                async with trio.open_nursery() as taking:
                    taking.start_soon(poller.run)
                    task_status.started(url)
                    await stop.wait()
                    log.info("daemon.stopping", held=len(held))
                    systemd.notify("STOPPING=1", f"STATUS=draining {len(held)} jobs")
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


async def _serve(serving: trio.Nursery, face: ASGIApp, bind: str, stop: trio.Event) -> str:
    try:
        url: str = await serving.start(serve, face, bind, stop)
    except (OSError, ExceptionGroup) as error:
        cause = alone(error)
        if isinstance(cause, OSError):
            raise StartError(f"http.bind {bind} can't be used: {cause.strerror}; set another http.bind") from error
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

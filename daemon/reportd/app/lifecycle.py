"""The daemon: what it opens, in which order, and how it stops. Read this first."""

import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial

import structlog
import trio
from starlette.types import ASGIApp

from reportd.adapters.artifacts.cluster import ClusterStore
from reportd.adapters.bounded.checker import BoundedChecker, new_checker
from reportd.adapters.chromium import open_launcher
from reportd.adapters.egress.resolving import LookupThreads
from reportd.adapters.sql.stores.audit import SqlAudit
from reportd.adapters.sql.stores.cluster import SqlCluster
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.app import backends
from reportd.app.checks import Checks, folders_of
from reportd.app.reload import Orders
from reportd.app.shutdown import Stopping
from reportd.app.wiring import Care, Grounds, Watch, Work, answering, labels, reloading
from reportd.browsers.pool import open_pool
from reportd.concurrency.batching import open_batcher
from reportd.concurrency.nurseries import alone, open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config, ConfigError, Loaded, Problem
from reportd.intake.catalogue import Catalogue
from reportd.intake.service import Intake
from reportd.intake.tokens import Tokens, TokensFileError
from reportd.ports import UnavailableError, WrongStoreError
from reportd.status.condition import PATIENCE_SECONDS, Condition
from reportd.status.systemd_status import keep_told
from reportd.system import sd_notify
from reportd.system.permissions import close_folder
from reportd.telemetry.audit_recorder import open_recorder
from reportd.telemetry.history import History
from reportd.telemetry.metrics import Metrics
from reportd.telemetry.watchdog import open_watchdog
from reportd.work.poller import drain
from reportd_web.api import wire
from reportd_web.app import create_app
from reportd_web.http.server import serve

log = structlog.get_logger()

SUBMISSIONS_PER_FLUSH = 100


class StartError(Exception):
    """The daemon can't start; the text says why and what to do."""


async def run(
    loaded: Loaded,
    stopping: Stopping,
    reloads: Orders,
) -> None:
    """Serve until it is asked to stop, then drain.

    ``reloads``: orders to read the configuration again. Raises ConfigError when what the configuration names can't be
    used; StartError, BrowserError or UnavailableError when it can't start.
    """
    trio.socket.set_custom_hostname_resolver(LookupThreads())
    stop = stopping.asked
    listener, config = _inherited(loaded.config)
    folders = folders_of(loaded)
    checker = new_checker(folders)
    checks = Checks(folders, checker)
    types = await _report_types(loaded, checks, checker)
    tokens = _tokens(config)
    metrics, history = Metrics(labels(config)), History(labels(config))
    supervisor = Supervisor()
    node = f"{socket.gethostname()}-{os.getpid()}"
    with _own(config):
        async with (
            open_watchdog(metrics, supervisor) as watchdog,
            _started(checker),
            _doing("opening database, queue and store"),
            backends.open_sql(config) as database,
            open_recorder(SqlAudit(database)) as recorder,
            backends.open_queues(config, database) as (queue, dead),
            backends.open_callbacks(config, database, wire.callback_body) as (outbox, messenger),
            backends.open_alerts(config, database, metrics, supervisor) as alerts,
            backends.open_artifacts(config) as store,
            backends.open_breaker_store(config) as breaker_store,
            backends.open_board(config) as board,
            _doing("starting browsers"),
            open_launcher(backends.chromium_settings(config), config.data_dir, backends.own_ports(config)) as launcher,
            open_pool(launcher, backends.pool_settings(config), metrics, supervisor) as pool,
            open_background() as background,
            open_batcher(
                (
                    into := Intake(
                        jobs := SqlJobs(database, outbox, backends.silent_seconds(config)), queue, background
                    )
                ).accept,
                SUBMISSIONS_PER_FLUSH,
            ) as intake,
        ):
            artifacts = ClusterStore(store, SqlCluster(database))
            conditions = backends.conditions(database, artifacts, queue)
            into.on_failure = conditions["queue"].failed
            await _first_looks(artifacts, conditions)
            on = Grounds(
                config=config,
                node=node,
                stop=stop,
                types=types,
                checker=checker,
                tokens=tokens,
                metrics=metrics,
                history=history,
                watchdog=watchdog,
                database=database,
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                conditions=conditions,
                breaker_store=breaker_store,
                outbox=outbox,
                messenger=messenger,
                alerts=alerts,
                recorder=recorder,
                board=board,
                pool=pool,
                background=background,
                supervisor=supervisor,
                intake=intake,
            )
            work = Work(on)
            care = Care(on, work)
            watch = Watch(on, work, care)
            connections = backends.max_connections(config)
            face = await answering(on, work, care, watch, connections)
            reload = reloading(on, work, reloads, checks)
            await work.begin()
            care.begin()
            watch.begin()
            async with trio.open_nursery() as serving:
                http_stop = trio.Event()
                url = await _serve(serving, create_app(face), listener or config.http.bind, http_stop, connections)
                standing = watch.standing(url, reload)
                # What is there now stays for good. A full collection would walk through it and hold the loop for 0.1 s.
                gc.collect()
                gc.freeze()
                log.info("daemon.ready", url=url, slots=pool.slots, connections=connections, node=node)
                sd_notify.notify("READY=1", f"STATUS={standing.line()}")
                background.start_soon(supervisor.keep, "standing", partial(keep_told, standing.line, sd_notify.notify))
                background.start_soon(supervisor.keep, "reload", reload.run)
                # Ends when everything that was received is settled, also what came in at the last moment.
                async with trio.open_nursery() as taking:
                    taking.start_soon(work.poller.run)
                    stopping.begun.set()
                    await stop.wait()
                    log.info("daemon.stopping", held=len(on.held))
                    sd_notify.notify("STOPPING=1", f"STATUS={standing.line()}")
                    work.poller.stop()
                    await drain(on.held, config.shutdown.drain_seconds, stopping.hurried)
                http_stop.set()
    log.info("daemon.stopped")


async def _first_looks(artifacts: ClusterStore, conditions: Mapping[str, Condition]) -> None:
    """So that the first answer of /readyz is a true one. Raises WrongStoreError."""
    with trio.move_on_after(PATIENCE_SECONDS), _unless_away():
        await artifacts.verify()
    async with trio.open_nursery() as nursery:
        for condition in conditions.values():
            nursery.start_soon(condition.look)


@contextmanager
def _unless_away() -> Iterator[None]:
    """What is away is looked at again; what is wrong is not."""
    try:
        yield
    except WrongStoreError:
        raise
    except UnavailableError as error:
        log.warning("store.not_verified", error=str(error))


@asynccontextmanager
async def _started(checker: BoundedChecker) -> AsyncIterator[None]:
    """It begins while the browsers do."""
    async with aclosing(checker):
        checker.start()
        yield


async def _report_types(loaded: Loaded, checks: Checks, checker: BoundedChecker) -> Catalogue:
    try:
        checked = await checks.check(loaded)
    except BaseException:
        await checker.aclose()
        raise
    return Catalogue(checked.edition, checker, loaded.config.callbacks.allowed_hosts)


def _tokens(config: Config) -> Tokens:
    try:
        return Tokens(config.auth.path(config.data_dir))
    except TokensFileError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def _doing(what: str) -> AsyncIterator[None]:
    """Says what comes next, for whoever waits for the start."""
    sd_notify.notify(f"STATUS={what}")
    yield


def _inherited(config: Config) -> tuple[socket.socket | None, Config]:
    """The socket that systemd listens on for us, if it does, and the configuration with its address."""
    try:
        listener = sd_notify.listener()
    except OSError as error:
        raise StartError(str(error)) from error
    if listener is None:
        return None, config
    host, port = listener.getsockname()[:2]
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    config = config.model_copy(update={"http": config.http.model_copy(update={"bind": bind})})
    for conflict in config.conflicts():  # an address that others reach asks for tokens, wherever it is from
        raise ConfigError([Problem(f"the socket of sd_notify, {bind}", conflict.keys[0], conflict.message)])
    return listener, config


async def _serve(
    serving: trio.Nursery, face: ASGIApp, where: str | socket.socket, stop: trio.Event, max_connections: int
) -> str:
    try:
        url: str = await serving.start(serve, face, where, stop, max_connections)
    except (OSError, ExceptionGroup) as error:
        cause = alone(error)
        if isinstance(cause, OSError):
            raise StartError(f"http.bind {where} can't be used: {cause.strerror}; set another http.bind") from error
        raise
    return url


@contextmanager
def _own(config: Config) -> Iterator[None]:
    """One daemon a data folder: the embedded queue and the browser profiles in it belong to one process."""
    data_dir = config.data_dir
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_folder(data_dir, backends.kept_names(config))
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"data_dir {data_dir} can't be used: {error.strerror}; set data_dir") from error
    with lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError:
            raise StartError(f"another reportd uses {data_dir}; stop it, or set another data_dir") from None
        yield

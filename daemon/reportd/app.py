"""The daemon: what it opens, in which order, and how it stops. Read this first."""

import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from pathlib import Path

import structlog
import trio
from starlette.types import ASGIApp

import reportd_web
from reportd import engines, systemd
from reportd.adapters.bounded.checker import BoundedChecker, new_checker
from reportd.adapters.chromium import open_launcher
from reportd.adapters.resolving import LookupThreads
from reportd.adapters.sql.audit import SqlAudit
from reportd.adapters.sql.cluster import SqlCluster
from reportd.adapters.sql.jobs import SqlJobs
from reportd.adapters.templates import Templates
from reportd.assembly import Care, Grounds, Watch, Work, answering, labels, reloading
from reportd.background import alone, open_background
from reportd.batch import open_batcher
from reportd.catalogue import Catalogue
from reportd.condition import PATIENCE_SECONDS, Condition
from reportd.config import Config
from reportd.history import History
from reportd.metrics import Metrics
from reportd.poller import drain
from reportd.pool import open_pool
from reportd.ports import UnavailableError, WrongStoreError
from reportd.private import close_folder
from reportd.recorder import open_recorder
from reportd.reload import Orders
from reportd.service import Intake
from reportd.standing import keep_told
from reportd.stopping import Stopping
from reportd.store import ClusterStore
from reportd.supervised import Supervisor
from reportd.tokens import Tokens, TokensFileError
from reportd.watchdog import open_watchdog
from reportd_web import wire
from reportd_web.app import create_app
from reportd_web.server import serve

log = structlog.get_logger()

SUBMISSIONS_PER_FLUSH = 100


class StartError(Exception):
    """The daemon can't start; the text says why and what to do."""


async def run(
    config: Config,
    folders: list[Path],
    stopping: Stopping,
    reloads: Orders,
) -> None:
    """Serve until it is asked to stop, then drain.

    ``reloads``: orders to read the configuration again. Raises StartError, CatalogueError, BrowserError or
    UnavailableError when it can't start.
    """
    trio.socket.set_custom_hostname_resolver(LookupThreads())
    stop, tokens = stopping.asked, _tokens(config)
    listener, config = _inherited(config)
    folders = [*folders, Path(reportd_web.__file__).parent / "reports"]
    checker = new_checker(folders)
    types = Catalogue(config, folders, Templates(folders), checker)
    metrics, history = Metrics(labels(config)), History(labels(config))
    supervisor = Supervisor()
    node = f"{socket.gethostname()}-{os.getpid()}"
    with _own(config):
        async with (
            open_watchdog(metrics, supervisor) as watchdog,
            _started(checker),
            _doing("opening database, queue and store"),
            engines.open_sql(config) as database,
            open_recorder(SqlAudit(database)) as recorder,
            engines.open_queues(config, database) as (queue, dead),
            engines.open_callbacks(config, database, wire.callback_body) as (outbox, messenger),
            engines.open_alerts(config, database, metrics, supervisor) as alerts,
            engines.open_artifacts(config) as store,
            engines.open_breaker_store(config) as breaker_store,
            engines.open_board(config) as board,
            _doing("starting browsers"),
            open_launcher(engines.chromium_settings(config), config.data_dir, engines.own_ports(config)) as launcher,
            open_pool(launcher, engines.pool_settings(config), metrics, supervisor) as pool,
            open_background() as background,
            open_batcher(
                (into := Intake(jobs := SqlJobs(database, outbox), queue, background)).accept, SUBMISSIONS_PER_FLUSH
            ) as intake,
        ):
            artifacts = ClusterStore(store, SqlCluster(database))
            conditions = engines.conditions(database, artifacts, queue)
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
            connections = engines.max_connections(config)
            face = await answering(on, work, care, watch, connections)
            reload = reloading(on, work, reloads)
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
                systemd.notify("READY=1", f"STATUS={standing.line()}")
                background.start_soon(supervisor.keep, "standing", partial(keep_told, standing.line, systemd.notify))
                background.start_soon(supervisor.keep, "reload", reload.run)
                # Ends when everything that was received is settled, also what came in at the last moment.
                async with trio.open_nursery() as taking:
                    taking.start_soon(work.poller.run)
                    stopping.begun.set()
                    await stop.wait()
                    log.info("daemon.stopping", held=len(on.held))
                    systemd.notify("STOPPING=1", f"STATUS={standing.line()}")
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


def _tokens(config: Config) -> Tokens:
    try:
        return Tokens(config.auth.path(config.data_dir))
    except TokensFileError as error:
        raise StartError(str(error)) from error


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
        close_folder(data_dir, engines.kept_names(config))
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"data_dir {data_dir} can't be used: {error.strerror}; set data_dir") from error
    with lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError:
            raise StartError(f"another reportd uses {data_dir}; stop it, or set another data_dir") from None
        yield

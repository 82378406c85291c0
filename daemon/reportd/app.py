"""The daemon: what it opens, in which order, and how it stops. Read this first."""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

import structlog
import trio
from starlette.types import ASGIApp

import reportd_web
from reportd import systemd
from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.adapters.files import FileArtifacts
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.jobs import SqlJobs
from reportd.adapters.sql.migrate import migrate
from reportd.adapters.sql.queue import EmbeddedQueue
from reportd.background import alone, open_background
from reportd.batch import open_batcher
from reportd.catalogue import Catalogue
from reportd.changes import Changes
from reportd.config import Config
from reportd.core.retry import RetryPolicy
from reportd.held import Held
from reportd.janitor import Janitor
from reportd.poller import Poller, drain, keep_invisible
from reportd.pool import Pool, PoolSettings, open_pool
from reportd.ports import Jobs, Queue, UnavailableError
from reportd.service import Intake, Service
from reportd.worker import Worker
from reportd_web.app import Face, create_app
from reportd_web.server import serve

log = structlog.get_logger()

SUBMISSIONS_PER_FLUSH = 100


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
    if config.auth.tokens_file:
        raise StartError("auth.tokens_file: this version knows no tokens yet; leave it empty and bind to loopback")
    types = Catalogue(config, [*folders, Path(reportd_web.__file__).parent / "reports"])
    held, changes, node = Held(), Changes(), f"{socket.gethostname()}-{os.getpid()}"
    with _own(config.data_dir):
        async with (
            _open_database(config) as database,
            open_launcher(_chromium(config), config.data_dir, _own_port(config)) as launcher,
            open_pool(launcher, _pool(config)) as pool,
        ):
            jobs = SqlJobs(database)
            queue, dead = await _open_queues(config, database)
            artifacts = FileArtifacts(_artifacts_folder(config))
            worker = Worker(
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                renderer=pool,
                types=types,
                held=held,
                changes=changes,
                policy=_policy(config),
                node=node,
            )
            janitor = Janitor(
                jobs=jobs,
                queue=queue,
                dead=dead,
                artifacts=artifacts,
                changes=changes,
                retention_seconds=config.artifacts.retention_days * 86400,
                triage_seconds=config.triage.interval_seconds,
            )
            poller = Poller(queue, worker.handle, pool.slots + config.queue.prefetch)
            async with (
                open_batcher(Intake(jobs, queue).accept, SUBMISSIONS_PER_FLUSH) as intake,
                open_background() as background,
            ):
                service = Service(
                    jobs=jobs,
                    queue=queue,
                    artifacts=artifacts,
                    intake=intake,
                    validator=types,
                    changes=changes,
                    held=held,
                    max_backlog=config.queue.max_backlog,
                )
                status = Status(jobs, queue, pool, held, stop, node)
                face = Face(
                    service=service,
                    schemas=types.schemas(),
                    max_body_bytes=config.http.max_body_bytes,
                    ready=status.parts,
                    status=status.snapshot,
                )
                background.start_soon(keep_invisible, queue, held)
                background.start_soon(janitor.run)
                background.start_soon(service.watch_backlog)
                http_stop = trio.Event()
                url = await _serve(background, create_app(face), config.http.bind, http_stop)
                background.start_soon(poller.run)
                log.info("daemon.ready", url=url, slots=pool.slots, node=node)
                systemd.notify("READY=1", f"STATUS=serving {url} with {pool.slots} slots")
                task_status.started(url)
                await stop.wait()
                log.info("daemon.stopping", held=len(held))
                systemd.notify("STOPPING=1", f"STATUS=draining {len(held)} jobs")
                poller.stop()
                await drain(held, config.shutdown.drain_seconds)
                http_stop.set()
    log.info("daemon.stopped")


class Status:
    """What the daemon says of itself."""

    def __init__(self, jobs: Jobs, queue: Queue, pool: Pool, held: Held, stop: trio.Event, node: str) -> None:
        self._jobs = jobs
        self._queue = queue
        self._pool = pool
        self._held = held
        self._stop = stop
        self._node = node
        self._since = time.time()

    async def parts(self) -> dict[str, tuple[bool, str]]:
        """Per part whether it works, and if not, why."""
        pool = self._pool.state()
        parts = {
            "browsers": (bool(pool.browsers), pool.trouble or f"{len(pool.browsers)} running"),
            "accepting": (not self._stop.is_set(), "draining" if self._stop.is_set() else "yes"),
        }
        for name, look in (("database", self._jobs.counts), ("queue", self._queue.depth)):
            try:
                await look()
                parts[name] = (True, "answers")
            except UnavailableError as error:
                parts[name] = (False, str(error))
        return parts

    async def snapshot(self) -> dict[str, Any]:
        """Everything at once, as JSON."""
        return {
            "node": self._node,
            "since": self._since,
            "held": len(self._held),
            "queue": asdict(await self._queue.depth()),
            "jobs": {str(state): count for state, count in (await self._jobs.counts()).items()},
            "pool": asdict(self._pool.state()),
        }


async def _serve(background: trio.Nursery, face: ASGIApp, bind: str, stop: trio.Event) -> str:
    try:
        url: str = await background.start(serve, face, bind, stop)
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


@asynccontextmanager
async def _open_database(config: Config) -> AsyncIterator[Database]:
    path = config.database.sqlite_path(config.data_dir)
    url = config.database.url if path is None else f"sqlite:///{path}"
    async with open_database(url) as database:
        await migrate(database)
        yield database


async def _open_queues(config: Config, database: Database) -> tuple[EmbeddedQueue, EmbeddedQueue]:
    if config.queue.url != "embedded:":
        raise StartError("queue.url: this version knows only embedded:")
    options = config.queue
    dead = EmbeddedQueue(
        database, "dead", visibility_seconds=options.visibility_seconds, max_receive_count=None, dead=None
    )
    main = EmbeddedQueue(
        database,
        "main",
        visibility_seconds=options.visibility_seconds,
        max_receive_count=options.max_receive_count,
        dead=dead,
    )
    await main.recover()
    await dead.recover()
    return main, dead


def _artifacts_folder(config: Config) -> Path:
    folder = config.artifacts.folder(config.data_dir)
    if folder is None:
        raise StartError("artifacts.url: this version knows only file:")
    return folder


def _own_port(config: Config) -> Callable[[str, int], bool]:
    """No page may talk to the daemon that renders it."""
    return lambda _address, port: port == config.http.port != 0


def _chromium(config: Config) -> ChromiumSettings:
    pool = config.pool
    return ChromiumSettings(
        executable=pool.executable,
        start_seconds=pool.start_timeout_seconds,
        renderer_limit_mib=float(pool.renderer_limit_mib),
    )


def _pool(config: Config) -> PoolSettings:
    """More than one page a core brings nothing, so that is what 0 browsers means."""
    pool = config.pool
    cores = len(os.sched_getaffinity(0))
    return PoolSettings(
        browsers=pool.browsers or max(1, cores // pool.pages_per_browser),
        pages_per_browser=pool.pages_per_browser,
        recycle_after_jobs=pool.recycle_after_jobs,
        recycle_above_mib=float(pool.recycle_above_mib),
    )


def _policy(config: Config) -> RetryPolicy:
    queue = config.queue
    return RetryPolicy(queue.max_attempts, queue.backoff_seconds, queue.max_backoff_seconds)

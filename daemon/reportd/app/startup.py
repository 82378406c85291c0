"""What a start does once, before and after the parts are opened. Each step raises StartError, which says what to do."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock

import trio
from starlette.types import ASGIApp

from reportd.adapters.worker_processes.checker import BoundedChecker
from reportd.app import policies
from reportd.app.checks import Checks
from reportd.concurrency.nurseries import sole_exception
from reportd.config import Config, ConfigError, Loaded, Problem
from reportd.intake.catalogue import Catalogue
from reportd.intake.tokens import Tokens, TokensFileError
from reportd.system import sd_notify
from reportd.system.permissions import close_folder
from reportd_web.http.server import serve


class StartError(Exception):
    """The daemon can't start; the text says why and what to do."""


@contextmanager
def exclusive(config: Config) -> Iterator[None]:
    """Lock the data folder: the embedded queue and the browser profiles in it belong to one process."""
    data_dir = config.data_dir
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_folder(data_dir, policies.kept_names(config))
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"data_dir {data_dir} can't be used: {error.strerror}; set data_dir") from error
    with lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except OSError:
            raise StartError(f"another reportd uses {data_dir}; stop it, or set another data_dir") from None
        yield


def inherited_socket(config: Config) -> tuple[socket.socket | None, Config]:
    """Return the socket that systemd listens on for the daemon, if any, and the configuration with its address."""
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
        raise ConfigError([Problem(f"the socket of systemd, {bind}", conflict.keys[0], conflict.message)])
    return listener, config


async def report_types(loaded: Loaded, checks: Checks, checker: BoundedChecker) -> Catalogue:
    """Read and check the report types. Raises ConfigError."""
    try:
        checked = await checks.check(loaded)
    except BaseException:
        await checker.aclose()
        raise
    return Catalogue(checked.types, checker, loaded.config.callbacks.allowed_hosts)


def accepted_tokens(config: Config) -> Tokens:
    try:
        return Tokens(config.auth.path(config.data_dir))
    except TokensFileError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def running(checker: BoundedChecker) -> AsyncIterator[None]:
    """Start a worker process early, while the browsers start. Close all worker processes after the block."""
    async with aclosing(checker):
        checker.start()
        yield


@asynccontextmanager
async def step(status: str) -> AsyncIterator[None]:
    """Tell systemd what comes next, for somebody who waits for the start."""
    sd_notify.notify(f"STATUS={status}")
    yield


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket | None, config: Config) -> AsyncIterator[str]:
    """Serve HTTP for as long as the block, which gets the URL; then finish what is being answered."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        where = listener or config.http.bind
        try:
            url: str = await nursery.start(serve, app, where, stop, policies.max_connections(config))
        except (OSError, ExceptionGroup) as error:
            cause = sole_exception(error)
            if isinstance(cause, OSError):
                text = f"http.bind {config.http.bind} can't be used: {cause.strerror}; set another http.bind"
                raise StartError(text) from error
            raise
        yield url
        stop.set()

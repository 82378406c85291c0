"""What can be checked before the daemon runs. Each fault comes with what to do about it."""

import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from reportd.adapters.chromium import open_launcher
from reportd.adapters.chromium.browser import find_executable
from reportd.adapters.s3 import S3Artifacts
from reportd.adapters.sql.check import check as check_database
from reportd.adapters.sql.database import open_database
from reportd.adapters.sqs import check as check_sqs
from reportd.background import alone
from reportd.config import Config
from reportd.engines import chromium_settings, open_artifacts
from reportd.ports import BrowserError, UnavailableError
from reportd.tokens import Tokens, TokensFileError

Check = tuple[str, bool, str]

LOOK_SECONDS = 15.0


def examine(config: Config) -> Iterator[Check]:
    """Name, whether it is well, and what was found or is to be done."""
    yield _browser(config)
    yield from _container(config)
    yield _program("setpriv", "util-linux")
    yield from _fonts()
    yield _folder(config.data_dir)
    yield from _tokens(config)
    for name, look in (("database", _database), ("queue", _queue), ("artifacts", _artifacts)):
        yield trio.run(_looked, name, look, config)


async def _looked(name: str, look: Callable[[Config], Awaitable[list[str]]], config: Config) -> Check:
    try:
        with trio.fail_after(LOOK_SECONDS):
            problems = await look(config)
    except trio.TooSlowError:
        problems = [f"{name}: no answer in {LOOK_SECONDS:g} s: check its URL and the network"]
    except UnavailableError as error:
        problems = [str(error)]
    return name, not problems, "; ".join(problems) or "well"


async def _database(config: Config) -> list[str]:
    """SQLite is a file of the data folder, made when it is missing."""
    path = config.database.sqlite_path(config.data_dir)
    if path is not None and not path.exists():
        return []
    async with open_database(config.database.url if path is None else f"sqlite:///{path}") as database:
        return await check_database(database)


async def _queue(config: Config) -> list[str]:
    options, problems = config.queue, []
    if options.url != "embedded:":
        for url in {options.url, *(report.queue_url or options.url for report in config.reports.values())}:
            problems += await check_sqs(
                url,
                options.dead_letter_url,
                max_receive_count=options.max_receive_count,
                region=options.region,
                endpoint_url=options.endpoint_url,
            )
    return problems


async def _artifacts(config: Config) -> list[str]:
    async with open_artifacts(config) as artifacts:
        return await artifacts.check() if isinstance(artifacts, S3Artifacts) else []


def _browser(config: Config) -> Check:
    try:
        executable = find_executable(config.pool.executable)
    except BrowserError as error:
        return "browser", False, str(error)
    shown = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)
    if shown.returncode:
        return "browser", False, f"{executable} does not run: {shown.stderr.strip()[:200]}"
    return "browser", True, f"{executable}, {shown.stdout.strip()}"


def _container(config: Config) -> Iterator[Check]:
    """Where one is wanted: a browser is started in it."""
    settings = chromium_settings(config)

    async def open_one(folder: Path) -> None:
        async with open_launcher(settings, folder, lambda _address, _port: False):
            pass

    if settings.container:
        try:
            with TemporaryDirectory() as folder:
                trio.run(open_one, Path(folder))
        except (BrowserError, BaseExceptionGroup) as failure:
            error = alone(failure)
            if not isinstance(error, BrowserError):
                raise
            yield "container", False, str(error)
        else:
            yield "container", True, "a browser starts in namespaces of its own"


def _program(name: str, package: str) -> Check:
    path = shutil.which(name)
    return name, path is not None, path or f"not found: apt install {package}"


def _fonts() -> Iterator[Check]:
    lister = shutil.which("fc-list")
    if lister is None:
        yield "fonts", False, "fc-list not found: apt install fontconfig"
        return
    for script, language, package in (("Latin", "en", "fonts-inter"), ("Chinese", "zh-cn", "fonts-noto-cjk")):
        found = subprocess.run(
            [lister, f":lang={language}", "family"], capture_output=True, text=True, timeout=20, check=False
        ).stdout.splitlines()
        text = f"{len(found)} fonts" if found else f"none: apt install {package}"
        yield f"{script} fonts", bool(found), text


def _tokens(config: Config) -> Iterator[Check]:
    path = config.auth.path(config.data_dir)
    if path is not None:
        try:
            Tokens(path)
        except TokensFileError as error:
            yield "tokens", False, str(error)
        else:
            yield "tokens", True, str(path)


def _folder(data_dir: Path) -> Check:
    probe = data_dir / ".doctor"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return "data folder", False, f"{data_dir}: {error.strerror}; set data_dir"
    free = shutil.disk_usage(data_dir).free // 2**20
    return "data folder", free > 500, f"{data_dir}, {free} MiB free"  # noqa: PLR2004 - room for a few thousand PDFs

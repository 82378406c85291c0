"""``reportd doctor``: check what the daemon needs, and say what to do about each fault."""

import argparse
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import trio

from reportd.adapters.artifacts.s3 import S3Artifacts
from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import RejectedError, translated_errors
from reportd.adapters.chromium import open_launcher
from reportd.adapters.chromium.browser import find_executable
from reportd.adapters.outbound.client import open_web_client
from reportd.adapters.sql.check import check as check_database
from reportd.adapters.sql.database import open_database
from reportd.adapters.sqs import check as check_sqs
from reportd.app.backends import open_artifacts
from reportd.app.checks import authorities_problem
from reportd.app.policies import chromium_settings
from reportd.cli import fonts
from reportd.cli.configuration import check_files, load
from reportd.cli.fonts import Check
from reportd.concurrency.nurseries import sole_exception
from reportd.concurrency.supervisor import error_text as described
from reportd.config import Config
from reportd.intake.tokens import file_problems
from reportd.ports import BrowserError, UnavailableError
from reportd.system.authorities import read_authorities
from reportd.system.permissions import keep_new_files_private

Look = Callable[[Config], Awaitable[list[str]]]

LOOK_SECONDS = 15.0


def run(options: argparse.Namespace) -> int:
    """Print a line for each check. Faults in the files of a report type do not end the checks."""
    loaded = load(options)
    if loaded is None:
        return 2
    keep_new_files_private()
    status, _ = check_files(loaded)
    for name, ok, text in examine(loaded.config):
        status = status or (0 if ok else 1)
        print(f"{'ok  ' if ok else 'FAIL'}  {name}: {text}", flush=True)
    return status


def examine(config: Config) -> Iterator[Check]:
    """Run all checks, one after the other."""
    yield _browser(config)
    yield from _container(config)
    yield _program("setpriv", "util-linux")
    yield from fonts.checks()
    yield _folder(config.data_dir)
    yield from _tokens(config)
    yield from _authorities(config)
    for name, look in _remote_checks(config).items():
        yield trio.run(_run_check, name, look, config)


def _remote_checks(config: Config) -> dict[str, Look]:
    """Return the checks of the outside parts that the configuration names."""
    parts: dict[str, Look] = {"database": _database, "queue": _queue, "artifacts": _artifacts}
    if config.breaker.store != "memory:":
        parts["breakers"] = _breakers
    if config.alerts.webhook_url or config.alerts.slack_url:
        parts["alerts"] = _alert_receivers
    if config.alerts.sns_topic_arn:
        parts["sns"] = _sns
    if config.scaling.cloudwatch_namespace:
        parts["cloudwatch"] = _cloudwatch
    if any(report.callback_url for report in config.reports.values()):
        parts["callbacks"] = _callback_receivers
    return parts


async def _run_check(name: str, look: Look, config: Config) -> Check:
    try:
        with trio.fail_after(LOOK_SECONDS):
            problems = await look(config)
    except trio.TooSlowError:
        problems = [f"{name}: no answer in {LOOK_SECONDS:g} s: check its URL and the network"]
    except (Exception, BaseExceptionGroup) as failure:
        error = sole_exception(failure)
        if not isinstance(error, Exception):
            raise
        # One check that fails unexpectedly must not hide the results of the others.
        expected = isinstance(error, UnavailableError | RejectedError)
        problems = [str(error) if expected else f"the check failed: {described(error)}"]
    return name, not problems, "; ".join(problems) or "well"


async def _database(config: Config) -> list[str]:
    """A missing SQLite file is no fault: the daemon creates it."""
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
                ca_file=config.pool.ca_path(config.data_dir),
            )
    return problems


async def _artifacts(config: Config) -> list[str]:
    async with open_artifacts(config) as artifacts:
        return await artifacts.check() if isinstance(artifacts, S3Artifacts) else []


async def _breakers(config: Config) -> list[str]:
    from reportd.adapters.redis import check

    return await check(config.breaker.store, config.breaker.namespace)


async def _alert_receivers(config: Config) -> list[str]:
    urls = {"alerts.webhook_url": config.alerts.webhook_url, "alerts.slack_url": config.alerts.slack_url}
    return await _unreachable({key: url for key, url in urls.items() if url}, config.pool.ca_path(config.data_dir))


async def _callback_receivers(config: Config) -> list[str]:
    """The callback URLs that report types name."""
    urls = {f"reports.{name}.callback_url": report.callback_url for name, report in config.reports.items()}
    return await _unreachable({key: url for key, url in urls.items() if url}, config.pool.ca_path(config.data_dir))


async def _unreachable(urls: Mapping[str, str], ca_file: Path | None) -> list[str]:
    """Return a problem for each host that does not answer. Any answer will do: nothing is delivered.

    The URLs may be secret, so the problems name only their keys.
    """
    problems = []
    async with open_web_client(ca_file) as client:
        for key, url in urls.items():
            try:
                await client.head(url)
            except httpx.HTTPError as error:
                problem = f"{key}: no answer from its host ({type(error).__name__}): check host, port, TLS and firewall"
                problems.append(problem)
    return problems


async def _sns(config: Config) -> list[str]:
    """Publish nothing. A role that may only publish is refused here, which is no fault."""
    arn = config.alerts.sns_topic_arn
    ca_file = config.pool.ca_path(config.data_dir)
    async with open_client("sns", "alerts", region=arn.split(":")[3], subject=arn, ca_file=ca_file) as client:
        try:
            with translated_errors("alerts", arn):
                await client.get_topic_attributes(TopicArn=arn)
        except UnavailableError as error:
            return [] if "may not do this" in str(error) else [str(error)]
    return []


async def _cloudwatch(config: Config) -> list[str]:
    """Publish a metric that no scaling policy uses."""
    options = config.scaling
    opened = open_client(
        "cloudwatch",
        "cloudwatch",
        region=options.region,
        endpoint_url=options.endpoint_url,
        subject=options.cloudwatch_namespace,
        ca_file=config.pool.ca_path(config.data_dir),
    )
    async with opened as client:
        with translated_errors("cloudwatch", options.cloudwatch_namespace):
            await client.put_metric_data(
                Namespace=options.cloudwatch_namespace, MetricData=[{"MetricName": "DoctorLooked", "Value": 1.0}]
            )
    return []


def _browser(config: Config) -> Check:
    try:
        executable = find_executable(config.pool.executable)
    except BrowserError as error:
        return "browser", False, str(error)
    version = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)
    if version.returncode:
        return "browser", False, f"{executable} does not run: {version.stderr.strip()[:200]}"
    return "browser", True, f"{executable}, {version.stdout.strip()}"


def _container(config: Config) -> Iterator[Check]:
    """Start a browser in a container, if the configuration asks for containers."""
    settings = chromium_settings(config)

    async def open_one(folder: Path) -> None:
        async with open_launcher(settings, folder, lambda _address, _port: False):
            pass

    if settings.container:
        try:
            with TemporaryDirectory() as folder:
                trio.run(open_one, Path(folder))
        except (BrowserError, BaseExceptionGroup) as failure:
            error = sole_exception(failure)
            if not isinstance(error, BrowserError):
                raise
            yield "container", False, str(error)
        else:
            yield "container", True, "a browser starts in namespaces of its own"


def _program(name: str, package: str) -> Check:
    path = shutil.which(name)
    return name, path is not None, path or f"not found: apt install {package}"


def _tokens(config: Config) -> Iterator[Check]:
    """A faulty tokens file is already reported as a fault of the configuration."""
    path = config.auth.path(config.data_dir)
    if path is not None and not file_problems(path):
        yield "tokens", True, str(path)


def _authorities(config: Config) -> Iterator[Check]:
    """A faulty file is already reported as a fault of the configuration."""
    path = config.pool.ca_path(config.data_dir)
    if path is not None and not authorities_problem(path):
        yield "authorities", True, f"{len(read_authorities(path))} in {path}"


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

"""From configuration keys to the policies and settings of the parts. Pure, but for the number of processors."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from reportd.adapters.chromium import ChromiumSettings
from reportd.browsers.pool import PoolSettings
from reportd.config import Config
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.breaker.window import Rates
from reportd.core.capacity.backlog import BacklogPolicy
from reportd.core.capacity.scaling import ScalingPolicy, SizePolicy
from reportd.core.dead_letters.triage import TriagePolicy
from reportd.core.jobs.retry import RetryPolicy
from reportd.core.repair.message import normal_name
from reportd.ports import Queue
from reportd.system import file_limit
from reportd.work.poller import MAX_BATCH

DAY_SECONDS = 86400.0

SQS_DEPTH_SECONDS = 5.0
"""How old SQS's figures may be: each look is a request, and the figures are approximate all the same."""

SCRAPED_SQS_DEPTH_SECONDS = 30.0
"""How old they may be for /metrics, which is scraped all the time: an idle queue shall cost next to nothing."""

IDLE_SQS_DEPTH_SECONDS = 300.0
"""The same for the history, while nobody looks and there is nothing to do."""


def sqlite_files(path: Path) -> list[Path]:
    """SQLite gives the others the mode that the first one has."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def kept_names(config: Config) -> set[str]:
    """What the daemon keeps in its data folder."""
    path = config.database.sqlite_path(config.data_dir)
    files = [] if path is None else sqlite_files(path)
    files += filter(None, (config.artifacts.folder(config.data_dir), config.auth.path(config.data_dir)))
    inside = [file.relative_to(config.data_dir) for file in files if file.is_relative_to(config.data_dir)]
    return {"lock", "spool", "browsers", *(file.parts[0] for file in inside if file.parts)}


def own_ports(config: Config) -> Callable[[str, int], bool]:
    """No page may talk to the daemon that renders it."""
    return lambda _address, port: port == config.http.port != 0


def chromium_settings(config: Config) -> ChromiumSettings:
    pool = config.pool
    return ChromiumSettings(
        executable=pool.executable,
        start_seconds=pool.start_timeout_seconds,
        renderer_limit_mib=float(pool.renderer_limit_mib),
        container="container" in {pool.isolation, *(report.isolation for report in config.reports.values())},
        page_connections=_shares(config).page_connections,
    )


def pool_settings(config: Config) -> PoolSettings:
    """As it starts; ``size_policy`` says within which bounds it changes."""
    pool = config.pool
    sizes = size_policy(config)
    return PoolSettings(
        browsers=min(sizes.most, max(sizes.least, _usual_browsers(config))),
        pages_per_browser=pool.pages_per_browser,
        recycle_after_jobs=pool.recycle_after_jobs,
        recycle_above_mib=float(pool.recycle_above_mib),
        stall_seconds=pool.stall_seconds,
        max_stalled=pool.max_stalled,
    )


def max_connections(config: Config) -> int:
    """Of HTTP clients: as configured, but no more than leaves files enough to those who render."""
    most = _shares(config).connections
    return min(config.http.max_connections or most, most)


def _shares(config: Config) -> file_limit.Shares:
    sizes, pool = size_policy(config), config.pool
    return file_limit.shares(file_limit.limit(), sizes.most * (pool.pages_per_browser + pool.max_stalled))


def triage_policy(config: Config) -> TriagePolicy:
    options = config.triage
    return TriagePolicy(options.cooldown_seconds, options.max_redrives, options.max_wait_seconds)


def report_names(config: Config) -> dict[str, str]:
    """Every name of a report type as producers may mean it, and the type's own."""
    aliases = {alias: name for name, report in config.reports.items() for alias in report.aliases}
    return {normal_name(name): own for name, own in (aliases | {name: name for name in config.reports}).items()}


def size_policy(config: Config) -> SizePolicy:
    """One more browser may take as much memory as one is allowed to keep."""
    pool, usual = config.pool, _usual_browsers(config)
    least = pool.browsers_min or min(usual, pool.browsers_max or usual)
    return SizePolicy(
        least=least,
        most=pool.browsers_max or max(usual, least),
        pages_per_browser=pool.pages_per_browser,
        browser_mib=float(pool.recycle_above_mib),
    )


def _usual_browsers(config: Config) -> int:
    """More than one page a core brings nothing, so that is what 0 browsers means."""
    cores = len(os.sched_getaffinity(0))
    return config.pool.browsers or max(1, cores // config.pool.pages_per_browser)


def retry_policy(config: Config) -> RetryPolicy:
    queue = config.queue
    return RetryPolicy(queue.max_attempts, queue.backoff_seconds, queue.max_backoff_seconds)


def callback_urls(config: Config) -> dict[str, str]:
    """Where to call back for each report type and alias, unless a job says."""
    urls = {name: report.callback_url for name, report in config.reports.items() if report.callback_url}
    return urls | {alias: url for name, url in urls.items() for alias in config.reports[name].aliases}


def breaker_policy(config: Config) -> BreakerPolicy:
    options = config.breaker
    return BreakerPolicy(
        failure_threshold=options.failure_threshold,
        recovery_seconds=options.recovery_seconds,
        max_recovery_seconds=options.max_recovery_seconds,
        successes_to_close=options.successes_to_close,
        rates=Rates(
            failed=options.failure_rate,
            slow=options.slow_rate,
            slow_seconds=options.slow_seconds,
            size=options.window_size,
            seconds=options.window_seconds,
            minimum=options.minimum_volume,
        ),
    )


def silent_seconds(config: Config) -> float:
    """How long nothing may be heard of a message: its holder may die at once, and what follows takes a moment."""
    return 1.5 * config.queue.visibility_seconds


def max_receive_count(config: Config, queue: Queue) -> int:
    """As configured, or less where the queue's own redrive policy says less: it does not ask the daemon."""
    return min(filter(None, (config.queue.max_receive_count, queue.max_receive_count)))


def scaling_policy(config: Config) -> ScalingPolicy:
    options = config.scaling
    return ScalingPolicy(options.target_seconds, options.reaction_seconds, options.hold_seconds)


def backlog_policy(config: Config) -> BacklogPolicy:
    options = config.queue
    return BacklogPolicy(options.max_backlog, options.max_type_share, options.max_user_share)


def tells_types(config: Config) -> bool:
    """Whether the queue can be asked for messages of some report types alone; a single one of SQS can't."""
    return config.queue.url == "embedded:" or any(report.queue_url for report in config.reports.values())


def least_places(config: Config) -> int:
    """How many places must be free before messages are asked for: a request to SQS costs the same for ten.

    A quarter of the prefetch is left for the slots to work on until the answer is there.
    """
    if config.queue.url == "embedded:":
        return 1
    return max(1, min(MAX_BATCH, config.queue.prefetch - config.queue.prefetch // 4))


def depth_seconds(config: Config) -> float:
    """How often the backlog is looked at while jobs come in."""
    return 1.0 if config.queue.url == "embedded:" else SQS_DEPTH_SECONDS


def scraped_depth_seconds(config: Config) -> float:
    """How old the queues' figures on /metrics may be."""
    return 1.0 if config.queue.url == "embedded:" else SCRAPED_SQS_DEPTH_SECONDS


def sampled_depth_seconds(config: Config) -> float:
    """How often the queues' depths are looked at for the status page's history, while nobody looks at it."""
    return 5.0 if config.queue.url == "embedded:" else SCRAPED_SQS_DEPTH_SECONDS


def idle_sampled_depth_seconds(config: Config) -> float:
    """The same, while there is nothing to do."""
    return 5.0 if config.queue.url == "embedded:" else IDLE_SQS_DEPTH_SECONDS


def labels(config: Config) -> Mapping[str, str]:
    """Map each name that a job may carry, aliases too, to the report type that it is counted under."""
    return {name: label for label, report in config.reports.items() for name in (label, *report.aliases)}


def concurrency_limits(config: Config) -> dict[str, int]:
    """How many jobs of each report type may render at once; 0 for any number."""
    return {name: report.max_concurrency for name, report in config.reports.items()}


def timeout_factors(config: Config) -> dict[str, float]:
    """By what each report type's usual duration is multiplied to give its timeout; 0 for the configured timeout."""
    return {name: report.timeout_p99_factor for name, report in config.reports.items()}

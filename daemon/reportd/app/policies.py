"""Turns configuration keys into policies and settings of the parts. It reads only the number of processors."""

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
"""How old the figures of SQS may be. Each look is a request, and the figures are approximate anyway."""

SCRAPED_SQS_DEPTH_SECONDS = 30.0
"""The same for /metrics, which is scraped all the time: an idle queue should cost next to nothing."""

IDLE_SQS_DEPTH_SECONDS = 300.0
"""The same for the history while the node is idle and nobody has the page open."""


def sqlite_files(path: Path) -> list[Path]:
    """Return the database file and those beside it. SQLite gives them the mode of the first."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def kept_names(config: Config) -> set[str]:
    """Return the names of everything that the daemon keeps in its data folder."""
    path = config.database.sqlite_path(config.data_dir)
    files = [] if path is None else sqlite_files(path)
    named = (config.artifacts.folder, config.auth.path, config.pool.ca_path)
    files += filter(None, (path_in(config.data_dir) for path_in in named))
    inside = [file.relative_to(config.data_dir) for file in files if file.is_relative_to(config.data_dir)]
    return {"lock", "spool", "browsers", "editions", *(file.parts[0] for file in inside if file.parts)}


def editions_folder(config: Config) -> Path:
    """Return the folder of the last sound editions of templates."""
    return config.data_dir / "editions"


def own_ports(config: Config) -> Callable[[str, int], bool]:
    """Return whether an address and port are the daemon's own: no page may talk to the daemon that renders it."""
    return lambda _address, port: port == config.http.port != 0


def chromium_settings(config: Config) -> ChromiumSettings:
    pool = config.pool
    return ChromiumSettings(
        executable=pool.executable,
        start_seconds=pool.start_timeout_seconds,
        renderer_limit_mib=float(pool.renderer_limit_mib),
        container="container" in {pool.isolation, *(report.isolation for report in config.reports.values())},
        page_connections=_shares(config).page_connections,
        ca_file=pool.ca_path(config.data_dir),
    )


def pool_settings(config: Config) -> PoolSettings:
    """Return the settings of the pool at the start; ``size_policy`` bounds its later size."""
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
    """Return the limit of HTTP connections: as configured, but leaving enough file descriptors to rendering."""
    most = _shares(config).connections
    return min(config.http.max_connections or most, most)


def _shares(config: Config) -> file_limit.Shares:
    sizes, pool = size_policy(config), config.pool
    return file_limit.shares(file_limit.limit(), sizes.most * (pool.pages_per_browser + pool.max_stalled))


def triage_policy(config: Config) -> TriagePolicy:
    options = config.triage
    return TriagePolicy(options.cooldown_seconds, options.max_redrives, options.max_wait_seconds)


def report_names(config: Config) -> dict[str, str]:
    """Map each normalised name or alias of a report type to the name of the type."""
    aliases = {alias: name for name, report in config.reports.items() for alias in report.aliases}
    return {normal_name(name): own for name, own in (aliases | {name: name for name in config.reports}).items()}


def size_policy(config: Config) -> SizePolicy:
    """Return the bounds of the number of browsers. One more needs the memory at which a browser is recycled."""
    pool, usual = config.pool, _usual_browsers(config)
    least = pool.browsers_min or min(usual, pool.browsers_max or usual)
    return SizePolicy(
        least=least,
        most=pool.browsers_max or max(usual, least),
        pages_per_browser=pool.pages_per_browser,
        browser_mib=float(pool.recycle_above_mib),
    )


def _usual_browsers(config: Config) -> int:
    """Return ``pool.browsers``. 0 means one page a core, since more pages a core add no throughput."""
    cores = len(os.sched_getaffinity(0))
    return config.pool.browsers or max(1, cores // config.pool.pages_per_browser)


def retry_policy(config: Config) -> RetryPolicy:
    queue = config.queue
    return RetryPolicy(queue.max_attempts, queue.backoff_seconds, queue.max_backoff_seconds)


def callback_urls(config: Config) -> dict[str, str]:
    """Map each report type and alias to its callback URL, for jobs that name none."""
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
    """Return how long a message may give no sign: its visibility, if its node dies at once, and some margin."""
    return 1.5 * config.queue.visibility_seconds


def max_receive_count(config: Config, queue: Queue) -> int:
    """Return the configured limit, or the queue's own redrive limit if that is lower: SQS does not ask the daemon."""
    return min(filter(None, (config.queue.max_receive_count, queue.max_receive_count)))


def scaling_policy(config: Config) -> ScalingPolicy:
    options = config.scaling
    return ScalingPolicy(options.target_seconds, options.reaction_seconds, options.hold_seconds)


def backlog_policy(config: Config) -> BacklogPolicy:
    options = config.queue
    return BacklogPolicy(options.max_backlog, options.max_type_share, options.max_user_share)


def tells_types(config: Config) -> bool:
    """Return whether the queue can be asked for messages of some report types only. A single SQS queue can't."""
    return config.queue.url == "embedded:" or any(report.queue_url for report in config.reports.values())


def least_places(config: Config) -> int:
    """Return how much capacity must be free before the poller asks. A request to SQS costs the same for ten messages.

    A quarter of the prefetch is left for the slots to work on until the answer is there.
    """
    if config.queue.url == "embedded:":
        return 1
    return max(1, min(MAX_BATCH, config.queue.prefetch - config.queue.prefetch // 4))


def depth_seconds(config: Config) -> float:
    """Return the seconds between two looks at the backlog while jobs come in."""
    return 1.0 if config.queue.url == "embedded:" else SQS_DEPTH_SECONDS


def scraped_depth_seconds(config: Config) -> float:
    """Return how many seconds old the figures of the queues on /metrics may be."""
    return 1.0 if config.queue.url == "embedded:" else SCRAPED_SQS_DEPTH_SECONDS


def sampled_depth_seconds(config: Config) -> float:
    """Return the seconds between two samples of the queues' depths for the status page's history."""
    return 5.0 if config.queue.url == "embedded:" else SCRAPED_SQS_DEPTH_SECONDS


def idle_sampled_depth_seconds(config: Config) -> float:
    """Return the same for an idle node."""
    return 5.0 if config.queue.url == "embedded:" else IDLE_SQS_DEPTH_SECONDS


def labels(config: Config) -> Mapping[str, str]:
    """Map each name that a job may carry, aliases too, to the report type that it is counted under."""
    return {name: label for label, report in config.reports.items() for name in (label, *report.aliases)}


def concurrency_limits(config: Config) -> dict[str, int]:
    """Return how many jobs of each report type may render at once; 0 for any number."""
    return {name: report.max_concurrency for name, report in config.reports.items()}


def timeout_factors(config: Config) -> dict[str, float]:
    """Return for each report type how many times its usual duration a job may take; 0 for the configured timeout."""
    return {name: report.timeout_p99_factor for name, report in config.reports.items()}

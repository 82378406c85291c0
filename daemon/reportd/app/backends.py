"""Which adapter each URL of the configuration means, opened for as long as a block lasts. Only ``app`` uses it.

The libraries of AWS and Redis take half of the daemon's start, so they are imported where they are asked for.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from reportd.adapters.artifacts.cluster import ClusterStore
from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.adapters.aws.cloudwatch import open_cloudwatch
from reportd.adapters.chromium import ChromiumSettings
from reportd.adapters.egress.proxy import OwnPorts
from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.adapters.outbound.alert_channels import open_alert_channels
from reportd.adapters.outbound.callbacks import open_messenger
from reportd.adapters.routed_queue import RoutedQueue
from reportd.adapters.sql.check import probe
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.migrate import migrate
from reportd.adapters.sql.stores.alerts import SqlAlerts
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.browsers.pool import PoolSettings
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.core.breaker.breaker import Policy
from reportd.core.breaker.window import Rates
from reportd.core.capacity.backlog import BacklogPolicy
from reportd.core.capacity.scaling import ScalingPolicy, SizePolicy
from reportd.core.dead_letters.triage import Policy as TriagePolicy
from reportd.core.jobs.retry import RetryPolicy
from reportd.core.repair.message import normal_name
from reportd.notify.alerts import Alerts
from reportd.ports import ArtifactStore, BreakerStore, Messenger, Meter, Queue, Record
from reportd.status.condition import Condition
from reportd.status.demand import Board
from reportd.system import file_limit
from reportd.system.permissions import make_private
from reportd.work.poller import MAX_BATCH

SQS_LINGER_SECONDS = 1.0
"""How long a delete waits for others to share its request, as many as are asked for at once. It keeps its place
meanwhile, so only where those abound."""

SQS_DEPTH_SECONDS = 5.0
"""How old SQS's figures may be: each look is a request, and the figures are approximate all the same."""

SCRAPED_SQS_DEPTH_SECONDS = 30.0
"""How old they may be for /metrics, which is scraped all the time: an idle queue shall cost next to nothing."""

IDLE_SQS_DEPTH_SECONDS = 300.0
"""The same for the history, while nobody looks and there is nothing to do."""


QUEUE_CALM_SECONDS = 10.0
"""How long a queue that refused messages counts as in trouble, though it answers."""


@asynccontextmanager
async def open_sql(config: Config) -> AsyncIterator[Database]:
    """The database, brought to this version's schema."""
    path = config.database.sqlite_path(config.data_dir)
    if path is not None:  # it need not be in the data folder
        for file in _sqlite_files(path):
            make_private(file)
    async with open_database(config.database.url if path is None else f"sqlite:///{path}") as database:
        await migrate(database)
        yield database


def _sqlite_files(path: Path) -> list[Path]:
    """SQLite gives the others the mode that the first one has."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def kept_names(config: Config) -> set[str]:
    """What the daemon keeps in its data folder."""
    path = config.database.sqlite_path(config.data_dir)
    files = [] if path is None else _sqlite_files(path)
    files += filter(None, (config.artifacts.folder(config.data_dir), config.auth.path(config.data_dir)))
    inside = [file.relative_to(config.data_dir) for file in files if file.is_relative_to(config.data_dir)]
    return {"lock", "spool", "browsers", *(file.parts[0] for file in inside if file.parts)}


@asynccontextmanager
async def open_queues(config: Config, database: Database) -> AsyncIterator[tuple[Queue, Queue]]:
    """The queue of the jobs, which may be several, and the one of dead letters."""
    if config.queue.url == "embedded:":
        yield await _embedded(config, database)
        return
    from reportd.adapters.sqs import SqsQueue, open_sqs_queue

    async with AsyncExitStack() as stack:

        async def open_one(url: str) -> SqsQueue:
            options = config.queue
            return await stack.enter_async_context(
                open_sqs_queue(
                    url,
                    visibility_seconds=options.visibility_seconds,
                    region=options.region,
                    endpoint_url=options.endpoint_url,
                    group_by=options.group_by,
                    depth_seconds=SQS_DEPTH_SECONDS,
                    linger_seconds=SQS_LINGER_SECONDS if options.prefetch >= MAX_BATCH else 0.0,
                    enough=least_places(config),
                )
            )

        main = await open_one(config.queue.url)
        dead = await open_one(config.queue.dead_letter_url)
        urls = {name: report.queue_url for name, report in config.reports.items() if report.queue_url}
        own = {url: await open_one(url) for url in sorted(set(urls.values()))}
        queue: Queue = RoutedQueue(main, {name: own[url] for name, url in urls.items()}) if own else main
        yield queue, dead


async def _embedded(config: Config, database: Database) -> tuple[Queue, Queue]:
    seconds = config.queue.visibility_seconds
    dead = EmbeddedQueue(database, "dead", visibility_seconds=seconds)
    main = EmbeddedQueue(
        database,
        "main",
        visibility_seconds=seconds,
        max_receive_count=config.queue.max_receive_count,
        dead=dead,
    )
    await main.recover()
    await dead.recover()
    return main, dead


@asynccontextmanager
async def open_artifacts(config: Config) -> AsyncIterator[ArtifactStore]:
    """Where PDFs are kept."""
    options = config.artifacts
    folder, bucket = options.folder(config.data_dir), options.bucket()
    if folder is not None:
        yield FileArtifacts(folder)
    elif bucket is not None:
        from reportd.adapters.artifacts.s3 import open_s3_artifacts

        name, prefix = bucket
        async with open_s3_artifacts(
            name,
            prefix,
            presign_seconds=options.presign_seconds,
            region=options.region,
            endpoint_url=options.endpoint_url,
            encryption=options.encryption,
        ) as artifacts:
            yield artifacts


def conditions(database: Database, artifacts: ClusterStore, queue: Queue) -> dict[str, Condition]:
    """How the parts from outside are, by their names on /readyz; who uses them tells."""
    found = {
        "database": Condition("database", partial(probe, database)),
        "artifacts": Condition("artifacts", artifacts.probe),
        # Sending can't be tried without a message, so it gets some time to fail again.
        "queue": Condition("queue", queue.depth, calm_seconds=QUEUE_CALM_SECONDS),
    }
    database.on_failure = found["database"].failed
    artifacts.on_failure = found["artifacts"].failed
    return found


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


@asynccontextmanager
async def open_callbacks(
    config: Config, database: Database, compose: Callable[[Record], bytes]
) -> AsyncIterator[tuple[SqlOutbox, Messenger]]:
    """Where the ends of jobs wait to be told, and what tells them; never the daemon itself. ``compose``: the words."""
    options, forbidden = config.callbacks, OwnPorts(own_ports(config)).forbid
    async with open_messenger(options.allowed_hosts, options.secret, forbidden) as messenger:
        outbox = SqlOutbox(database, compose, callback_urls(config))
        await outbox.recover()
        yield outbox, messenger


def callback_urls(config: Config) -> dict[str, str]:
    """Where to call back for each report type and alias, unless a job says."""
    urls = {name: report.callback_url for name, report in config.reports.items() if report.callback_url}
    return urls | {alias: url for name, url in urls.items() for alias in config.reports[name].aliases}


@asynccontextmanager
async def open_alerts(
    config: Config, database: Database, meter: Meter, supervisor: Supervisor
) -> AsyncIterator[Alerts]:
    """Who is told of trouble, on the channels that are configured."""
    options = config.alerts
    urls = options.webhook_url, options.slack_url, options.sns_topic_arn, config.http.public_url
    async with open_alert_channels(*urls) as channels:
        yield Alerts(
            SqlAlerts(database), channels, window_seconds=options.window_seconds, meter=meter, supervisor=supervisor
        )


@asynccontextmanager
async def open_breaker_store(config: Config) -> AsyncIterator[BreakerStore]:
    """Where the breakers' state is: in this process, or in Redis, which all nodes share."""
    if config.breaker.store == "memory:":
        yield MemoryBreakers()
        return
    from reportd.adapters.redis import open_breakers

    async with open_breakers(config.breaker.store, config.breaker.namespace) as store:
        yield store


def breaker_policy(config: Config) -> Policy:
    options = config.breaker
    return Policy(
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


@asynccontextmanager
async def open_board(config: Config) -> AsyncIterator[Board | None]:
    """Where the figures are published that a fleet is scaled by; None where nowhere."""
    options = config.scaling
    if not options.cloudwatch_namespace:
        yield None
        return
    from reportd.adapters.sqs import name_of

    async with open_cloudwatch(
        options.cloudwatch_namespace,
        name_of(config.queue.url),
        region=options.region,
        endpoint_url=options.endpoint_url,
    ) as board:
        yield board


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


def sqs_requests(*queues: Queue) -> Callable[[], Mapping[str, Mapping[str, int]]]:
    """What SQS was asked so far, by queue and action; nothing where no queue is of SQS."""
    each = [part for queue in queues for part in (queue.queues if isinstance(queue, RoutedQueue) else [queue])]
    if all(isinstance(queue, EmbeddedQueue) for queue in each):
        return dict
    from reportd.adapters.sqs import SqsQueue

    def counted() -> Mapping[str, Mapping[str, int]]:
        counts: dict[str, Counter[str]] = {}
        for queue in each:
            if isinstance(queue, SqsQueue):
                counts.setdefault(queue.name, Counter()).update(queue.requests)
        return counts

    return counted

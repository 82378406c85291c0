"""Opens the adapters that the URLs of the configuration mean, for as long as a block lasts."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from reportd.adapters.artifacts.cluster import ClusterStore
from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.adapters.aws.cloudwatch import open_cloudwatch
from reportd.adapters.egress.own_ports import OwnPorts
from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.adapters.outbound.alert_channels import open_alert_channels
from reportd.adapters.outbound.callbacks import open_messenger
from reportd.adapters.routed_queue import RoutedQueue
from reportd.adapters.sql.check import probe
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.migrate import migrate
from reportd.adapters.sql.stores.alerts import SqlAlerts
from reportd.adapters.sql.stores.audit import SqlAudit
from reportd.adapters.sql.stores.cluster import SqlCluster
from reportd.adapters.sql.stores.dead_letters import SqlDeadLetters
from reportd.adapters.sql.stores.evidence import SqlEvidence
from reportd.adapters.sql.stores.fleet import SqlFleet
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.adapters.sql.stores.secrets import shared_secret
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.app import policies
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.notify.alerts import Alerts
from reportd.ports import (
    AlertStore,
    Artifacts,
    ArtifactStore,
    Audit,
    BreakerStore,
    DeadLetters,
    EndedSessions,
    EvidenceStore,
    Fleet,
    Jobs,
    Messenger,
    Meter,
    Outbox,
    Queue,
    Record,
    UnavailableError,
    WrongStoreError,
)
from reportd.status.condition import PATIENCE_SECONDS, Condition
from reportd.status.demand import ScalingMetricsSink
from reportd.system.permissions import make_private
from reportd.work.poller import MAX_BATCH

log = structlog.get_logger()

SQS_LINGER_SECONDS = 1.0
"""How long a delete waits for others, so that they share a request. The message counts as in flight until then, so this
needs a large prefetch."""

QUEUE_CALM_SECONDS = 10.0
"""A queue that refused messages counts as in trouble for so long, although it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Everything outside of the process, as ports. Tests make one of fakes.

    ``single_node``: no other node can use the database. ``session_secret``: signs the logins of all nodes.
    ``conditions``: of the parts that ``/readyz`` names.
    """

    jobs: Jobs
    letters: DeadLetters
    audit: Audit
    queue: Queue
    dead: Queue
    artifacts: Artifacts
    breaker_store: BreakerStore
    outbox: Outbox
    messenger: Messenger
    alert_store: AlertStore
    fleet: Fleet
    ended_sessions: EndedSessions
    evidence: EvidenceStore
    session_secret: bytes
    scaling_metrics: ScalingMetricsSink | None
    conditions: Mapping[str, Condition]
    single_node: bool


@asynccontextmanager
async def open_backends(config: Config, callback_body: Callable[[Record], bytes]) -> AsyncIterator[Backends]:
    """Open what the URLs of the configuration mean, and probe it once, so that the first answer of /readyz is true.

    ``callback_body``: the words of a callback. Raises UnavailableError, and WrongStoreError when the artifact store is
    not that of the other nodes.
    """
    async with (
        open_sql(config) as database,
        _open_queues(config, database) as (queue, dead),
        _open_callbacks(config, database, callback_body) as (outbox, messenger),
        open_artifacts(config) as store,
        open_breaker_store(config) as breaker_store,
        open_scaling_metrics(config) as scaling_metrics,
    ):
        artifacts = ClusterStore(store, SqlCluster(database))
        conditions = _conditions(database, artifacts, queue)
        await _probe(artifacts, conditions)
        yield Backends(
            jobs=SqlJobs(database, outbox, policies.silent_seconds(config)),
            letters=SqlDeadLetters(database),
            audit=SqlAudit(database),
            queue=queue,
            dead=dead,
            artifacts=artifacts,
            breaker_store=breaker_store,
            outbox=outbox,
            messenger=messenger,
            alert_store=SqlAlerts(database),
            fleet=SqlFleet(database),
            ended_sessions=SqlEndedSessions(database),
            evidence=SqlEvidence(database),
            session_secret=await shared_secret(database, "sessions"),
            scaling_metrics=scaling_metrics,
            conditions=conditions,
            single_node=database.is_sqlite,
        )


async def _probe(artifacts: ClusterStore, conditions: Mapping[str, Condition]) -> None:
    with trio.move_on_after(PATIENCE_SECONDS):
        try:
            await artifacts.verify()
        except WrongStoreError:
            raise
        except UnavailableError as error:
            log.warning("store.not_verified", error=str(error))
    async with trio.open_nursery() as nursery:
        for condition in conditions.values():
            nursery.start_soon(condition.look)


@asynccontextmanager
async def open_sql(config: Config) -> AsyncIterator[Database]:
    """Open the database and migrate it to the schema of this version."""
    path = config.database.sqlite_path(config.data_dir)
    if path is not None:  # it need not be in the data folder
        for file in policies.sqlite_files(path):
            make_private(file)
    async with open_database(config.database.url if path is None else f"sqlite:///{path}") as database:
        await migrate(database)
        yield database


@asynccontextmanager
async def _open_queues(config: Config, database: Database) -> AsyncIterator[tuple[Queue, Queue]]:
    """Open the job queue, which may be several queues of SQS, and the dead-letter queue."""
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
                    ca_file=config.pool.ca_path(config.data_dir),
                    group_by=options.group_by,
                    depth_seconds=policies.SQS_DEPTH_SECONDS,
                    linger_seconds=SQS_LINGER_SECONDS if options.prefetch >= MAX_BATCH else 0.0,
                    enough=policies.least_places(config),
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
    """Open the folder or the bucket of the PDFs."""
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
            ca_file=config.pool.ca_path(config.data_dir),
        ) as artifacts:
            yield artifacts


def _conditions(database: Database, artifacts: ClusterStore, queue: Queue) -> dict[str, Condition]:
    """Return the condition of each outside part, by its name on /readyz. The adapters report their failures to it."""
    found = {
        "database": Condition("database", partial(probe, database)),
        "artifacts": Condition("artifacts", artifacts.probe),
        # A probe can't send without a message. So the queue stays in trouble for some time, in which sends may fail.
        "queue": Condition("queue", queue.depth, calm_seconds=QUEUE_CALM_SECONDS),
    }
    database.on_failure = found["database"].failed
    artifacts.on_failure = found["artifacts"].failed
    return found


@asynccontextmanager
async def _open_callbacks(
    config: Config, database: Database, compose: Callable[[Record], bytes]
) -> AsyncIterator[tuple[SqlOutbox, Messenger]]:
    """Open the outbox and the messenger of callbacks. ``compose`` makes a callback's body.

    No callback may reach the daemon itself.
    """
    options, forbidden = config.callbacks, OwnPorts(policies.own_ports(config)).forbid
    ca_file = config.pool.ca_path(config.data_dir)
    async with open_messenger(options.allowed_hosts, options.secret, forbidden, ca_file=ca_file) as messenger:
        outbox = SqlOutbox(database, compose, policies.callback_urls(config))
        await outbox.recover()
        yield outbox, messenger


@asynccontextmanager
async def open_alerts(config: Config, store: AlertStore, meter: Meter, supervisor: Supervisor) -> AsyncIterator[Alerts]:
    """Open the alerts on the configured channels."""
    options = config.alerts
    urls = options.webhook_url, options.slack_url, options.sns_topic_arn, config.http.public_url
    async with open_alert_channels(*urls, config.pool.ca_path(config.data_dir)) as channels:
        yield Alerts(store, channels, window_seconds=options.window_seconds, meter=meter, supervisor=supervisor)


@asynccontextmanager
async def open_breaker_store(config: Config) -> AsyncIterator[BreakerStore]:
    """Open the store of the breakers: in this process, or in Redis, which all nodes share."""
    if config.breaker.store == "memory:":
        yield MemoryBreakers()
        return
    from reportd.adapters.redis import open_breakers

    async with open_breakers(config.breaker.store, config.breaker.namespace) as store:
        yield store


@asynccontextmanager
async def open_scaling_metrics(config: Config) -> AsyncIterator[ScalingMetricsSink | None]:
    """Open the sink of the figures by which a fleet scales; None if none is configured."""
    options = config.scaling
    if not options.cloudwatch_namespace:
        yield None
        return
    from reportd.adapters.sqs import queue_name

    async with open_cloudwatch(
        options.cloudwatch_namespace,
        queue_name(config.queue.url),
        region=options.region,
        endpoint_url=options.endpoint_url,
        ca_file=config.pool.ca_path(config.data_dir),
    ) as board:
        yield board


def sqs_requests(*queues: Queue) -> Callable[[], Mapping[str, Mapping[str, int]]]:
    """Return a function that counts the requests to SQS so far, by queue and action; empty without SQS."""
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

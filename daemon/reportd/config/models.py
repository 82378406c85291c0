"""The valid configuration: one class per section, and ``Config`` on top.

Used by everything that is configured. Defaults and bounds are defined only here. ``docs/CONFIGURATION.md`` and
``packaging/reportd.toml`` explain each key, and a test compares them with this module.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reportd.config.render_tokens import RenderTokens
from reportd.config.report_types import BUILT_IN, ReportType
from reportd.config.section import Accepts, Conflict, Section
from reportd.config.values import (
    ArtifactsUrl,
    Bind,
    BreakerStore,
    Count,
    DatabaseUrl,
    Encryption,
    Hosts,
    MetricNamespace,
    Namespace,
    Number,
    OptionalUrl,
    QueueUrl,
    Region,
    SecretUrl,
    SigningSecret,
    SqsUrl,
    TopicArn,
    folder_of,
    is_loopback,
    split_bind,
    split_url,
)
from reportd.core.pages.network import NetworkRule, url_target


class Http(Section):
    """The HTTP server. ``max_connections`` 0 derives it from the limit of open files."""

    bind: Bind = "127.0.0.1:8080"
    max_body_bytes: Count = Field(1048576, ge=1024, le=104857600)
    max_connections: Count = Field(0, ge=0, le=1000000)
    public_url: OptionalUrl = ""

    @property
    def host(self) -> str:
        return split_bind(self.bind)[0]

    @property
    def port(self) -> int:
        return split_bind(self.bind)[1]


class Database(Section):
    """The database of the jobs."""

    url: DatabaseUrl = "sqlite:///reportd.db"

    def sqlite_path(self, data_dir: Path) -> Path | None:
        """Return the SQLite file, or None for another database."""
        prefix = "sqlite:///"
        return data_dir / self.url.removeprefix(prefix) if self.url.startswith(prefix) else None


class QueueOptions(Section):
    """The queue, and the retries of a job. ``group_by`` chooses the message group on FIFO queues."""

    url: QueueUrl = "embedded:"
    dead_letter_url: SqsUrl = ""
    endpoint_url: OptionalUrl = ""
    region: Region = ""
    # SQS keeps a message invisible for 12 hours at most.
    visibility_seconds: Number = Field(60.0, ge=5, le=43200)
    max_attempts: Count = Field(3, ge=1, le=100)
    backoff_seconds: Number = Field(1.0, ge=0, le=43200)
    max_backoff_seconds: Number = Field(60.0, ge=0, le=43200)
    prefetch: Count = Field(2, ge=0, le=1000)
    max_backlog: Count = Field(10000, ge=1, le=100000000)
    max_type_share: Number = Field(0.5, ge=0.01, le=1)
    max_user_share: Number = Field(0.25, ge=0.01, le=1)
    # The bounds of maxReceiveCount in an SQS redrive policy.
    max_receive_count: Count = Field(20, ge=1, le=1000)
    group_by: Literal["task", "user", "reportType"] = "task"

    def conflicts(self) -> Iterator[Conflict]:
        """Report a missing or unsuitable dead-letter queue, and limits in the wrong order."""
        if self.url != "embedded:" and (fault := self.dlq_fault(self.url)):
            yield Conflict(("dead_letter_url", "url"), fault)
        yield from _at_least(self, "max_backoff_seconds", "backoff_seconds")
        yield from _at_least(self, "max_receive_count", "max_attempts")

    def dlq_fault(self, queue_url: str) -> str:
        """Return why ``dead_letter_url`` can't be the DLQ of that SQS queue; empty when it can."""
        if not self.dead_letter_url:
            return "is missing; accepted: the URL of the DLQ, which an SQS queue needs"
        if self.dead_letter_url == queue_url:
            return "is the queue itself; accepted: another queue"
        if self.dead_letter_url.endswith(".fifo") != queue_url.endswith(".fifo"):
            return "is of another kind; accepted: a FIFO queue for a FIFO queue, else a standard queue"
        return ""


class ArtifactStore(Section):
    """The store of the PDFs, and their retention."""

    url: ArtifactsUrl = "file:artifacts"
    endpoint_url: OptionalUrl = ""
    region: Region = ""
    retention_days: Number = Field(30.0, ge=0.001, le=36500)
    # Signature Version 4 allows seven days.
    presign_seconds: Number = Field(900.0, ge=1, le=604800)
    encryption: Encryption = ""

    def folder(self, data_dir: Path) -> Path | None:
        """Return the local folder, or None when PDFs go to S3."""
        return data_dir / folder_of(self.url) if self.url.startswith("file:") else None

    def bucket(self) -> tuple[str, str] | None:
        """Return bucket and prefix (without outer slashes), or None when PDFs go to a folder."""
        if self.url.startswith("file:"):
            return None
        parts = split_url(self.url, ("s3",))
        return parts.netloc, parts.path.strip("/")


class Breaker(Section):
    """When the breaker of a report type opens, and for how long."""

    store: BreakerStore = "memory:"
    failure_threshold: Count = Field(3, ge=1, le=1000)
    recovery_seconds: Number = Field(10.0, ge=0.1, le=86400)
    max_recovery_seconds: Number = Field(300.0, ge=0.1, le=604800)
    successes_to_close: Count = Field(1, ge=1, le=100)
    failure_rate: Number = Field(0.0, ge=0, le=1)
    slow_rate: Number = Field(0.0, ge=0, le=1)
    slow_seconds: Number = Field(30.0, ge=0.01, le=3600)
    # Each change writes the whole window to the store.
    window_size: Count = Field(50, ge=1, le=1000)
    window_seconds: Number = Field(60.0, ge=0.1, le=86400)
    minimum_volume: Count = Field(10, ge=1, le=1000)
    namespace: Namespace = "reportd"

    def conflicts(self) -> Iterator[Conflict]:
        """Report a longest wait below the first one, and a window smaller than ``minimum_volume``."""
        yield from _at_least(self, "max_recovery_seconds", "recovery_seconds")
        yield from _at_least(self, "window_size", "minimum_volume")


class Pool(Section):
    """The browsers. ``browsers`` 0 derives the number from the cores; both bounds 0 mean ``browsers``.

    An empty ``executable`` is searched for.
    """

    executable: Annotated[str, Accepts("the path of a program, or nothing")] = ""
    browsers: Count = Field(0, ge=0, le=256)
    browsers_min: Count = Field(0, ge=0, le=256)
    browsers_max: Count = Field(0, ge=0, le=256)
    pages_per_browser: Count = Field(2, ge=1, le=64)
    stall_seconds: Number = Field(2.0, ge=0.05, le=3600)
    max_stalled: Count = Field(4, ge=0, le=256)
    recycle_after_jobs: Count = Field(500, ge=1, le=1000000)
    recycle_above_mib: Count = Field(1024, ge=64, le=1048576)
    renderer_limit_mib: Count = Field(2048, ge=128, le=1048576)
    start_timeout_seconds: Number = Field(20.0, ge=1, le=600)
    isolation: Literal["page", "context", "browser", "container"] = "page"
    ca_file: Annotated[str, Accepts("the path of a file, or nothing")] = ""

    def ca_path(self, data_dir: Path) -> Path | None:
        """Return the file of further authorities, or None when there is none."""
        return data_dir / self.ca_file if self.ca_file else None

    def conflicts(self) -> Iterator[Conflict]:
        """Report bounds in the wrong order."""
        if self.browsers_max:
            yield from _at_least(self, "browsers_max", "browsers_min")


class Scaling(Section):
    """How many nodes are wanted, and where the figures are published."""

    target_seconds: Number = Field(600.0, ge=1, le=86400)
    reaction_seconds: Number = Field(300.0, ge=0, le=86400)
    hold_seconds: Number = Field(120.0, ge=0, le=86400)
    cloudwatch_namespace: MetricNamespace = ""
    region: Region = ""
    endpoint_url: OptionalUrl = ""

    def conflicts(self) -> Iterator[Conflict]:
        """Report a target that ends before a new node can help."""
        yield from _at_least(self, "target_seconds", "reaction_seconds")


class Triage(Section):
    """The triage of dead letters. ``max_redrives`` 0 quarantines at once."""

    interval_seconds: Number = Field(5.0, ge=0.1, le=86400)
    cooldown_seconds: Number = Field(60.0, ge=0, le=604800)
    max_redrives: Count = Field(2, ge=0, le=100)
    max_wait_seconds: Number = Field(86400.0, ge=1, le=31536000)

    def conflicts(self) -> Iterator[Conflict]:
        """Report a wait that ends before the first cool-down."""
        yield from _at_least(self, "max_wait_seconds", "cooldown_seconds")


class Auth(Section):
    """Who may call. Without a file, everybody on this machine may."""

    tokens_file: Annotated[str, Accepts("the path of a file, or nothing")] = ""

    def path(self, data_dir: Path) -> Path | None:
        """Return the token file, or None when there is none."""
        return data_dir / self.tokens_file if self.tokens_file else None


class Alerts(Section):
    """The channels for alerts about open breakers and quarantined jobs, and how often the same cause alerts."""

    webhook_url: SecretUrl = ""
    slack_url: SecretUrl = ""
    sns_topic_arn: TopicArn = ""
    window_seconds: Number = Field(900.0, ge=1, le=604800)


class Callbacks(Section):
    """Where ``callbackUrl`` may point, and how a callback is signed (Standard Webhooks)."""

    allowed_hosts: Hosts = ()
    secret: SigningSecret = ""
    retry_hours: Number = Field(24.0, ge=0, le=720)

    def allow(self, url: str) -> bool:
        """Return whether the host is allowed by name. Its addresses are checked when it is called."""
        return NetworkRule.of(self.allowed_hosts).may_name(*url_target(url)).allowed


class Shutdown(Section):
    """How long running jobs may continue after SIGTERM."""

    drain_seconds: Number = Field(30.0, ge=0, le=3600)


class Log(Section):
    """The log. ``auto`` means console on a terminal, else JSON."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


def _built_in() -> dict[str, ReportType]:
    return {name: ReportType(**keys) for name, keys in BUILT_IN.items()}


class Config(Section):
    """The whole configuration. ``load`` sets ``data_dir`` to an absolute path."""

    data_dir: Annotated[Path, Accepts("the path of a folder, or nothing")] = Path()
    http: Http = Http()
    database: Database = Database()
    queue: QueueOptions = QueueOptions()
    artifacts: ArtifactStore = ArtifactStore()
    breaker: Breaker = Breaker()
    pool: Pool = Pool()
    scaling: Scaling = Scaling()
    triage: Triage = Triage()
    auth: Auth = Auth()
    alerts: Alerts = Alerts()
    callbacks: Callbacks = Callbacks()
    render_tokens: RenderTokens = RenderTokens()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()
    reports: Mapping[str, ReportType] = Field(default_factory=_built_in)

    def conflicts(self) -> Iterator[Conflict]:
        """Report the conflicts of every section, and those between sections."""
        sections: list[tuple[str, Section]] = [(name, value) for name, value in self if isinstance(value, Section)]
        sections += [(f"reports.{name}", report) for name, report in self.reports.items()]
        for name, section in sections:
            for conflict in section.conflicts():
                yield Conflict(tuple(f"{name}.{key}" for key in conflict.keys), conflict.message)
        if not is_loopback(self.http.host) and not self.auth.tokens_file:
            text = (
                "can be reached from other machines, and anybody may do anything without tokens; "
                "accepted: a loopback address such as 127.0.0.1:8080, or any address once auth.tokens_file is set"
            )
            yield Conflict(("http.bind", "auth.tokens_file"), text)
        for name, report in self.reports.items():
            if report.queue_url and (fault := self.queue.dlq_fault(report.queue_url)):
                text = f"does not go with queue.dead_letter_url, which {fault}"
                yield Conflict((f"reports.{name}.queue_url", "queue.dead_letter_url"), text)
            if report.callback_url and not self.callbacks.allow(report.callback_url):
                text = "leads to a host that callbacks.allowed_hosts does not list; accepted: one of those"
                yield Conflict((f"reports.{name}.callback_url", "callbacks.allowed_hosts"), text)
            if report.token and not self.render_tokens.keys:
                text = "has no key to be signed with; accepted: false, or true once render_tokens.keys has a key"
                yield Conflict((f"reports.{name}.token", "render_tokens.keys"), text)
        yield from self._alias_conflicts()

    def _alias_conflicts(self) -> Iterator[Conflict]:
        owners = {name: name for name in self.reports}
        for name, report in self.reports.items():
            for alias in report.aliases:
                owner = owners.setdefault(alias, name)
                if owner != name or alias == name:
                    text = f"has {alias}, which is already a name of reports.{owner}; accepted: a name of its own"
                    yield Conflict((f"reports.{name}.aliases",), text)


def _at_least(section: Section, key: str, other: str) -> Iterator[Conflict]:
    least = getattr(section, other)
    if getattr(section, key) < least:
        yield Conflict((key, other), f"is below {other}; accepted: at least {least:g}")

"""The daemon's own counters for Prometheus. The other parts report through ``ports.Meter``.

``status.prometheus`` adds values that are read at the time of a scrape.
"""

import platform
import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reportd import __version__
from reportd.core.breaker import breaker
from reportd.core.capacity.backlog import UNAVAILABLE, Limit
from reportd.core.capacity.scaling import Mean
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import Meter

OTHER = "other"
"""The label for unknown report types, so that nobody outside can create time series."""

OUTCOMES = (
    JobEvent.SUCCEEDED,
    JobEvent.RETRIED,
    JobEvent.DEAD_LETTERED,
    JobEvent.DEFERRED,
    JobEvent.RELEASED,
    JobEvent.CANCELLED,
)

RENDER_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics(Meter):
    """``report_types``: the label for each name that a job may carry."""

    def __init__(self, report_types: Mapping[str, str]) -> None:
        registry = self._registry = CollectorRegistry()
        self._labels = dict(report_types)
        self._mean = Mean()
        by_type = ["report_type"]
        self._accepted = Counter(
            "reportd_jobs_accepted", "Submissions answered with 202 by this node.", by_type, registry=registry
        )
        self._refused = Counter(
            "reportd_submissions_refused",
            "Submissions answered with 429 or 503 by this node, by the reason.",
            ["report_type", "reason"],
            registry=registry,
        )
        self._jobs = Counter(
            "reportd_jobs",
            "Outcome of a job each time this node worked on it.",
            ["report_type", "outcome"],
            registry=registry,
        )
        self._resent = Counter(
            "reportd_messages_resent",
            "Lost messages that this node has sent again, by the type of the job.",
            by_type,
            registry=registry,
        )
        self._failures = Counter(
            "reportd_job_failures",
            "Failed attempts, by the kind of fault.",
            ["report_type", "kind"],
            registry=registry,
        )
        self._warnings = Counter(
            "reportd_job_warnings",
            "What is missing from the PDFs of succeeded jobs, by the kind of warning.",
            ["report_type", "kind"],
            registry=registry,
        )
        self._waits = Histogram(
            "reportd_job_wait_seconds",
            "From the submission of a job to the start of an attempt.",
            by_type,
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._durations = Histogram(
            "reportd_job_duration_seconds",
            "From the submission of a job to its success, the PDF stored.",
            by_type,
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._renders = Histogram(
            "reportd_render_seconds",
            "Time that a browser took for a PDF.",
            by_type,
            buckets=RENDER_BUCKETS,
            registry=registry,
        )
        self._bytes = Counter("reportd_pdf_bytes", "Size of the rendered PDFs.", by_type, registry=registry)
        self._transitions = Counter(
            "reportd_breaker_transitions",
            "Moves of a breaker that this node made.",
            ["report_type", "event"],
            registry=registry,
        )
        self._verdicts = Counter(
            "reportd_triage_verdicts", "Decisions about dead letters.", ["verdict"], registry=registry
        )
        self._callbacks = Counter("reportd_callbacks", "Attempts to send a callback.", ["outcome"], registry=registry)
        self._alerts = Counter("reportd_alerts", "Attempts to alert.", ["channel", "outcome"], registry=registry)
        self._browsers_started = Counter("reportd_browsers_started", "Browsers that were started.", registry=registry)
        self._browsers_lost = Counter("reportd_browsers_lost", "Browsers that died by themselves.", registry=registry)
        self._browsers_recycled = Counter(
            "reportd_browsers_recycled", "Browsers replaced for their age or memory.", registry=registry
        )
        self._lag = Histogram(
            "reportd_event_loop_lag_seconds",
            "Delay of a task after it was due.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        build = Gauge("reportd_build_info", "Always 1.", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        _Process(registry=registry)
        self._begin_at_zero()

    def reconfigure(self, report_types: Mapping[str, str]) -> None:
        """Add labels. The counts of earlier ones stay."""
        self._labels |= report_types
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Create each series at 0, so that ``rate()`` sees the first increment."""
        for label in dict.fromkeys(self._labels.values()):
            self._accepted.labels(label)
            self._resent.labels(label)
            self._bytes.labels(label)
            for reason in (*Limit, UNAVAILABLE):
                self._refused.labels(label, str(reason))
            for kind in WarningKind:
                self._warnings.labels(label, str(kind))
            for histogram in (self._waits, self._durations, self._renders):
                histogram.labels(label)
            for outcome in OUTCOMES:
                self._jobs.labels(label, str(outcome))
            self._transitions.labels(label, str(breaker.BreakerEvent.TRIPPED))

    @property
    def render_seconds(self) -> float:
        """The mean duration of a render, over all types."""
        return self._mean.seconds

    def exposition(self, current: Iterable[Metric] = ()) -> bytes:
        """Return all counts, and the ``current`` values, in Prometheus's text format. Slow: call it in a thread."""
        return generate_latest(_All(self._registry, current))

    # --- jobs -----------------------------------------------------------------------------------------------

    def accepted(self, report_type: str) -> None:
        self._accepted.labels(self.label(report_type)).inc()

    def refused(self, report_type: str, reason: str) -> None:
        self._refused.labels(self.label(report_type), str(reason)).inc()

    def started(self, report_type: str, waited_seconds: float) -> None:
        self._waits.labels(self.label(report_type)).observe(max(0.0, waited_seconds))

    def rendered(self, report_type: str, seconds: float, size_bytes: int) -> None:
        label = self.label(report_type)
        self._mean = self._mean.after(seconds)
        self._renders.labels(label).observe(seconds)
        self._bytes.labels(label).inc(size_bytes)

    def failed(self, report_type: str, kind: FaultKind) -> None:
        self._failures.labels(self.label(report_type), str(kind)).inc()

    def ended(self, report_type: str, outcome: JobEvent, seconds: float) -> None:
        label = self.label(report_type)
        self._jobs.labels(label, str(outcome)).inc()
        if outcome is JobEvent.SUCCEEDED:
            # The producer's clock says when it was submitted, and may be ahead of ours.
            self._durations.labels(label).observe(max(0.0, seconds))

    def warned(self, report_type: str, kind: WarningKind, count: int) -> None:
        self._warnings.labels(self.label(report_type), str(kind)).inc(count)

    def deferred(self, report_type: str) -> None:
        self._jobs.labels(self.label(report_type), str(JobEvent.DEFERRED)).inc()

    def resent(self, report_type: str) -> None:
        self._resent.labels(self.label(report_type)).inc()

    # --- the other parts ------------------------------------------------------------------------------------

    def breaker_moved(self, change: breaker.Transition) -> None:
        self._transitions.labels(self.label(change.report_type), str(change.event)).inc()

    def triage_verdict(self, verdict: str) -> None:
        self._verdicts.labels(verdict).inc()

    def callback(self, outcome: str) -> None:
        self._callbacks.labels(outcome).inc()

    def alert(self, channel: str, outcome: str) -> None:
        self._alerts.labels(channel, outcome).inc()

    def browser_started(self) -> None:
        self._browsers_started.inc()

    def browser_lost(self) -> None:
        self._browsers_lost.inc()

    def browser_recycled(self) -> None:
        self._browsers_recycled.inc()

    def loop_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def label(self, report_type: str) -> str:
        return self._labels.get(report_type, OTHER)


class _All(Collector):
    """The registry and the current values as one, without the ``_created`` series, which double the size."""

    def __init__(self, registry: CollectorRegistry, current: Iterable[Metric]) -> None:
        self._registry = registry
        self._current = current

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_created"]
            yield metric
        yield from self._current


class _Process(ProcessCollector):
    """``process_*``, also when the service sees only the processes in ``/proc`` (ProcSubset=pid)."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

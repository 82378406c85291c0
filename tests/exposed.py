"""What a scrape of /metrics brings, taken apart for tests."""

from prometheus_client.parser import text_string_to_metric_families

from reportd.core.breaker import Event as BreakerEvent
from reportd.core.breaker import State, Transition
from reportd.core.faults import FaultKind
from reportd.core.transitions import Event
from reportd.metrics import Metrics

Samples = dict[tuple[str, *tuple[tuple[str, str], ...]], float]
"""By name and sorted labels."""


def samples(text: bytes) -> Samples:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def names(text: bytes) -> set[str]:
    """Of all series that there may be, as a query names them."""
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("# TYPE")]
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for _, _, name, kind in lines for suffix in suffixes.get(kind, ("",))}


def everything(metrics: Metrics, report_type: str) -> None:
    """Each call once."""
    metrics.accepted(report_type)
    metrics.started(report_type, 1.0)
    metrics.rendered(report_type, 1.0, 1000)
    metrics.failed(report_type, FaultKind.TIMEOUT)
    metrics.ended(report_type, Event.SUCCEEDED, 1.0)
    metrics.put_off(report_type)
    metrics.breaker_moved(
        Transition(report_type, State.CLOSED, BreakerEvent.TRIPPED, State.OPEN, 0.0, "3 failures in a row", (), "node")
    )
    metrics.triage_verdict("quarantined")
    metrics.callback("delivered")
    metrics.alert("webhook", "sent")
    metrics.browser_started()
    metrics.browser_lost()
    metrics.browser_recycled()
    metrics.loop_lag(0.01)

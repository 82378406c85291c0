"""The port through which the parts report their work to the metrics."""

from functools import partial
from typing import Any

from reportd.core.breaker.breaker import Transition
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.jobs.warnings import WarningKind


class Meter:
    """Counts nothing; ``reportd.telemetry.metrics`` overrides it.

    Every call is quick and neither waits nor raises, so it is safe anywhere. ``report_type`` may be any text; every
    other text is of a bounded set, because it becomes a label.
    """

    # --- jobs -----------------------------------------------------------------------------------------------

    def accepted(self, report_type: str) -> None:
        """A submission was answered with 202."""

    def refused(self, report_type: str, reason: str) -> None:
        """A submission was answered with 429 or 503. ``reason``: a ``core.capacity.backlog.Limit``, or another one."""

    def started(self, report_type: str, waited_seconds: float) -> None:
        """An attempt begins, ``waited_seconds`` after the job's submission."""

    def rendered(self, report_type: str, seconds: float, size_bytes: int) -> None:
        """A PDF was made."""

    def failed(self, report_type: str, kind: FaultKind) -> None:
        """An attempt, or a message that is no job, failed by this fault."""

    def ended(self, report_type: str, outcome: JobEvent, seconds: float) -> None:
        """A node has settled a job, ``seconds`` after its submission."""

    def warned(self, report_type: str, kind: WarningKind, count: int) -> None:
        """A job succeeded, and ``count`` things of this kind are missing from its PDF."""

    def deferred(self, report_type: str) -> None:
        """A job was deferred because its breaker is open."""

    def resent(self, report_type: str) -> None:
        """A job's message was lost and is sent again."""

    # --- other work of the daemon ---------------------------------------------------------------------------

    def breaker_moved(self, change: Transition) -> None:
        """This node has moved a breaker."""

    def triage_verdict(self, verdict: str) -> None:
        """Triage has decided about a dead letter."""

    def callback(self, outcome: str) -> None:
        """A callback was tried. ``outcome``: ``delivered``, or what happened instead."""

    def alert(self, channel: str, outcome: str) -> None:
        """An alert was tried. ``outcome``: ``sent``, or what happened instead."""

    def browser_started(self) -> None:
        """A browser was started."""

    def browser_lost(self) -> None:
        """A browser died."""

    def browser_recycled(self) -> None:
        """A browser was replaced because it reached its limit of jobs or memory."""

    def loop_lag(self, seconds: float) -> None:
        """A due task ran ``seconds`` late."""


NULL_METER = Meter()


class MeterFanOut(Meter):
    """Forwards every call to all ``meters``."""

    def __init__(self, *meters: Meter) -> None:
        for name in (name for name in vars(Meter) if not name.startswith("_")):
            setattr(self, name, partial(_forward, [getattr(meter, name) for meter in meters]))


def _forward(calls: list[Any], *arguments: Any) -> None:
    for call in calls:
        call(*arguments)

"""What the parts tell of their work, so that it can be counted."""

from functools import partial
from typing import Any

from reportd.core.breaker.breaker import Transition
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent


class Meter:
    """As it stands it counts nothing; ``reportd.metrics`` does.

    Every call is quick, never waits and never raises, so it may stand anywhere. ``report_type`` may be any text;
    every other word is of a bounded set, because it becomes a label.
    """

    # --- jobs -----------------------------------------------------------------------------------------------

    def accepted(self, report_type: str) -> None:
        """A submission was answered with 202."""

    def refused(self, report_type: str, reason: str) -> None:
        """A submission was answered with 429 or 503, for which there is a ``core.backlog.Limit``, or another reason."""

    def started(self, report_type: str, waited_seconds: float) -> None:
        """An attempt begins, so long after the job was submitted."""

    def rendered(self, report_type: str, seconds: float, size_bytes: int) -> None:
        """A PDF was made."""

    def failed(self, report_type: str, kind: FaultKind) -> None:
        """An attempt, or a message that is no job, came to nothing by this fault."""

    def ended(self, report_type: str, outcome: JobEvent, seconds: float) -> None:
        """What a node had in hand is settled, so long after it was submitted."""

    def deferred(self, report_type: str) -> None:
        """Its breaker is open, so the job comes again."""

    def resent(self, report_type: str) -> None:
        """The message of a job was lost, and is sent again."""

    # --- what else the daemon does --------------------------------------------------------------------------

    def breaker_moved(self, change: Transition) -> None:
        """By this node."""

    def triage_verdict(self, verdict: str) -> None:
        """What was decided about a dead letter."""

    def callback(self, outcome: str) -> None:
        """A callback was tried: ``delivered``, or what came instead."""

    def alert(self, channel: str, outcome: str) -> None:
        """An alert was tried: ``sent``, or what came instead."""

    def browser_started(self) -> None:
        """Whoever renders in it."""

    def browser_lost(self) -> None:
        """It died by itself."""

    def browser_recycled(self) -> None:
        """It was replaced because it had done its share or grown fat."""

    def loop_lag(self, seconds: float) -> None:
        """A task that was due ran so much later."""


SILENT = Meter()


class MeterFanOut(Meter):
    """Tells each of ``meters`` what it is told."""

    def __init__(self, *meters: Meter) -> None:
        for name in (name for name in vars(Meter) if not name.startswith("_")):
            setattr(self, name, partial(_tell, [getattr(meter, name) for meter in meters]))


def _tell(calls: list[Any], *said: Any) -> None:
    for call in calls:
        call(*said)

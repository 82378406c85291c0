"""The breakers as an operator sees and moves them. The HTTP face calls nothing else of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from reportd.breakers.manager import Breakers
from reportd.core.breaker.breaker import Breaker, BreakerEvent, BreakerState, Command
from reportd.core.jobs.job import timestamp
from reportd.ports import AuditEntry, UnavailableError
from reportd.telemetry.audit_recorder import Recorder

BY_HAND = "by hand"
"""The reason of a command that gives none."""


class BreakerCommand(StrEnum):
    """What an operator can say.

    ``open``: jobs wait until it is taken back. ``close``: jobs flow, whatever it was, and what was counted is
    forgotten; takes back ``open`` and ``hold``. ``hold``: jobs flow, and failures don't count, until it is taken
    back. ``probe``: whatever is left of the rest, the next job may be the probe.
    """

    OPEN = "open"
    CLOSE = "close"
    HOLD = "hold"
    PROBE = "probe"


_EVENTS = {
    BreakerCommand.OPEN: BreakerEvent.FORCED_OPEN,
    BreakerCommand.CLOSE: BreakerEvent.RESET,
    BreakerCommand.HOLD: BreakerEvent.FORCED_CLOSED,
    BreakerCommand.PROBE: BreakerEvent.HURRIED,
}


class UnknownReportTypeError(Exception):
    """There is no report type of this name."""

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__(f"there is no report type of this name; accepted: {', '.join(known)}")


class InapplicableCommandError(Exception):
    """The order makes no sense as the breaker stands; the text says how it stands."""


class ReportTypeNames(Protocol):
    """The report types: what this needs of the catalogue."""

    def canonical(self, report_type: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Overview:
    """Every breaker, by name, and those that make jobs wait. ``trouble``: why this node goes on alone, else empty."""

    breakers: tuple[Breaker, ...]
    resting: frozenset[str]
    trouble: str


class BreakerOperator:
    """``recorder`` hears of each move from the breakers themselves; here it is told what may have been done."""

    def __init__(
        self, breakers: Breakers, types: ReportTypeNames, recorder: Recorder, clock: Callable[[], float] = time.time
    ) -> None:
        self._breakers = breakers
        self._types = types
        self._recorder = recorder
        self._clock = clock

    def overview(self) -> Overview:
        """As this node knows them, which is half a second old at most."""
        return Overview(tuple(self._breakers.snapshot()), self._breakers.resting(), self._breakers.trouble)

    async def give(self, report_type: str, order: BreakerCommand, by: str, reason: str = "") -> Breaker:
        """Move a breaker on all nodes that share it. Aliases of a report type mean the type.

        Raises UnknownReportTypeError, InapplicableCommandError, or UnavailableError; then it may have been done or not.
        """
        name = self._types.canonical(report_type)
        if name is None:
            raise UnknownReportTypeError(breaker.report_type for breaker in self._breakers.snapshot())
        try:
            decision = await self._breakers.command(name, Command(by, _EVENTS[order], reason or BY_HAND))
        except UnavailableError:
            detail = {"order": order, "reason": reason or BY_HAND}
            self._recorder.note(AuditEntry(self._clock(), by, "breaker.unanswered", name, detail))
            raise
        if decision.transition is None:
            raise InapplicableCommandError(_standing(decision.breaker))
        return decision.breaker


def _standing(breaker: Breaker) -> str:
    name = breaker.report_type
    if breaker.state in (BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED):
        how = "open" if breaker.state is BreakerState.FORCED_OPEN else "closed"
        return f"{name} is held {how} since {timestamp(breaker.since)} by {breaker.by}: {breaker.reason}"
    if breaker.state is BreakerState.HALF_OPEN:
        return f"{name} is half-open: its probe is under way, or its next job is the probe"
    return f"{name} is closed: its jobs are rendered, and none has to be a probe"

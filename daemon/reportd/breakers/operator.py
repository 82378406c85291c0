"""The breakers as an operator sees and commands them. The HTTP interface calls nothing else of this folder."""

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
    """The commands of an operator.

    ``open``: jobs wait until ``close``. ``close``: close the breaker from any state and reset its counts; ends ``open``
    and ``hold``. ``hold``: keep the breaker closed, whatever fails, until ``close``. ``probe``: end the wait of an open
    breaker, so that the next job may be the probe.
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
    """The command does not fit the state of the breaker; the text describes the state."""


class ReportTypeNames(Protocol):
    """The part of the catalogue that this module needs."""

    def canonical(self, report_type: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Overview:
    """All breakers, sorted by name. ``resting``: the types whose jobs wait. ``trouble``: why the store is unavailable,
    so that this node decides alone; else empty.
    """

    breakers: tuple[Breaker, ...]
    resting: frozenset[str]
    trouble: str


class BreakerOperator:
    """``recorder`` gets each transition from the breakers themselves, and from here the commands of unknown outcome."""

    def __init__(
        self, breakers: Breakers, types: ReportTypeNames, recorder: Recorder, clock: Callable[[], float] = time.time
    ) -> None:
        self._breakers = breakers
        self._types = types
        self._recorder = recorder
        self._clock = clock

    def overview(self) -> Overview:
        """Return the breakers as this node has cached them, half a second ago at most."""
        return Overview(tuple(self._breakers.snapshot()), self._breakers.resting(), self._breakers.trouble)

    async def execute(self, report_type: str, command: BreakerCommand, by: str, reason: str = "") -> Breaker:
        """Apply a command to a breaker, on all nodes that share it. ``report_type`` may be an alias.

        Raises UnknownReportTypeError, InapplicableCommandError, or UnavailableError; after the last one the command may
        have been applied or not.
        """
        name = self._types.canonical(report_type)
        if name is None:
            raise UnknownReportTypeError(breaker.report_type for breaker in self._breakers.snapshot())
        try:
            decision = await self._breakers.command(name, Command(by, _EVENTS[command], reason or BY_HAND))
        except UnavailableError:
            detail = {"order": command, "reason": reason or BY_HAND}
            self._recorder.note(AuditEntry(self._clock(), by, "breaker.unanswered", name, detail))
            raise
        if decision.transition is None:
            raise InapplicableCommandError(_describe(decision.breaker))
        return decision.breaker


def _describe(breaker: Breaker) -> str:
    name = breaker.report_type
    if breaker.state in (BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED):
        how = "open" if breaker.state is BreakerState.FORCED_OPEN else "closed"
        return f"{name} is held {how} since {timestamp(breaker.since)} by {breaker.by}: {breaker.reason}"
    if breaker.state is BreakerState.HALF_OPEN:
        return f"{name} is half-open: its probe is under way, or its next job is the probe"
    return f"{name} is closed: its jobs are rendered, and none has to be a probe"

"""Limits how many jobs of a report type are rendered at once, so that no type takes every slot.

A type in doubt gets one permit: its last job failed, its breaker is open or half-open, or a page of it stalls and none
that took so long has succeeded yet. A type of which this node has rendered nothing yet gets half of the slots, once
another type has succeeded. Jobs that timed out before share one permit.

A job takes all its permits at once. If it held one permit while it waits for another, it would keep out jobs that need
only that one.

Excess jobs stay in a queue that can tell types apart (``at_most``). Where the queue can't, they are deferred, and come
back at about the rate at which they can be rendered.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from reportd.breakers.admission import DeferredError

USUAL_SECONDS = 1.0
"""The assumed duration of a render before there has been one."""

MAX_DEFERRAL_SECONDS = 60.0

MAX_OVERTAKEN = 3
"""So many jobs that timed out before may overtake another one while its type is at its limit. Then their shared permit
is reserved for that one.
"""


class TypeHealth(Protocol):
    """What the breakers know of the report types."""

    def failing(self, report_type: str) -> bool:
        """Return whether the type's last job failed, or its breaker is open or half-open."""
        ...

    def resting(self) -> Collection[str]:
        """Return the types of which no job may start."""
        ...

    def probing(self) -> Collection[str]:
        """Return the types whose next job is the probe."""
        ...


class Bulkheads:
    """One per node.

    ``limits``: the maximum for each report type, 0 for none. ``slots``: the present number of slots. ``on_change``:
    called when ``at_most`` may have changed.

    ``spare``: how many jobs in flight, of all types together, may wait for a permit of their type. Each of them uses
    the poller's capacity; more of them would leave too little of it for the free slots.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        slots: Callable[[], int],
        stall_seconds: float,
        health: TypeHealth,
        spare: int,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._limits = limits
        self._slots = slots
        self._stall_seconds = stall_seconds
        self._health = health
        self._spare = spare
        self._types: dict[str, _Type] = defaultdict(_Type, {name: _Type() for name in limits})
        self._repeat_timeouts = _Type()
        self._waiting: list[Turn] = []

    @asynccontextmanager
    async def enter(self, report_type: str, *, timed_out_before: bool = False) -> AsyncIterator["Turn"]:
        """Enclose the work on one job; ``Turn.wait`` waits for its permits.

        ``timed_out_before``: the job has timed out before. Raises DeferredError when too many jobs wait already.
        """
        permits = [_Permit(self._types[report_type], lambda: self.limit(report_type))]
        if timed_out_before:
            permits.append(_Permit(self._repeat_timeouts, lambda: 1))
        for permit in permits:
            permit.check(may_wait=self._waits_left() > 0)
        turn = Turn(permits, self._wait, timed_out_before=timed_out_before)
        for permit in permits:
            permit.group.in_flight += 1
        try:
            yield turn
        finally:
            for permit in permits:
                permit.group.in_flight -= 1
                permit.group.running -= turn.admitted
            self.recheck()

    def limit(self, report_type: str) -> float:
        """Return how many jobs of the type may be rendered at once now; infinity if only the slots limit it."""
        group = self._types[report_type]
        if self._health.failing(report_type) or (group.stalled and not group.stall_succeeded):
            return 1
        limit = self._limits.get(report_type) or math.inf
        if not group.rendered and any(other.rendered for other in self._types.values()):
            return min(limit, max(1, self._slots() // 2))
        return limit

    def at_most(self) -> dict[str, int]:
        """Return how many more messages of each limited type may be received now.

        For each job that may be rendered, one more may wait in flight, so that there is always a next one.
        """
        probing, waits_left = self._health.probing(), self._waits_left()
        allowed: dict[str, int] = {}
        for name, group in self._types.items():
            limit = self.limit(name)
            if limit < math.inf:
                running = 1 if name in probing else int(limit)
                to_run = max(0, running - group.in_flight)
                most = running if name in probing else 2 * running
                to_wait = max(0, min(waits_left, most - group.in_flight - to_run))
                waits_left -= to_wait
                allowed[name] = to_run + to_wait
        return allowed | dict.fromkeys(self._health.resting(), 0)

    def limits_drift(self) -> bool:
        """Return whether ``at_most`` may change without ``on_change``: the answers of the breakers change with time."""
        health = self._health
        return bool(health.resting() or health.probing() or any(health.failing(name) for name in self._types))

    def stalled(self, report_type: str, change: int) -> None:
        """Record that ``change`` more pages of the type wait in a browser without a slot."""
        self._types[report_type].stalled += change
        self.recheck()

    def succeeded(self, report_type: str, seconds: float) -> None:
        """Record the duration of a render that succeeded."""
        group = self._types[report_type]
        group.seconds = (7 * group.seconds + seconds) / 8
        stall_succeeded = group.stall_succeeded or seconds >= self._stall_seconds
        if not group.rendered or stall_succeeded != group.stall_succeeded:
            group.rendered, group.stall_succeeded = True, stall_succeeded
            self.recheck()

    def reconfigure(self, limits: Mapping[str, int]) -> None:
        """Use other limits. What was learned about a type is kept."""
        self._limits = limits
        self.recheck()

    def recheck(self) -> None:
        """Apply the limits again, after a change of the configuration, the slots or the breakers."""
        for name in self._limits:
            self._types.setdefault(name, _Type())
        self._admit()
        self.on_change()

    def _waits_left(self) -> int:
        """Return how many more jobs may wait for a permit of their type."""
        return self._spare - sum(group.blocked(self.limit(name)) for name, group in self._types.items())

    async def _wait(self, turn: "Turn") -> None:
        self._waiting.append(turn)
        try:
            self._admit()
            while not turn.admitted:
                await turn.event.wait()
        finally:
            if not turn.admitted:
                self._waiting.remove(turn)

    def _admit(self) -> None:
        """Admit each job whose permits are all free, the one that has waited longest first."""
        reserved = False  # the permit of jobs that timed out before, for one that was overtaken too often
        passed_over: list[Turn] = []
        for turn in tuple(self._waiting):
            if not (turn.timed_out_before and reserved) and all(permit.free for permit in turn.permits):
                turn.admit()
                self._waiting.remove(turn)
                for other in passed_over if turn.timed_out_before else ():
                    other.overtaken += 1
            elif turn.timed_out_before:
                passed_over.append(turn)
                reserved = reserved or turn.overtaken >= MAX_OVERTAKEN


@dataclass(eq=False, slots=True)
class _Type:
    """``in_flight``: its jobs in flight, of which ``running`` have a permit. ``stall_succeeded``: whether a job that
    took long enough to stall has succeeded. ``seconds``: the moving average of its durations.
    """

    in_flight: int = 0
    running: int = 0
    stalled: int = 0
    rendered: bool = False
    stall_succeeded: bool = False
    seconds: float = USUAL_SECONDS
    last_return: float = 0.0

    def blocked(self, limit: float) -> int:
        """Return how many of its jobs in flight wait until others of them have ended."""
        return int(min(self.in_flight - self.running, max(0, self.in_flight - limit)))


@dataclass(frozen=True, slots=True)
class _Permit:
    group: _Type
    limit: Callable[[], float]

    @property
    def free(self) -> bool:
        return self.group.running < self.limit()

    def check(self, *, may_wait: bool) -> None:
        """Raise DeferredError if too many jobs are in flight. With ``may_wait``, one may wait for each that runs."""
        limit = self.limit()
        if self.group.in_flight >= (2 * limit if may_wait else limit):
            now = trio.current_time()
            at = max(self.group.last_return, now) + self.group.seconds / limit
            self.group.last_return = at = min(at, now + MAX_DEFERRAL_SECONDS)
            raise DeferredError(at - now, f"only {limit} jobs of this kind may be rendered at once")


@dataclass(eq=False, slots=True)
class Turn:
    """A job's turn to be rendered: it has all its permits, or none.

    ``overtaken``: how many others that timed out before were admitted while it waited.
    """

    permits: list[_Permit]
    _wait: Callable[["Turn"], Awaitable[None]]
    timed_out_before: bool
    overtaken: int = 0
    admitted: bool = False
    event: trio.Event = field(default_factory=trio.Event)

    async def wait(self) -> None:
        """Wait until the job may be rendered."""
        await self._wait(self)

    def admit(self) -> None:
        for permit in self.permits:
            permit.group.running += 1
        self.admitted = True
        self.event.set()

"""How many jobs of a report type may be rendered at once, so that no type takes every slot.

A type in doubt gets one place at a time: the last thing heard of it is a failure, its breaker is open or half-open, or
a page of it waits for something and none that took so long has succeeded yet. A type of
which this node has rendered nothing yet gets half of the slots where others have proved to work. Jobs that timed out
before get one place for all of them together.

What is too much stays in the queue where it can tell types apart (``at_most``); where it can't, it is put off, to come
again at about the pace at which it can be rendered.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from reportd.breakers import PutOffError

USUAL_SECONDS = 1.0
"""What a render is taken to last before there has been one."""

MAX_PUT_OFF_SECONDS = 60.0


class Doubts(Protocol):
    """What the breakers know of the types."""

    def suspect(self, report_type: str) -> bool:
        """Whether the last thing heard of it is a failure."""
        ...

    def resting(self) -> Collection[str]:
        """Those of which nothing may begin."""
        ...

    def unproved(self) -> Collection[str]:
        """Those of which the next job is to tell whether they work."""
        ...


class Bulkheads:
    """One a node. ``limits``: of each report type, 0 for none; ``slots``: how many there are just now. ``on_change`` is
    called when more may be received.
    """

    def __init__(
        self, limits: Mapping[str, int], slots: Callable[[], int], stall_seconds: float, doubts: Doubts
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._limits = limits
        self._slots = slots
        self._stall_seconds = stall_seconds
        self._doubts = doubts
        self._types: dict[str, _Type] = defaultdict(_Type, {name: _Type() for name in limits})
        self._offenders = _Type()

    @asynccontextmanager
    async def enter(self, report_type: str, *, offender: bool = False) -> AsyncIterator["Turn"]:
        """Around the work on one job; ``Turn.come`` waits for its place.

        ``offender``: it has timed out before. Raises PutOffError when too many wait already.
        """
        passes = [_Pass(self._types[report_type], lambda: self.limit(report_type))]
        if offender:
            passes.append(_Pass(self._offenders, lambda: 1))
        for one in passes:
            one.check()
        for one in passes:
            one.group.held += 1
        try:
            yield Turn(passes)
        finally:
            for one in passes:
                one.group.held -= 1
                one.group.running -= one.running
                one.group.change()
            self.on_change()

    def limit(self, report_type: str) -> float:
        """How many may be rendered at once just now; infinite where only the slots count."""
        group = self._types[report_type]
        if self._doubts.suspect(report_type) or (group.stalled and not group.waits_well):
            return 1
        limit = self._limits.get(report_type) or math.inf
        if not group.rendered and any(other.rendered for other in self._types.values()):
            return min(limit, max(1, self._slots() // 2))
        return limit

    def at_most(self) -> dict[str, int]:
        """How many more messages of which types may be received now, where not as many as there are.

        One may wait in hand for each that is rendered, so that there is always a next one.
        """
        unproved = self._doubts.unproved()
        allowed: dict[str, int] = {}
        for name, group in self._types.items():
            limit = self.limit(name)
            if limit < math.inf:
                most = 1 if name in unproved else 2 * int(limit)
                allowed[name] = max(0, most - group.held)
        return allowed | dict.fromkeys(self._doubts.resting(), 0)

    def unsettled(self) -> bool:
        """Whether ``at_most`` may become otherwise without ``on_change``: what the breakers say changes with time."""
        doubts = self._doubts
        return bool(doubts.resting() or doubts.unproved() or any(doubts.suspect(name) for name in self._types))

    def stalled(self, report_type: str, change: int) -> None:
        """So many more of its pages wait in a browser for something, without a slot."""
        self._types[report_type].stalled += change
        self._changed(report_type)

    def succeeded(self, report_type: str, seconds: float) -> None:
        """One was rendered, and took so long."""
        group = self._types[report_type]
        group.seconds = (7 * group.seconds + seconds) / 8
        if not group.rendered:
            group.rendered = True
            self._changed(report_type)
        if seconds >= self._stall_seconds and not group.waits_well:
            group.waits_well = True
            self._changed(report_type)

    def resized(self) -> None:
        """The limits, or the slots, are others now."""
        for name in (*self._types, *self._limits):
            self._types[name].change()
        self.on_change()

    def _changed(self, report_type: str) -> None:
        self._types[report_type].change()
        self.on_change()


@dataclass(eq=False, slots=True)
class _Type:
    """``held``: its jobs in hand, of which ``running`` have a place. ``waits_well``: one that took long succeeded."""

    held: int = 0
    running: int = 0
    stalled: int = 0
    rendered: bool = False
    waits_well: bool = False
    seconds: float = USUAL_SECONDS
    last_return: float = 0.0
    changed: trio.Event = field(default_factory=trio.Event)

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@dataclass(eq=False, slots=True)
class _Pass:
    group: _Type
    limit: Callable[[], float]
    running: bool = False

    def check(self) -> None:
        """One may wait for each that runs."""
        limit = self.limit()
        if self.group.held >= 2 * limit:
            now = trio.current_time()
            at = max(self.group.last_return, now) + self.group.seconds / limit
            self.group.last_return = at = min(at, now + MAX_PUT_OFF_SECONDS)
            raise PutOffError(at - now, f"{limit} of its kind may be rendered at once")


class Turn:
    """A job's place among those of its kind."""

    def __init__(self, passes: list[_Pass]) -> None:
        self._passes = passes

    async def come(self) -> None:
        """Wait until it may be rendered."""
        for one in self._passes:
            while one.group.running >= one.limit():
                await one.group.changed.wait()
            one.group.running += 1
            one.running = True

"""How many jobs of a report type may be rendered at once, so that no type takes every slot.

A type in doubt gets one place at a time: the last thing heard of it is a failure, its breaker is open or half-open, or
a page of it waits for something and none that took so long has succeeded yet. A type of
which this node has rendered nothing yet gets half of the slots where others have proved to work. Jobs that timed out
before get one place for all of them together.

A job takes all its places together: one that is held while its holder waits for another keeps out others who need no
more than that one.

What is too much stays in the queue where it can tell types apart (``at_most``); where it can't, it is put off, to come
again at about the pace at which it can be rendered.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from reportd.breakers.manager import DeferredError

USUAL_SECONDS = 1.0
"""What a render is taken to last before there has been one."""

MAX_DEFERRAL_SECONDS = 60.0

MAX_OVERTAKEN = 3
"""So many jobs that timed out before may overtake another whose type has no place free; then theirs is kept for it."""


class TypeHealth(Protocol):
    """What the breakers know of the types."""

    def failing(self, report_type: str) -> bool:
        """Whether the last thing heard of it is a failure."""
        ...

    def resting(self) -> Collection[str]:
        """Those of which nothing may begin."""
        ...

    def probing(self) -> Collection[str]:
        """Those of which the next job is to tell whether they work."""
        ...


class Bulkheads:
    """One a node. ``limits``: of each report type, 0 for none; ``slots``: how many there are just now. ``on_change`` is
    called when more may be received.

    ``spare``: how many of the jobs in hand may wait for others of their type, of whatever types they are. What is in
    hand has one of the poller's places, and with more of them there would be too few for the slots that are free.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        slots: Callable[[], int],
        stall_seconds: float,
        doubts: TypeHealth,
        spare: int,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._limits = limits
        self._slots = slots
        self._stall_seconds = stall_seconds
        self._doubts = doubts
        self._spare = spare
        self._types: dict[str, _Type] = defaultdict(_Type, {name: _Type() for name in limits})
        self._repeat_timeouts = _Type()
        self._line: list[Turn] = []

    @asynccontextmanager
    async def enter(self, report_type: str, *, timed_out_before: bool = False) -> AsyncIterator["Turn"]:
        """Around the work on one job; ``Turn.come`` waits for its place.

        ``timed_out_before``: it has timed out before. Raises DeferredError when too many wait already.
        """
        passes = [_Pass(self._types[report_type], lambda: self.limit(report_type))]
        if timed_out_before:
            passes.append(_Pass(self._repeat_timeouts, lambda: 1))
        for one in passes:
            one.check(may_wait=self._left() > 0)
        turn = Turn(passes, self._come, timed_out_before=timed_out_before)
        for one in passes:
            one.group.held += 1
        try:
            yield turn
        finally:
            for one in passes:
                one.group.held -= 1
                one.group.running -= turn.came
            self.look_again()

    def limit(self, report_type: str) -> float:
        """How many may be rendered at once just now; infinite where only the slots count."""
        group = self._types[report_type]
        if self._doubts.failing(report_type) or (group.stalled and not group.waits_well):
            return 1
        limit = self._limits.get(report_type) or math.inf
        if not group.rendered and any(other.rendered for other in self._types.values()):
            return min(limit, max(1, self._slots() // 2))
        return limit

    def at_most(self) -> dict[str, int]:
        """How many more messages of which types may be received now, where not as many as there are.

        One may wait in hand for each that is rendered, so that there is always a next one.
        """
        unproved, left = self._doubts.probing(), self._left()
        allowed: dict[str, int] = {}
        for name, group in self._types.items():
            limit = self.limit(name)
            if limit < math.inf:
                most = 1 if name in unproved else int(limit)
                at_once = max(0, most - group.held)
                more = max(0, min(left, (most if name in unproved else 2 * most) - group.held - at_once))
                left -= more
                allowed[name] = at_once + more
        return allowed | dict.fromkeys(self._doubts.resting(), 0)

    def unsettled(self) -> bool:
        """Whether ``at_most`` may become otherwise without ``on_change``: what the breakers say changes with time."""
        doubts = self._doubts
        return bool(doubts.resting() or doubts.probing() or any(doubts.failing(name) for name in self._types))

    def stalled(self, report_type: str, change: int) -> None:
        """So many more of its pages wait in a browser for something, without a slot."""
        self._types[report_type].stalled += change
        self.look_again()

    def succeeded(self, report_type: str, seconds: float) -> None:
        """One was rendered, and took so long."""
        group = self._types[report_type]
        group.seconds = (7 * group.seconds + seconds) / 8
        waits_well = group.waits_well or seconds >= self._stall_seconds
        if not group.rendered or waits_well != group.waits_well:
            group.rendered, group.waits_well = True, waits_well
            self.look_again()

    def reconfigure(self, limits: Mapping[str, int]) -> None:
        """Use other limits. What is known of a type stays."""
        self._limits = limits
        self.look_again()

    def look_again(self) -> None:
        """The limits may be others now: by a reload, by the number of slots, by what the breakers say."""
        for name in self._limits:
            self._types.setdefault(name, _Type())
        self._admit()
        self.on_change()

    def _left(self) -> int:
        """How many more may wait for others of their type."""
        return self._spare - sum(group.blocked(self.limit(name)) for name, group in self._types.items())

    async def _come(self, turn: "Turn") -> None:
        self._line.append(turn)
        try:
            self._admit()
            while not turn.came:
                await turn.event.wait()
        finally:
            if not turn.came:
                self._line.remove(turn)

    def _admit(self) -> None:
        """Let in whoever finds everything free that he needs, who has waited longest first."""
        kept = False
        overtaken: list[Turn] = []
        for turn in tuple(self._line):
            if not (turn.timed_out_before and kept) and all(one.free for one in turn.passes):
                turn.let_in()
                self._line.remove(turn)
                for other in overtaken if turn.timed_out_before else ():
                    other.overtaken += 1
            elif turn.timed_out_before:
                overtaken.append(turn)
                kept = kept or turn.overtaken >= MAX_OVERTAKEN


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

    def blocked(self, limit: float) -> int:
        """How many of those in hand wait until others have ended."""
        return int(min(self.held - self.running, max(0, self.held - limit)))


@dataclass(frozen=True, slots=True)
class _Pass:
    group: _Type
    limit: Callable[[], float]

    @property
    def free(self) -> bool:
        return self.group.running < self.limit()

    def check(self, *, may_wait: bool) -> None:
        """One may wait for each that runs, if it ``may_wait`` at all."""
        limit = self.limit()
        if self.group.held >= (2 * limit if may_wait else limit):
            now = trio.current_time()
            at = max(self.group.last_return, now) + self.group.seconds / limit
            self.group.last_return = at = min(at, now + MAX_DEFERRAL_SECONDS)
            raise DeferredError(at - now, f"{limit} of its kind may be rendered at once")


@dataclass(eq=False, slots=True)
class Turn:
    """A job's turn to be rendered: it has all its places, or none. ``overtaken``: by how many others that timed out."""

    passes: list[_Pass]
    _come: Callable[["Turn"], Awaitable[None]]
    timed_out_before: bool
    overtaken: int = 0
    came: bool = False
    event: trio.Event = field(default_factory=trio.Event)

    async def come(self) -> None:
        """Wait until it may be rendered."""
        await self._come(self)

    def let_in(self) -> None:
        for one in self.passes:
            one.group.running += 1
        self.came = True
        self.event.set()

"""How much machine the work needs: nodes for a fleet, browsers for a node. Pure.

Both grow at once and shrink late: a job that waits costs more than a node that idles for some minutes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

USUAL_SECONDS = 1.0
"""What a render is taken to last before there has been one."""

MEAN_OF = 100
"""How many renders the mean is taken over, about; the older ones count less and less."""

_LITTLE = 10
"""What the busy slots work off in a tenth of the time is little."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """``target_seconds``: how long a job may wait. Of these, ``reaction_seconds`` pass until a node that is wanted
    renders. Fewer nodes are wanted only when no more have been needed for ``hold_seconds``.

    The defaults are chosen by ``tests/simulation``.
    """

    target_seconds: float = 600.0
    reaction_seconds: float = 300.0
    hold_seconds: float = 120.0

    @property
    def drain_seconds(self) -> float:
        """In which nodes that are there must work off what waits, so that nothing waits longer than the target."""
        return max(1.0, self.target_seconds - self.reaction_seconds)


@dataclass(frozen=True, slots=True)
class Mean:
    """How long a render takes, so far."""

    seconds: float = USUAL_SECONDS
    count: int = 0

    def after(self, seconds: float) -> "Mean":
        """Another one took so long."""
        count = self.count + 1
        return Mean(self.seconds + (seconds - self.seconds) / min(count, MEAN_OF), count)


@dataclass(frozen=True, slots=True)
class Load:
    """``backlog``: messages of the queue that could be received now. ``running``: renders under way on all nodes, None
    when nobody knows. ``slots``: of one node, at least one.
    """

    backlog: int
    running: int | None
    slots: int
    render_seconds: float

    @property
    def backlog_per_slot(self) -> float:
        return self.backlog / self.slots

    @property
    def backlog_seconds(self) -> float:
        """How long this node by itself takes for what waits."""
        return self.backlog_per_slot * self.render_seconds


@dataclass(frozen=True, slots=True)
class Demand:
    """How much there is to do. ``backlog_seconds``: how long this node alone takes for what waits. ``running``,
    ``nodes_wanted``: of the whole fleet; None while the database is away. ``held``: jobs that wait for a breaker, which
    are in none of the other figures. ``target_seconds``: how long a job may wait.
    """

    backlog: int
    backlog_per_slot: float
    backlog_seconds: float
    render_seconds: float
    running: int | None
    nodes_wanted: int | None
    target_seconds: float = ScalingPolicy().target_seconds
    held: int = 0


def nodes_needed(load: Load, policy: ScalingPolicy) -> int | None:
    """How many nodes of this size go on with what is running and work off what waits in time; at least one.

    What is running is known of the whole fleet, so nobody need know how many nodes there are. A job waits for those
    before it and not for those after it, so what is still to come needs no slots besides.
    """
    if load.running is None:
        return None
    work = load.backlog * load.render_seconds
    nodes = math.ceil(max(load.running, work / policy.drain_seconds) / load.slots - _ROUNDING)
    # Where as much comes as is rendered, a backlog stays for ever, within the target. One more node works it off; a
    # share of them would grow with what it adds to, for all the slots are busy until the backlog is gone.
    stays = work > max(load.running, load.slots) * policy.drain_seconds / _LITTLE
    return max(1, nodes + stays)


Needs = Sequence[tuple[float, int]]
"""When how many were needed: falling numbers, oldest first. The first one is what is wanted."""


def held(needs: Needs, needed: int, now: float, policy: ScalingPolicy) -> Needs:
    """So many are needed now. What was needed long ago, or less than now, does not matter any more."""
    since = now - policy.hold_seconds
    return (*((at, number) for at, number in needs if at > since and number > needed), (now, needed))


@dataclass(frozen=True, slots=True)
class SizePolicy:
    """Of one node's browsers: how few, how many, and what each must find of memory. One that has not been needed for
    ``hold_seconds`` is closed.
    """

    least: int
    most: int
    pages_per_browser: int
    browser_mib: float
    hold_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """``idle_seconds``: for how long a browser's worth of slots has been free. ``free_mib``: memory at hand, with what
    the browsers have already taken off.
    """

    browsers: int
    busy: int
    backlog: int
    idle_seconds: float
    free_mib: float


def browsers_wanted(size: Size, policy: SizePolicy) -> int:
    """One more, one fewer, or as many as there are; never beyond the bounds, but for memory never below them.

    Another browser needs a browser's worth of waiting jobs and of memory. When half of that memory is left, one is
    closed: the kernel would choose a worse moment.
    """
    full = size.busy >= size.browsers * policy.pages_per_browser
    if size.free_mib < policy.browser_mib / 2 or size.idle_seconds >= policy.hold_seconds:
        wanted = size.browsers - 1
    elif full and size.backlog >= policy.pages_per_browser and size.free_mib >= policy.browser_mib:
        wanted = size.browsers + 1
    else:
        wanted = size.browsers
    return min(policy.most, max(policy.least, wanted))

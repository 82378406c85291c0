"""How many nodes a fleet needs, and how many browsers a node needs.

Both grow at once and shrink late, because a waiting job costs more than a node that idles for some minutes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

USUAL_SECONDS = 1.0
"""The assumed duration of a render before the first one."""

MEAN_OF = 100
"""The mean covers about so many renders; older ones weigh less and less."""

_SMALL = 10
"""A backlog is small if the busy slots work it off in a tenth of the time."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """``target_seconds``: how long a job may wait, including the ``reaction_seconds`` until a new node renders.

    The number of wanted nodes falls only when no more were needed for ``hold_seconds``. ``tests/simulation`` chose the
    defaults.
    """

    target_seconds: float = 600.0
    reaction_seconds: float = 300.0
    hold_seconds: float = 120.0

    @property
    def drain_seconds(self) -> float:
        """The time in which live nodes must work off the backlog, so that no job waits longer than the target."""
        return max(1.0, self.target_seconds - self.reaction_seconds)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean duration of a render."""

    seconds: float = USUAL_SECONDS
    count: int = 0

    def after(self, seconds: float) -> "Mean":
        """Return the mean after another render of ``seconds``."""
        count = self.count + 1
        return Mean(self.seconds + (seconds - self.seconds) / min(count, MEAN_OF), count)


@dataclass(frozen=True, slots=True)
class Workload:
    """``backlog``: messages that can be received now. ``running``: renders under way on all nodes, None if unknown.

    ``slots``: of one node, at least one.
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
        """How long this node alone takes for the backlog."""
        return self.backlog_per_slot * self.render_seconds


@dataclass(frozen=True, slots=True)
class Demand:
    """The demand for nodes. ``backlog_seconds``: how long this node alone takes for the backlog.

    ``running``, ``nodes_wanted``: of the whole fleet; None while the database is away. ``held``: jobs that wait for a
    breaker; no other figure includes them. ``target_seconds``: how long a job may wait.
    """

    backlog: int
    backlog_per_slot: float
    backlog_seconds: float
    render_seconds: float
    running: int | None
    nodes_wanted: int | None
    target_seconds: float = ScalingPolicy().target_seconds
    held: int = 0


def nodes_needed(load: Workload, policy: ScalingPolicy) -> int | None:
    """Return how many nodes of this size keep the renders running and work off the backlog in time; at least one.

    ``running`` covers the whole fleet, so the number of live nodes is not needed. A job waits only for the jobs before
    it, so later jobs need no extra slots.
    """
    if load.running is None:
        return None
    work = load.backlog * load.render_seconds
    nodes = math.ceil(max(load.running, work / policy.drain_seconds) / load.slots - _ROUNDING)
    # If jobs come as fast as they are rendered, a backlog within the target stays forever. One extra node works it off.
    # A percentage of the nodes would feed on itself, because all slots are busy until the backlog is gone.
    stays = work > max(load.running, load.slots) * policy.drain_seconds / _SMALL
    return max(1, nodes + stays)


Needs = Sequence[tuple[float, int]]
"""Times and numbers of nodes needed: numbers falling, oldest first. The first number is the one wanted."""


def hold_demand(needs: Needs, needed: int, now: float, policy: ScalingPolicy) -> Needs:
    """Add a need, and drop those that are older than ``hold_seconds`` or lower than it."""
    since = now - policy.hold_seconds
    return (*((at, number) for at, number in needs if at > since and number > needed), (now, needed))


@dataclass(frozen=True, slots=True)
class SizePolicy:
    """Bounds for the browsers of one node, and the memory that each needs.

    A browser that was not needed for ``hold_seconds`` is closed.
    """

    least: int
    most: int
    pages_per_browser: int
    browser_mib: float
    hold_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """``idle_seconds``: how long the slots of one browser have been free.

    ``free_mib``: available memory, after the browsers' own use.
    """

    browsers: int
    busy: int
    backlog: int
    idle_seconds: float
    free_mib: float


def browsers_wanted(size: Size, policy: SizePolicy) -> int:
    """Return the number of browsers: the present one, one more or one fewer, within the policy's bounds.

    One more needs enough waiting jobs to fill it, and its memory. One is closed when less than half of that memory is
    left, before the kernel kills one at a worse moment.
    """
    full = size.busy >= size.browsers * policy.pages_per_browser
    if size.free_mib < policy.browser_mib / 2 or size.idle_seconds >= policy.hold_seconds:
        wanted = size.browsers - 1
    elif full and size.backlog >= policy.pages_per_browser and size.free_mib >= policy.browser_mib:
        wanted = size.browsers + 1
    else:
        wanted = size.browsers
    return min(policy.most, max(policy.least, wanted))

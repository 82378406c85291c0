"""A model of an Auto Scaling group of EC2 that follows what the daemons publish, as ``packaging/aws`` sets it up.

Figures arrive once a minute. The alarms look at the last few of them, and a machine that is wanted takes some minutes
to become one that renders.
"""

import math
import random
from dataclasses import dataclass

from reportd.core.capacity.scaling import Demand

MINUTE = 60.0

STEPS = ((0.1, 0.85), (0.25, 0.6), (0.5, 0.4), (0.75, 0.2), (0.9, 0.1))
"""Below which load of a node which share of them goes, each minute. None of the steps goes below a load of 1."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """The load of a node is the nodes that are wanted over those in service. Target tracking adds nodes when it has
    been above 1 for ``out_minutes``. They go when it has been below 0.9 for ``in_minutes``: by ``STEPS``, or
    all at once where target tracking does that as well (``tracks_in``).

    ``acceptable``: instead of the daemon's figure, how many messages may wait for each node.
    """

    out_minutes: int = 3
    in_minutes: int = 1
    tracks_in: bool = False
    acceptable: float | None = None
    least: int = 1
    most: int = 200
    boot_seconds: tuple[float, float] = (120.0, 180.0)


TRACKING = GroupPolicy(in_minutes=15, tracks_in=True)
"""Target tracking alone: what AWS does when it is told nothing else."""


@dataclass
class Blackboard:
    """Implements ``scaling.Board``: the newest figures, until they have been read."""

    newest: Demand | None = None

    async def publish(self, demand: Demand) -> None:
        self.newest = demand

    def read(self) -> Demand | None:
        demand, self.newest = self.newest, None
        return demand


class Group:
    """How many nodes are ``desired``. ``decide`` is called once a minute."""

    def __init__(self, policy: GroupPolicy, desired: int) -> None:
        self.desired = desired
        self._policy = policy
        self._high = 0
        self._low = 0

    def decide(self, demand: Demand | None, in_service: int) -> int:
        """Without figures nothing is changed, and the alarms forget nothing."""
        load = self._load(demand, in_service)
        if load is None:
            return self.desired
        policy = self._policy
        self._high = self._high + 1 if load > 1 else 0
        self._low = self._low + 1 if load < STEPS[-1][0] else 0
        wanted = min(policy.most, max(policy.least, math.ceil(load * in_service - 1e-9)))
        if self._high >= policy.out_minutes:
            self.desired = max(self.desired, wanted)
        elif self._low >= policy.in_minutes:
            share = next(share for below, share in STEPS if load < below)
            by_steps = max(policy.least, in_service - max(1, int(in_service * share)))
            self.desired = min(self.desired, wanted if policy.tracks_in else by_steps)
        return self.desired

    def _load(self, demand: Demand | None, in_service: int) -> float | None:
        if demand is None or not in_service:
            return None
        if self._policy.acceptable is not None:
            return demand.backlog / in_service / self._policy.acceptable
        return None if demand.nodes_wanted is None else demand.nodes_wanted / in_service

    def boot_seconds(self, rng: random.Random) -> float:
        return rng.uniform(*self._policy.boot_seconds)

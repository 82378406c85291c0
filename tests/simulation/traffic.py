"""What is asked of the fleet: when which report comes, and how long it takes to be rendered. The same for a seed."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

HOUR = 3600.0
DAY = 24 * HOUR

POISON = "poison"
"""The report type that has a bug for a while: its pages never get ready."""

_TYPES = {"invoice": (0.6, 0.5), "summary": (0.3, 1.0), "ledger": (0.1, 4.0)}
"""Share of the jobs, and how long one takes by the mean of all."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report is asked for at ``at``, and takes ``seconds`` of a slot."""

    task_id: str
    at: float
    report_type: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Burst:
    """From ``start`` for ``seconds``, so many times as much as usual."""

    start: float
    seconds: float
    times: float


def flat(_at: float) -> float:
    return 1.0


def working_day(at: float) -> float:
    """Of the mean: little at night, most in the afternoon."""
    return 1.0 - 0.8 * math.cos(2 * math.pi * (at / DAY - 3 / 24))


def arrivals(
    rng: random.Random,
    *,
    seconds: float,
    slots: float,
    render_seconds: float,
    shape: Callable[[float], float] = flat,
    bursts: Sequence[Burst] = (),
    poison: tuple[float, float] | None = None,
    poison_share: float = 0.1,
) -> list[Arrival]:
    """A Poisson stream that keeps ``slots`` busy in the mean, were it not for the bursts.

    While ``poison`` lasts, that share of what comes besides is of the type with the bug.
    """

    def pace(at: float) -> float:
        times = max([1.0, *(burst.times for burst in bursts if burst.start <= at < burst.start + burst.seconds)])
        return slots / render_seconds * shape(at) * times

    names, weights = list(_TYPES), [share for share, _ in _TYPES.values()]
    mean = sum(share * length for share, length in _TYPES.values())
    peak = slots / render_seconds * 2.0 * max([1.0, *(burst.times for burst in bursts)])
    found: list[Arrival] = []
    at = 0.0
    while (at := at + rng.expovariate(peak)) < seconds:
        if rng.random() * peak >= pace(at):
            continue
        name = rng.choices(names, weights)[0]
        # Half of the type's usual time at least, and a tail of long ones.
        usual = render_seconds * _TYPES[name][1] / mean
        _add(found, at, name, usual * (0.5 + rng.expovariate(2.0)))
        if poison and poison[0] <= at < poison[1] and rng.random() < poison_share:
            _add(found, at, POISON, usual)
    return found


def _add(found: list[Arrival], at: float, report_type: str, seconds: float) -> None:
    found.append(Arrival(str(UUID(int=len(found) + 1)), at, report_type, seconds))

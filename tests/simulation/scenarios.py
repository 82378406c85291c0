"""Days and hours that a fleet may meet with. Each is the same for the same seed."""

import random
from collections.abc import Callable

from tests.simulation.fleet import Scenario
from tests.simulation.traffic import HOUR, Burst, arrivals, working_day

RENDER_SECONDS = 20.0


def burst(seed: int) -> Scenario:
    """Three quiet hours, but for half an hour in which twenty times as much comes as usual."""
    peak = Burst(HOUR, 0.5 * HOUR, 20.0)
    traffic = arrivals(random.Random(seed), seconds=3 * HOUR, slots=6.0, render_seconds=RENDER_SECONDS, bursts=[peak])
    return Scenario("burst", 3 * HOUR, traffic, nodes=4, marks=[(peak.start, peak.seconds, "20 times as much")])


def trouble(seed: int) -> Scenario:
    """An hour with a little of everything: a burst, a type with a bug, nodes that die, and scale-in."""
    peak, broken = Burst(600.0, 300.0, 5.0), (1500.0, 2400.0)
    traffic = arrivals(
        random.Random(seed),
        seconds=HOUR,
        slots=8.0,
        render_seconds=RENDER_SECONDS,
        bursts=[peak],
        poison=broken,
        poison_share=0.3,
    )
    marks = [(600.0, 300.0, "5 times as much"), (1500.0, 900.0, "a type has a bug")]
    return Scenario("trouble", HOUR, traffic, (720.0, 1620.0, 1680.0), broken, nodes=6, marks=marks)


def day(seed: int) -> Scenario:
    """A working day: little at night, three bursts, a type that has a bug for an hour, and a node lost every hour."""
    rng = random.Random(seed)
    bursts = [Burst(2 * HOUR, HOUR / 3, 20.0), Burst(9 * HOUR, HOUR / 2, 8.0), Burst(15.5 * HOUR, HOUR / 4, 20.0)]
    broken = (11 * HOUR, 12 * HOUR)
    traffic = arrivals(
        rng,
        seconds=24 * HOUR,
        slots=8.0,
        render_seconds=RENDER_SECONDS,
        shape=working_day,
        bursts=bursts,
        poison=broken,
    )
    losses = [hour * HOUR + rng.uniform(0.0, HOUR) for hour in range(24)]
    marks = [(one.start, one.seconds, f"{one.times:g} times as much") for one in bursts]
    marks.append((broken[0], HOUR, "a type has a bug"))
    return Scenario("day", 24 * HOUR, traffic, losses, broken, nodes=2, marks=marks)


def large(seed: int) -> Scenario:
    """An hour and a half in which a fleet has to become as large as it may be."""
    peak = Burst(0.5 * HOUR, HOUR / 3, 20.0)
    traffic = arrivals(
        random.Random(seed), seconds=1.5 * HOUR, slots=18.0, render_seconds=RENDER_SECONDS, bursts=[peak]
    )
    marks = [(peak.start, peak.seconds, "20 times as much")]
    return Scenario("large", 1.5 * HOUR, traffic, (0.7 * HOUR, 0.8 * HOUR), nodes=12, marks=marks)


SCENARIOS: dict[str, Callable[[int], Scenario]] = {"burst": burst, "trouble": trouble, "day": day, "large": large}

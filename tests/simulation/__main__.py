"""`make simulate`: a fleet over a day, with bursts and trouble, in a minute or two; a line and a plot of each scenario.

`--compare` is how the defaults of the scaling policy were chosen: the same scenario under one policy after another.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reportd.core.capacity.scaling import ScalingPolicy
from tests.simulation.fleet import Outcome, Scenario, ideal_node_seconds, run
from tests.simulation.group import TRACKING, GroupPolicy
from tests.simulation.node import SLOTS
from tests.simulation.plot import plot
from tests.simulation.scenarios import RENDER_SECONDS, SCENARIOS

HEADINGS = ("policy", "node hours / ideal", "wait p95", "longest", "p50 without the bursts", "most nodes")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    options.add_argument("--scenario", choices=SCENARIOS, action="append")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("out"))
    options.add_argument("--compare", action="store_true")
    chosen = options.parse_args()
    for name in chosen.scenario or ("burst", "day", "large"):
        scenario = SCENARIOS[name](chosen.seed)
        if chosen.compare:
            _compare(scenario, chosen.seed)
        else:
            _show(scenario, chosen.seed, chosen.out)


def _show(scenario: Scenario, seed: int, folder: Path) -> None:
    policy, group = ScalingPolicy(), GroupPolicy()
    outcome = run(scenario, policy, group, seed)
    ratio = outcome.node_seconds / ideal_node_seconds(scenario, group.least)
    ends = ", ".join(f"{count} {state}" for state, count in sorted(outcome.states.items()))
    title = (
        f"{scenario.name}: {ends}; wait p95 {outcome.wait_seconds(0.95):.0f} s; "
        f"{ratio:.2f} of the ideal node hours; {outcome.lost} nodes lost, {outcome.scaled_in} scaled in"
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"fleet-{scenario.name}.svg"
    file.write_text(plot(scenario, outcome, policy.target_seconds, title))
    print(f"{title}\n  {file}", flush=True)


def _policies() -> Iterator[tuple[str, ScalingPolicy, GroupPolicy]]:
    usual, group = ScalingPolicy(), GroupPolicy()
    textbook = usual.drain_seconds * SLOTS / RENDER_SECONDS
    yield "messages per node, target tracking", usual, replace(TRACKING, acceptable=textbook)
    yield "nodes wanted, target tracking", usual, TRACKING
    yield "nodes wanted, steps in: the defaults", usual, group
    for seconds in (60.0, 300.0):
        yield f"… hold_seconds = {seconds:g}", replace(usual, hold_seconds=seconds), group
    for seconds in (150.0, 450.0):
        yield f"… reaction_seconds = {seconds:g}", replace(usual, reaction_seconds=seconds), group


def _compare(scenario: Scenario, seed: int) -> None:
    print(f"\n{scenario.name}, {len(scenario.traffic)} reports\n")
    _row(HEADINGS)
    _row(["---"] * len(HEADINGS))
    for name, policy, group in _policies():
        outcome = run(scenario, policy, group, seed)
        _row([name, *_figures(scenario, outcome, group)])


def _figures(scenario: Scenario, outcome: Outcome, group: GroupPolicy) -> Iterator[str]:
    yield f"{outcome.node_seconds / ideal_node_seconds(scenario, group.least):.2f}"
    for share in (0.95, 1.0):
        yield f"{outcome.wait_seconds(share):.0f} s"
    yield f"{_quiet(scenario, outcome).wait_seconds(0.5):.0f} s"
    yield str(outcome.most_nodes)


def _quiet(scenario: Scenario, outcome: Outcome) -> Outcome:
    """Of those who did not come in a burst, nor in the quarter of an hour after one."""
    loud = [(start, start + seconds + 900.0) for start, seconds, _ in scenario.marks]
    waits = [(at, wait) for at, wait in outcome.waits if not any(since <= at < until for since, until in loud)]
    return replace(outcome, waits=waits)


def _row(cells: Iterator[str] | list[str] | tuple[str, ...]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

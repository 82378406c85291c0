"""A fleet that follows its queue: a burst is worked off in time and at what cost, and nothing is lost on the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reportd.core.capacity.scaling import Demand, ScalingPolicy
from reportd.core.jobs.transitions import JobState
from tests.simulation.fleet import Outcome, Scenario, ideal_node_seconds, run
from tests.simulation.group import STEPS, Group, GroupPolicy
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.traffic import POISON

ROOT = Path(__file__).parents[2]
POLICY = ScalingPolicy()


@pytest.fixture(scope="module")
def burst() -> Scenario:
    return SCENARIOS["burst"](1)


@pytest.fixture(scope="module")
def worked_off(burst: Scenario) -> Outcome:
    return run(burst, POLICY, GroupPolicy(), seed=1)


def test_a_burst_of_twenty_times_the_usual_is_worked_off_within_the_target(
    burst: Scenario, worked_off: Outcome
) -> None:
    start, seconds, _ = burst.marks[0]
    assert 0 < worked_off.wait_seconds(0.95) <= POLICY.target_seconds
    assert worked_off.wait_seconds(0.95, start, start + seconds) <= POLICY.target_seconds
    assert worked_off.most_nodes >= 40
    assert worked_off.wait_seconds(0.5, start + seconds + 1800.0) < 60.0, "afterwards there is no waiting"


def test_it_costs_less_than_a_quarter_more_than_the_ideal(burst: Scenario, worked_off: Outcome) -> None:
    assert worked_off.node_seconds < 1.25 * ideal_node_seconds(burst, least=1)


def test_scale_in_loses_nothing(burst: Scenario, worked_off: Outcome) -> None:
    assert worked_off.scaled_in >= 40
    assert worked_off.given_back > 0, "some are in the middle of a long report when they are to go"
    assert worked_off.states == {JobState.SUCCEEDED: len(burst.traffic)}
    assert (worked_off.unfinished, worked_off.stored_twice) == (0, 0)


def test_nodes_that_die_and_a_type_with_a_bug_cost_nobody_his_report() -> None:
    scenario = SCENARIOS["trouble"](2)
    outcome = run(scenario, POLICY, GroupPolicy(), seed=2)
    poisoned = sum(arrival.report_type == POISON for arrival in scenario.traffic)
    assert outcome.lost == 3
    assert outcome.scaled_in > 0
    assert outcome.unfinished == 0
    assert outcome.states[JobState.SUCCEEDED] >= len(scenario.traffic) - poisoned
    assert sum(outcome.states.values()) == len(scenario.traffic)
    assert 3 <= outcome.faults < 0.3 * poisoned, "its breaker gives most of them no slot while they have the bug"
    assert outcome.wait_seconds(0.95) <= POLICY.target_seconds


def plotted(folder: Path, hashes: int) -> bytes:
    """Return the plot that `make simulate` leaves behind, made by a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed=3", "--scenario=trouble", f"--out={folder}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hashes)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return (folder / "fleet-trouble.svg").read_bytes()


def test_the_same_seed_gives_the_same_plot(tmp_path: Path) -> None:
    first = plotted(tmp_path, hashes=1)
    assert b"<polyline" in first
    assert plotted(tmp_path, hashes=2) == first


def test_another_seed_gives_another_traffic() -> None:
    assert SCENARIOS["trouble"](3).traffic == SCENARIOS["trouble"](3).traffic
    assert SCENARIOS["trouble"](3).traffic != SCENARIOS["trouble"](4).traffic


# --- the model of the group ---------------------------------------------------------------------------------


def demand(nodes_wanted: int | None) -> Demand:
    return Demand(0, 0.0, 0.0, 1.0, running=0, nodes_wanted=nodes_wanted)


def test_nodes_are_added_after_three_minutes_and_go_step_by_step() -> None:
    group = Group(GroupPolicy(), desired=4)
    assert [group.decide(demand(nodes_wanted=40), 4) for _ in range(3)] == [4, 4, 40]
    assert [group.decide(demand(nodes_wanted=2), 40), group.decide(demand(nodes_wanted=2), 6)] == [6, 4]
    assert group.decide(demand(nodes_wanted=2), 2) == 4, "as many as are wanted are there, so nothing is changed"


def test_without_figures_nothing_is_changed() -> None:
    group = Group(GroupPolicy(out_minutes=1), desired=4)
    assert group.decide(None, 4) == 4
    assert group.decide(demand(nodes_wanted=None), 4) == 4
    assert group.decide(demand(nodes_wanted=9), 0) == 4


def test_no_step_takes_more_nodes_than_are_too_many() -> None:
    for in_service in range(2, 201):
        for wanted in range(1, in_service):
            group = Group(GroupPolicy(), desired=in_service)
            if wanted / in_service < STEPS[-1][0]:
                assert wanted <= group.decide(demand(nodes_wanted=wanted), in_service) < in_service

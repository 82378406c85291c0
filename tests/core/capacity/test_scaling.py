"""How many nodes and browsers are wanted: examples, and rules for any numbers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.capacity.scaling import (
    MEAN_OF,
    USUAL_SECONDS,
    Mean,
    Needs,
    ScalingPolicy,
    Size,
    SizePolicy,
    Workload,
    browsers_wanted,
    hold_demand,
    nodes_needed,
)

POLICY = ScalingPolicy(target_seconds=600.0, reaction_seconds=300.0, hold_seconds=300.0)


def load(backlog: int, running: int | None = 0, slots: int = 2, render_seconds: float = 10.0) -> Workload:
    return Workload(backlog, running, slots, render_seconds)


class TestNodes:
    def test_backlog_per_slot_and_in_seconds(self) -> None:
        assert load(30, slots=4).backlog_per_slot == 7.5
        assert load(30, slots=4).backlog_seconds == 75.0

    @pytest.mark.parametrize(
        ("given_load", "needed"),
        [
            (load(0), 1),
            (load(0, running=1), 1),
            # 6 renders of 10 s are a small backlog for two slots; 60 are all that they work off in 300 s
            (load(6), 1),
            (load(7), 2),
            (load(60), 2),
            (load(61), 3),
            (load(600, running=10), 11),
            (load(600, running=30), 16),
            (load(600, running=10, slots=8), 4),
            (load(0, running=100), 50),
            (load(10**6, running=0), 16668),
        ],
    )
    def test_enough_for_the_running_and_the_waiting_jobs(self, given_load: Workload, needed: int) -> None:
        assert nodes_needed(given_load, POLICY) == needed

    def test_one_more_while_the_backlog_is_not_small(self) -> None:
        assert nodes_needed(load(300, running=100), POLICY) == 50
        assert nodes_needed(load(301, running=100), POLICY) == 51

    def test_a_fleet_that_works_off_a_backlog_hardly_calls_for_more(self) -> None:
        nodes = nodes_needed(load(3000, running=4), POLICY)
        assert nodes == 51
        for backlog in range(3000, 300, -100):
            assert nodes_needed(load(backlog, running=2 * nodes), POLICY) in (nodes, nodes + 1)

    def test_the_need_is_unknown_while_the_running_jobs_are(self) -> None:
        assert nodes_needed(load(60, running=None), POLICY) is None

    def test_a_target_below_the_reaction_time_leaves_one_second(self) -> None:
        assert nodes_needed(load(10), ScalingPolicy(target_seconds=60.0, reaction_seconds=60.0)) == 51

    @given(
        st.builds(
            Workload,
            backlog=st.integers(0, 10**6),
            running=st.integers(0, 10**4),
            slots=st.integers(1, 256),
            render_seconds=st.floats(0.01, 3600.0),
        ),
        st.builds(ScalingPolicy, st.floats(300.0, 86400.0), st.floats(0.0, 299.0)),
    )
    def test_the_nodes_are_enough_and_at_most_one_too_many(self, one: Workload, policy: ScalingPolicy) -> None:
        needed = nodes_needed(one, policy)
        assert needed is not None
        enough = max(one.running or 0, one.backlog * one.render_seconds / policy.drain_seconds)
        assert needed * one.slots >= enough * 0.9999
        assert needed <= 2 or (needed - 2) * one.slots < enough


class TestHeld:
    def wanted(self, *needs: tuple[float, int]) -> list[int]:
        told: list[int] = []
        kept: Needs = ()
        for at, needed in needs:
            kept = hold_demand(kept, needed, at, POLICY)
            told.append(kept[0][1])
        return told

    def test_more_are_wanted_at_once(self) -> None:
        assert self.wanted((0, 1), (60, 5), (120, 20)) == [1, 5, 20]

    def test_fewer_are_wanted_late(self) -> None:
        assert self.wanted((0, 9), (60, 2), (299, 2), (301, 2)) == [9, 9, 9, 2]

    def test_then_the_most_that_was_needed_meanwhile(self) -> None:
        assert self.wanted((0, 9), (100, 3), (200, 5), (301, 1), (501, 1)) == [9, 9, 9, 5, 1]

    @given(st.lists(st.tuples(st.floats(0.0, 200.0), st.integers(1, 50)), min_size=1))
    def test_it_is_the_most_that_was_needed_in_that_time(self, steps: list[tuple[float, int]]) -> None:
        now = 0.0
        kept: Needs = ()
        past: list[tuple[float, int]] = []
        for seconds, needed in steps:
            now += seconds
            past.append((now, needed))
            kept = hold_demand(kept, needed, now, POLICY)
            assert kept[0][1] == max(number for at, number in past if at > now - POLICY.hold_seconds or at == now)
            assert all(before > after for (_, before), (_, after) in pairwise(kept)), "and no more is remembered"


class TestMean:
    def test_before_the_first_render_it_is_the_assumed_duration(self) -> None:
        assert Mean().seconds == USUAL_SECONDS

    def test_the_first_renders_weigh_the_same(self) -> None:
        assert Mean().after(10.0).seconds == 10.0
        assert Mean().after(10.0).after(20.0).after(60.0).seconds == pytest.approx(30.0)

    def test_old_renders_weigh_less_and_less(self) -> None:
        mean = Mean()
        for _ in range(10_000):
            mean = mean.after(10.0)
        for _ in range(5 * MEAN_OF):
            mean = mean.after(1.0)
        assert mean.seconds == pytest.approx(1.0, abs=0.1)


SIZES = SizePolicy(least=1, most=3, pages_per_browser=2, browser_mib=1000.0, hold_seconds=60.0)


def size(
    browsers: int = 2, busy: int = 4, backlog: int = 0, idle_seconds: float = 0.0, free_mib: float = 4000.0
) -> Size:
    return Size(browsers, busy, backlog, idle_seconds, free_mib)


class TestBrowsers:
    @pytest.mark.parametrize(
        ("now", "wanted"),
        [
            (size(), 2),
            (size(backlog=2), 3),
            (size(backlog=1), 2),
            (size(busy=3, backlog=50), 2),
            (size(browsers=3, busy=6, backlog=50), 3),
            (size(backlog=50, free_mib=1000.0), 3),
            (size(backlog=50, free_mib=999.0), 2),
            (size(backlog=50, free_mib=500.0), 2),
            (size(backlog=50, free_mib=499.0), 1),
            (size(browsers=1, busy=2, free_mib=0.0), 1),
            (size(busy=2, idle_seconds=59.9), 2),
            (size(busy=2, idle_seconds=60.0), 1),
            (size(browsers=1, busy=0, idle_seconds=600.0), 1),
            (size(browsers=7, busy=14, backlog=50), 3),
        ],
    )
    def test_by_backlog_and_memory(self, now: Size, wanted: int) -> None:
        assert browsers_wanted(now, SIZES) == wanted

    @given(
        st.builds(Size, st.integers(1, 3), st.integers(0, 6), st.integers(0, 99), st.floats(0, 99), st.floats(0, 9999))
    )
    def test_one_at_a_time_and_within_the_bounds(self, now: Size) -> None:
        wanted = browsers_wanted(now, SIZES)
        assert 1 <= wanted <= 3
        assert abs(wanted - now.browsers) <= 1

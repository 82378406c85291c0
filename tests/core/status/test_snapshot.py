"""The snapshot: equality, and sums over nodes."""

from dataclasses import FrozenInstanceError, replace

import pytest

from reportd.core.capacity.scaling import Demand
from reportd.core.status.snapshot import Figures, LetterGroup, Node, Snapshot, sum_figures
from tests.web.busy import busy

NOW = 1.8e9


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        busy(NOW).at = 0.0  # type: ignore[misc]


def test_two_that_differ_in_their_time_alone_show_the_same() -> None:
    one = busy(NOW)
    assert one.shows_the_same(replace(one, at=NOW + 100))
    assert not one.shows_the_same(replace(one, at=NOW + 100, alone="redis: no answer"))
    assert not one.shows_the_same(replace(one, types=one.types[1:]))


def test_slots_are_those_of_nodes_that_are_there() -> None:
    nodes = (Node("a", slots=4, busy=1), Node("b", slots=2, busy=2), Node("c", slots=8, busy=8, gone=True))
    snapshot: Snapshot = replace(busy(NOW), nodes=nodes)
    assert (snapshot.slots, snapshot.busy, snapshot.live_nodes) == (6, 3, 2)


def test_what_waits_is_worked_off_by_all_slots_that_are_there() -> None:
    nodes = (Node("a", slots=4), Node("b", slots=2), Node("c", slots=8, gone=True))
    demand = Demand(120, 30.0, 60.0, 2.0, running=6, nodes_wanted=3)
    snapshot: Snapshot = replace(busy(NOW), nodes=nodes, demand=demand)
    assert snapshot.backlog_seconds == 120 * 2.0 / 6
    assert replace(snapshot, demand=None).backlog_seconds is None
    assert replace(snapshot, nodes=nodes[2:]).backlog_seconds is None


def test_figures_of_all_nodes_are_added_up_as_far_as_that_can_be_done() -> None:
    nodes = (
        Node("a", figures={"sales": Figures(3.0, 1, 10, 0.1, 0.2)}),
        Node("b", figures={"sales": Figures(2.0, 1, 5, 7.0, 8.0), "other": Figures(100.0, 100, 100)}),
        Node("c"),
        Node("d", figures={}),
        Node("e", gone=True, figures={"sales": Figures(100.0, 100, 100)}),
    )
    here = Figures(3.0, 1, 10, 0.1, 0.2)
    assert sum_figures(nodes, "sales", here) == Figures(5.0, 2, 15, 0.1, 0.2)
    assert sum_figures(nodes, "none", Figures()) == Figures()


def test_a_group_is_tried_again_when_its_first_letter_is() -> None:
    groups: tuple[LetterGroup, ...] = busy(NOW).letters or ()
    assert [group.due_at for group in groups] == [None, NOW + 42, None]
    assert [group.count for group in groups] == [17, 6, 3]

"""The limits of the backlog: shares of report types and users."""

from dataclasses import replace

import pytest

from reportd.core.capacity.backlog import BacklogPolicy, Limit, Refusal, Waiting, refusal, sum_excess

POLICY = BacklogPolicy(most=1000, type_share=0.5, user_share=0.25)
EMPTY = Waiting(of_type=0, types=1, of_user=0, users=1, counted=0)


@pytest.mark.parametrize(
    ("sharers", "of_type", "of_user"), [(1, 1000, 1000), (2, 500, 500), (3, 500, 333), (9, 500, 250)]
)
def test_a_share_is_an_even_part_for_few_sharers(sharers: int, of_type: int, of_user: int) -> None:
    assert (POLICY.of_type(sharers), POLICY.of_user(sharers)) == (of_type, of_user)


def test_the_smallest_backlog_has_room_for_one_of_each() -> None:
    assert (BacklogPolicy(1).of_type(5), BacklogPolicy(1).of_user(5)) == (1, 1)


@pytest.mark.parametrize(
    ("backlog", "refused"),
    [
        (EMPTY, None),
        (replace(EMPTY, of_type=999, of_user=999, counted=999), None),
        (replace(EMPTY, of_type=1000, of_user=1000, counted=1000), Refusal(Limit.BACKLOG, 1000, 1000)),
        (replace(EMPTY, counted=1000), Refusal(Limit.BACKLOG, 1000, 1000)),
        (replace(EMPTY, of_type=500, types=2), Refusal(Limit.REPORT_TYPE, 500, 500)),
        (replace(EMPTY, of_type=499, types=2), None),
        (replace(EMPTY, of_user=250, users=9), Refusal(Limit.USER, 250, 250)),
        (replace(EMPTY, of_user=249, users=9), None),
        (replace(EMPTY, of_type=500, types=2, of_user=250, users=9), Refusal(Limit.USER, 250, 250)),
        (replace(EMPTY, of_type=1500, of_user=1500, counted=900), None),
        (replace(EMPTY, counted=9999, held=True), None),
        (replace(EMPTY, of_type=1000, held=True), Refusal(Limit.REPORT_TYPE, 1000, 1000, held=True)),
        (replace(EMPTY, of_type=500, types=2, held=True), Refusal(Limit.REPORT_TYPE, 500, 500, held=True)),
    ],
)
def test_the_lowest_limit_that_is_hit_is_given(backlog: Waiting, refused: Refusal | None) -> None:
    assert refusal(backlog, POLICY) == refused


def test_the_excess_above_a_share() -> None:
    assert sum_excess([10, 5, 3], 4) == 7
    assert sum_excess([], 4) == 0

"""Workable and held messages, by the counts of the queue and of the job store."""

import pytest

from reportd.core.status.queue_depth import Counts, oldest_workable_at, separate_held
from reportd.core.status.snapshot import Load

NOON = 1.7e9


@pytest.mark.parametrize(
    ("counts", "held", "workable", "running", "expected"),
    [
        # The embedded queue, and a type with its own queue: held messages stay visible.
        (Counts(5000, 0, 0), 5000, 0, 0, Counts(0, 0, 0, 5000)),
        (Counts(5020, 2, 0), 5000, 20, 2, Counts(20, 2, 0, 5000)),
        # Two workable messages are prefetched, which no count shows.
        (Counts(5020, 4, 0), 5000, 22, 2, Counts(22, 2, 0, 5000)),
        (Counts(5000, 0, 3), 5000, 3, 0, Counts(3, 0, 0, 5000)),
        # SQS: deferred messages are in flight.
        (Counts(20, 5004, 0), 5000, 22, 2, Counts(20, 4, 0, 5000)),
        (Counts(0, 5000, 0), 5000, 0, 0, Counts(0, 0, 0, 5000)),
        # Some deferred messages have just become visible.
        (Counts(60, 4960, 0), 5000, 20, 0, Counts(20, 0, 0, 5000)),
        # Sent with a delay.
        (Counts(0, 0, 7), 5, 0, 0, Counts(0, 0, 2, 5)),
        # Sent straight to the queue, without a row.
        (Counts(1000, 0, 0), 0, 0, 0, Counts(1000, 0, 0, 0)),
        (Counts(1500, 0, 0), 500, 0, 0, Counts(1000, 0, 0, 500)),
        # SQS's counts are approximate and may lag behind the job store.
        (Counts(0, 0, 0), 500, 10, 0, Counts(0, 0, 0, 500)),
    ],
)
def test_held_messages_are_set_apart(counts: Counts, held: int, workable: int, running: int, expected: Counts) -> None:
    loads = {"held": Load(waiting=held), "workable": Load(waiting=workable, running=running)}
    assert separate_held(counts, loads, {"held", "absent"}) == expected


def test_held_messages_do_not_count_as_the_oldest() -> None:
    loads = {"held": Load(waiting=1, oldest_at=NOON), "workable": Load(waiting=1, oldest_at=NOON + 60)}
    assert oldest_workable_at(NOON, loads, {"held"}) == NOON + 60
    assert oldest_workable_at(NOON + 90, loads, {"held"}) == NOON + 90
    assert oldest_workable_at(NOON, loads, {"held", "workable"}) == NOON
    assert oldest_workable_at(None, loads, {"held"}) is None

"""What can be worked on and what is held, of what a queue and the job store tell together."""

import pytest

from reportd.core.status.queue_depth import Counts, oldest_at, set_apart
from reportd.core.status.snapshot import Load

NOON = 1.7e9


@pytest.mark.parametrize(
    ("counts", "sick", "well", "running", "wanted"),
    [
        # The embedded queue, and a queue of the type's own: what is held stays visible.
        (Counts(5000, 0, 0), 5000, 0, 0, Counts(0, 0, 0, 5000)),
        (Counts(5020, 2, 0), 5000, 20, 2, Counts(20, 2, 0, 5000)),
        # Two of the well ones are prefetched, which nobody can tell.
        (Counts(5020, 4, 0), 5000, 22, 2, Counts(22, 2, 0, 5000)),
        (Counts(5000, 0, 3), 5000, 3, 0, Counts(3, 0, 0, 5000)),
        # SQS: it is put off, and in flight.
        (Counts(20, 5004, 0), 5000, 22, 2, Counts(20, 4, 0, 5000)),
        (Counts(0, 5000, 0), 5000, 0, 0, Counts(0, 0, 0, 5000)),
        # Some of it comes back just now.
        (Counts(60, 4960, 0), 5000, 20, 0, Counts(20, 0, 0, 5000)),
        # Sent with a delay.
        (Counts(0, 0, 7), 5, 0, 0, Counts(0, 0, 2, 5)),
        # Straight to the queue, without a row.
        (Counts(1000, 0, 0), 0, 0, 0, Counts(1000, 0, 0, 0)),
        (Counts(1500, 0, 0), 500, 0, 0, Counts(1000, 0, 0, 500)),
        # SQS counts roughly, and may not yet have seen what is on record.
        (Counts(0, 0, 0), 500, 10, 0, Counts(0, 0, 0, 500)),
    ],
)
def test_what_is_held_is_set_apart(counts: Counts, sick: int, well: int, running: int, wanted: Counts) -> None:
    loads = {"sick": Load(waiting=sick), "well": Load(waiting=well, running=running)}
    assert set_apart(counts, loads, {"sick", "absent"}) == wanted


def test_what_is_held_makes_nobody_old() -> None:
    loads = {"sick": Load(waiting=1, oldest_at=NOON), "well": Load(waiting=1, oldest_at=NOON + 60)}
    assert oldest_at(NOON, loads, {"sick"}) == NOON + 60
    assert oldest_at(NOON + 90, loads, {"sick"}) == NOON + 90
    assert oldest_at(NOON, loads, {"sick", "well"}) == NOON
    assert oldest_at(None, loads, {"sick"}) is None

"""What of a queue can be worked on, and what waits for a breaker instead. Pure.

A queue hardly knows report types: SQS does not at all, and the embedded one leaves a held type's messages visible. The
job store knows what waits of each type, but neither which of its jobs are delayed nor what producers sent straight to
the queue. Together they tell enough.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from reportd.core.status.snapshot import Load


@dataclass(frozen=True, slots=True)
class Counts:
    """Of messages, each counted once. ``held``: they wait for the breaker of their report type."""

    visible: int
    in_flight: int
    delayed: int
    held: int = 0


def set_apart(counts: Counts, loads: Mapping[str, Load], holding: Collection[str]) -> Counts:
    """Take what is held out of the other counts: of the visible messages no more can be worked on than jobs wait of the
    types that are well, besides those without a row.

    What is put off is in flight, as SQS counts; what is left of the held ones is looked for there, and then in delayed.
    """
    held = sum(load.waiting for name, load in loads.items() if name in holding)
    well = sum(load.waiting for name, load in loads.items() if name not in holding)
    running = sum(load.running for load in loads.values())
    there = counts.visible + counts.in_flight + counts.delayed
    without_row = max(0, there - held - well - running)
    visible = max(counts.visible - held, min(counts.visible, well + without_row))
    left = held - (counts.visible - visible)
    from_flight = min(left, counts.in_flight)
    from_delayed = min(left - from_flight, counts.delayed)
    return Counts(visible, counts.in_flight - from_flight, counts.delayed - from_delayed, held)


def oldest_at(oldest_at: float | None, loads: Mapping[str, Load], holding: Collection[str]) -> float | None:
    """Since when the oldest waits that can be worked on, where the queue tells of any at all."""
    well = [load.oldest_at for name, load in loads.items() if name not in holding and load.oldest_at is not None]
    return oldest_at if oldest_at is None else max(oldest_at, min(well, default=oldest_at))

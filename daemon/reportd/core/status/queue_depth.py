"""Split the depth of a queue into messages that can be worked on and messages that a breaker holds.

A queue alone can't tell: SQS knows no report types, and the embedded queue leaves a held type's messages visible. The
job store knows how many jobs of each type wait, but not which are delayed, nor what producers sent straight to the
queue. Together they are enough.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from reportd.core.status.snapshot import Load


@dataclass(frozen=True, slots=True)
class Counts:
    """Message counts, each message counted once. ``held``: waiting for the breaker of their report type."""

    visible: int
    in_flight: int
    delayed: int
    held: int = 0


def separate_held(counts: Counts, loads: Mapping[str, Load], holding: Collection[str]) -> Counts:
    """Move held messages out of the other counts. ``holding``: the report types whose breaker holds their jobs.

    At most as many visible messages can be worked on as jobs of the other types wait, plus messages without a row. SQS
    counts deferred messages as in flight, so the remaining held ones are taken from there, and then from delayed.
    """
    held = sum(load.waiting for name, load in loads.items() if name in holding)
    workable = sum(load.waiting for name, load in loads.items() if name not in holding)
    running = sum(load.running for load in loads.values())
    total = counts.visible + counts.in_flight + counts.delayed
    without_row = max(0, total - held - workable - running)
    visible = max(counts.visible - held, min(counts.visible, workable + without_row))
    remaining = held - (counts.visible - visible)
    from_flight = min(remaining, counts.in_flight)
    from_delayed = min(remaining - from_flight, counts.delayed)
    return Counts(visible, counts.in_flight - from_flight, counts.delayed - from_delayed, held)


def oldest_workable_at(oldest_at: float | None, loads: Mapping[str, Load], holding: Collection[str]) -> float | None:
    """Return since when the oldest workable message waits; None when the queue has no visible message."""
    times = [load.oldest_at for name, load in loads.items() if name not in holding and load.oldest_at is not None]
    return oldest_at if oldest_at is None else max(oldest_at, min(times, default=oldest_at))

"""What something costs that goes on beside the rendering, in PDFs a second and in processor time a PDF.

Rounds with and without it alternate. Processor time is that of the daemon and its browsers, so it tells the cost even
on a machine that is busy with something else.
"""

import os
import statistics
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from tests.e2e.process import Daemon

TICKS = os.sysconf("SC_CLK_TCK")

Run = Callable[[Daemon, int, int], Awaitable[float]]


async def compare(
    daemon: Daemon,
    run: Run,
    rows: int,
    count: int,
    rounds: int,
    name: str,
    beside: Callable[[], AbstractAsyncContextManager[None]],
    without: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> None:
    """Prints a line. ``beside`` goes on during every other round of ``count`` jobs, ``without`` during the others."""
    alone: list[tuple[float, float]] = []
    both: list[tuple[float, float]] = []
    for _ in range(rounds):
        async with without():
            alone.append(await _measured(daemon, run, rows, count))
        async with beside():
            both.append(await _measured(daemon, run, rows, count))
    pace = statistics.median(b[0] / a[0] for a, b in zip(alone, both, strict=True))
    work = statistics.median(b[1] / a[1] for a, b in zip(alone, both, strict=True))
    print(
        f"  {rows} rows, {name}: {statistics.median(a for a, _ in alone):.2f} PDFs/s alone,"
        f" {statistics.median(b for b, _ in both):.2f} with it, ratio {pace:.3f};"
        f" processor time a PDF {1000 * statistics.median(a for _, a in alone):.1f} ms alone,"
        f" {1000 * statistics.median(b for _, b in both):.1f} ms with it, ratio {work:.3f}"
    )


async def _measured(daemon: Daemon, run: Run, rows: int, count: int) -> tuple[float, float]:
    """PDFs a second, and processor seconds a PDF."""
    before = _processor_seconds(daemon.pid)
    pace = await run(daemon, rows, count)
    return pace, (_processor_seconds(daemon.pid) - before) / count


def _processor_seconds(root: int) -> float:
    """Of a process and all below it."""
    parents, times = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        # Its own, and that of its children which have ended: a job's renderer ends with the job.
        times[int(folder.name)] = sum(map(int, fields[11:15])) / TICKS
    wanted, added = {root}, True
    while added:
        added = bool(more := {pid for pid, parent in parents.items() if parent in wanted} - wanted)
        wanted |= more
    return sum(times.get(pid, 0.0) for pid in wanted)

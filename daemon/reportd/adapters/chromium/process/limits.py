"""What a container may use of the machine, as far as the kernel can be told.

Memory and processes: in the browser's own control group, where there is one (``cgroup``). Elsewhere the browser's watch
looks at the memory once a second, and RLIMIT_NPROC limits the processes: it counts those of the container alone, as it
has a user namespace of its own (Linux 5.14), but the kernel exempts a daemon that runs as root.
"""

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory_mib``: of all processes together; ``profile_mib``: of the files it may write, which are in memory."""

    memory_mib: int
    profile_mib: int
    processes: int = 512
    """Threads count as well: a browser with one page has about a hundred."""


def confine(pid: int, limits: Limits, group: Path | None) -> None:
    """Hold a process, with all it will start, to the limits. ``group``: its control group. Raises OSError."""
    if group is None:
        hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        most = limits.processes if hard == resource.RLIM_INFINITY else min(limits.processes, hard)
        resource.prlimit(pid, resource.RLIMIT_NPROC, (most, most))
        return
    (group / "memory.max").write_text(str(limits.memory_mib * 2**20))
    (group / "pids.max").write_text(str(limits.processes))
    swap = group / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")

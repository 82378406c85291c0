"""The resource limits of a container, as far as the kernel can enforce them.

With a control group (``cgroup``), the kernel limits memory and processes. Without one, the browser's ``watch`` checks
the memory once a second, and RLIMIT_NPROC limits the processes. RLIMIT_NPROC counts only the container's, as it has a
user namespace of its own (Linux 5.14), but the kernel exempts a daemon that runs as root.
"""

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory_mib``: of all processes together; ``profile_mib``: of the files it writes, which are in memory."""

    memory_mib: int
    profile_mib: int
    processes: int = 512
    """Threads count as well; a browser with one page has about a hundred."""


def confine(pid: int, limits: Limits, group: Path | None) -> None:
    """Apply the limits to a process and its future children. ``group``: its control group. Raises OSError."""
    if group is None:
        hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        limit = limits.processes if hard == resource.RLIM_INFINITY else min(limits.processes, hard)
        resource.prlimit(pid, resource.RLIMIT_NPROC, (limit, limit))
        return
    (group / "memory.max").write_text(str(limits.memory_mib * 2**20))
    (group / "pids.max").write_text(str(limits.processes))
    swap = group / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")

"""Measures the memory that is left for more browsers, on the machine and in this service's cgroup."""

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

_MIB = 1024 * 1024


def free_mib(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """Return the least that the machine and each cgroup around this process have left, in MiB.

    Source: Documentation/admin-guide/cgroup-v2.rst and filesystems/proc.rst of the Linux kernel.
    """
    return min([_machine_bytes(proc), *_cgroup_bytes(proc, cgroups)]) / _MIB


def _machine_bytes(proc: Path) -> float:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        # A service with ProcSubset=pid has no meminfo: use the free memory, without caches.
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _cgroup_bytes(proc: Path, cgroups: Path) -> Iterator[float]:
    """Yield what is left in each cgroup around this process that has a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::")), None)
    if own is None:
        return
    folder = cgroups / own
    for cgroup in (folder, *folder.parents):
        if cgroup == cgroups.parent:
            return
        try:
            limit = (cgroup / "memory.max").read_text().strip()
            used = int((cgroup / "memory.current").read_text())
            stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root cgroup has no limit, and a service may not see the others
        if limit != "max":
            # The kernel gives the page cache back when memory is needed.
            yield max(0.0, int(limit) - used + int(stat.get("inactive_file", 0)))

"""How much memory is left for more browsers: what the machine has, and what this service's cgroup may have."""

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

_MIB = 1024 * 1024


def free_mib(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """The least of what the machine and each cgroup around this process have left, in MiB.

    Source: Documentation/admin-guide/cgroup-v2.rst and filesystems/proc.rst of the Linux kernel.
    """
    return min([_machine_bytes(proc), *_cgroup_bytes(proc, cgroups)]) / _MIB


def _machine_bytes(proc: Path) -> float:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        # A service that may see processes only (ProcSubset=pid) is told what is free, caches not included.
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _cgroup_bytes(proc: Path, cgroups: Path) -> Iterator[float]:
    """Of the cgroup of this process, and of those that it is in, where they have a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::")), None)
    if own is None:
        return
    folder = cgroups / own
    for each in (folder, *folder.parents):
        if each == cgroups.parent:
            return
        try:
            limit = (each / "memory.max").read_text().strip()
            used = int((each / "memory.current").read_text())
            stat = dict(line.split() for line in (each / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root has none, nor has a service that may not see it
        if limit != "max":
            # What files have in memory is given back when it is needed.
            yield max(0.0, int(limit) - used + int(stat.get("inactive_file", 0)))

"""What a container may use of the machine, as far as the kernel can be told.

Processes: always, by RLIMIT_NPROC, which counts those of the container alone as it has a user namespace of its own
(Linux 5.14); the kernel exempts a daemon that runs as root. Memory and processes together: by a control group of the
container's own, where systemd lets the daemon make one (``Delegate=``, with the daemon itself in a group below its
unit's). Elsewhere the browser's watch looks at the memory once a second.
"""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reportd.ports import BrowserError

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory_mib``: of all processes together; ``profile_mib``: of the files it may write, which are in memory."""

    memory_mib: int
    profile_mib: int
    processes: int = 512
    """Threads count as well: a browser with one page has about a hundred."""


@contextmanager
def confined(pid: int, limits: Limits) -> Iterator[None]:
    """Hold a process to the limits, with all it will start. It must have ended before the block does.

    Raises OSError, and BrowserError when its control group can't be made.
    """
    hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
    most = limits.processes if hard == resource.RLIM_INFINITY else min(limits.processes, hard)
    resource.prlimit(pid, resource.RLIMIT_NPROC, (most, most))
    parent = delegated()
    if parent is None:
        yield
        return
    group = parent / f"container-{pid}"
    try:
        _make_group(group, pid, limits)
        yield
    finally:
        with suppress(OSError):
            group.rmdir()


def _make_group(group: Path, pid: int, limits: Limits) -> None:
    try:
        group.mkdir()
        (group / "memory.max").write_text(str(limits.memory_mib * 2**20))
        # The container as a whole: a browser without one of its processes is of no use.
        (group / "memory.oom.group").write_text("1")
        (group / "pids.max").write_text(str(limits.processes))
        if (swap := group / "memory.swap.max").exists():
            swap.write_text("0")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise BrowserError(f"the container's control group can't be made: {error}") from error


def delegated() -> Path | None:
    """The control group above the daemon's own, if systemd leaves it, memory and processes included, to the daemon."""
    try:
        own = re.search(r"^0::/(.+)$", OWN_GROUP.read_text(), re.MULTILINE)
        parent = (CONTROL_GROUPS / own[1]).parent if own else CONTROL_GROUPS
        # Delegate= (systemd.resource-control(5)). Elsewhere a group is systemd's, whoever may write to it.
        marked = os.getxattr(parent, "user.delegate") == b"1"
        enabled = (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return None
    return parent if marked and {"memory", "pids"} <= set(enabled) and os.access(parent, os.W_OK) else None

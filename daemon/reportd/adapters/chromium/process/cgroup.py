"""Control groups for browsers, if systemd delegated the service's own group (``Delegate=``; cgroup v2).

    daemon/         the daemon and its other child processes
    browsers/       all browsers; their shared limit is the service's, less a reserve for the daemon
    browsers/NAME/  one browser; on memory shortage the kernel kills all of it (memory.oom.group)

So a page that takes memory without end costs its browser, never the daemon. Without delegation there are no groups;
browsers then only raise their own OOM score.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from reportd.system.file_descriptors import none_left

log = structlog.get_logger()

MIB = 1024 * 1024

DAEMON_MIB = 512
"""Memory of the service reserved for the daemon; at most a fourth of the whole.

It includes the worker processes, about 50 MiB each. On memory shortage the kernel kills those first
(``worker_processes.child``), and their work is tried again.
"""

CONTROLLERS = "+memory +pids"

# The shell joins the group before it becomes the browser, so that no child of the browser starts outside. The OOM score
# of 100 is less than what Chromium gives its pages (300), so the kernel kills the daemon last. A browser expects its
# DevTools pipe as descriptors 3 and 4 (--remote-debugging-pipe); Popen can only provide 0 and 1.
_JOIN_AND_EXEC = """
{
  echo 100 > /proc/self/oom_score_adj
  [ -z "$1" ] || echo 0 > "$1/cgroup.procs"
} 2> /dev/null
shift
exec "$@" 3<&0 4>&1 </dev/null >/dev/null
"""


def command_in_group(command: Sequence[str], group: Path | None) -> list[str]:
    """Return a command line that joins the group and then runs ``command`` in the same process."""
    return ["/bin/sh", "-c", _JOIN_AND_EXEC, "reportd-browser", "" if group is None else str(group), *command]


class Groups:
    """The control groups of this daemon's browsers. Made by ``take_over``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, name: str) -> Path | None:
        """Make a group for one browser. Return None if that fails; the browser runs without one.

        Raises OSError when no file descriptor is left: that passes, but the browser would stay without its group.
        """
        group = self._folder / name
        try:
            group.mkdir()
            _write(group / "memory.oom.group", "1")
        except OSError as error:
            with suppress(OSError):
                group.rmdir()
            if none_left(error):
                raise
            log.warning("browser.no_group", group=str(group), error=str(error))
            return None
        return group


def remove(group: Path) -> bool:
    """Remove an empty group. Return whether the kernel killed in it because memory ran out."""
    killed = out_of_memory(group)
    with suppress(OSError):  # an unkillable process still is in it
        group.rmdir()
    return killed


def out_of_memory(group: Path) -> bool:
    """Return whether the kernel has killed in the group because memory ran out."""
    with suppress(OSError):
        events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
        return events.get("oom_kill", "0") != "0"
    return False


def take_over(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Groups | None:
    """Make the groups below the service's own. Return None if it is not delegated, or has no memory controller."""
    base = _delegated(root, own)
    if base is None:
        return None
    browsers = base / "browsers"
    try:
        # A group that passes controllers on may hold no process itself (cgroups(7), "no internal processes"), so all
        # processes of the service move. Workers may have started earlier.
        (base / "daemon").mkdir(exist_ok=True)
        for process in {*(base / "cgroup.procs").read_text().split(), str(os.getpid())}:
            _move(process, base / "daemon")
        _write(base / "cgroup.subtree_control", CONTROLLERS)
        browsers.mkdir(exist_ok=True)
        _write(browsers / "cgroup.subtree_control", CONTROLLERS)
        limit = _limit(base)
        if limit is not None:
            _write(browsers / "memory.max", str(limit - min(DAEMON_MIB * MIB, limit // 4)))
    except OSError as error:
        log.warning("cgroup.not_taken_over", group=str(base), error=str(error))
        return None
    log.info("cgroup.taken_over", group=str(base))
    return Groups(browsers)


def _delegated(root: Path, own: Path) -> Path | None:
    """Return the daemon's own group, if systemd has delegated it."""
    try:
        line = next((line for line in own.read_text().splitlines() if line.startswith("0::/")), "0::/")
    except OSError:
        return None
    base = root / line.removeprefix("0::/")
    # After a restart by itself, the daemon already is in the subgroup that it moved to.
    base = base.parent if base.name == "daemon" else base
    try:
        if os.getxattr(base, "user.delegate") != b"1":
            return None
        offered = (base / "cgroup.controllers").read_text().split()
    except OSError:
        return None
    return base if "memory" in offered and os.access(base / "cgroup.procs", os.W_OK) else None


def _limit(base: Path) -> int | None:
    text = (base / "memory.max").read_text().strip()
    return int(text) if text.isdecimal() else None


def _move(process: str, group: Path) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        _write(group / "cgroup.procs", process)


def _write(file: Path, text: str) -> None:
    file.write_text(text)

"""Control groups for the browsers, where systemd has handed the service's own over (``Delegate=``; cgroup v2).

    daemon/         the daemon, and what else it starts
    browsers/       all browsers; together they may take what the service may, less what the daemon is left
    browsers/NAME/  one browser, which the kernel ends as a whole (memory.oom.group) when memory runs out

So a page that takes memory without end costs its browser, never the daemon. Where nothing was handed over, nothing is
done: browsers then only volunteer to be taken first.
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
"""What of the service's memory the browsers leave to the daemon, a fourth of it at most.

Its worker processes are in it, of some 50 MiB each. When they take more than there is, they are the first to be ended
(``bounded.child``), and what they were at is tried again.
"""

CONTROLLERS = "+memory +pids"

# The browser puts itself in its place before it is one, so that no child of it can be born elsewhere. 100 is less than
# what Chromium gives its pages (300): the daemon goes last. A browser expects its DevTools pipe as descriptors 3 and 4
# (--remote-debugging-pipe), and Popen can only give it as 0 and 1.
_PLACE = """
{
  echo 100 > /proc/self/oom_score_adj
  [ -z "$1" ] || echo 0 > "$1/cgroup.procs"
} 2> /dev/null
shift
exec "$@" 3<&0 4>&1 </dev/null >/dev/null
"""


def placed(command: Sequence[str], group: Path | None) -> list[str]:
    """A command line that runs ``command`` in a group, by the same process."""
    return ["/bin/sh", "-c", _PLACE, "reportd-browser", "" if group is None else str(group), *command]


class Groups:
    """Of the browsers of this daemon. Made by ``take_over``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, name: str) -> Path | None:
        """A group for one browser; None when there can't be one, which keeps no browser from running.

        Raises OSError where there is no file descriptor left: that passes, and a browser without its group would stay.
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


def end(group: Path) -> bool:
    """Remove an empty group. Whether the kernel has killed in it because memory ran out."""
    killed = False
    with suppress(OSError):
        events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
        killed = events.get("oom_kill", "0") != "0"
    with suppress(OSError):  # what is unkillable keeps it
        group.rmdir()
    return killed


def take_over(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Groups | None:
    """Arrange the groups below the service's own; None where that is not ours, or memory is not counted in it."""
    base = _delegated(root, own)
    if base is None:
        return None
    browsers = base / "browsers"
    try:
        # A group that hands controllers down may hold no process itself (cgroups(7), "no internal processes").
        # So all of the service's processes move: workers may have been started before.
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
    """Our own group, if systemd says that it is ours to divide."""
    try:
        line = next((line for line in own.read_text().splitlines() if line.startswith("0::/")), "0::/")
    except OSError:
        return None
    base = root / line.removeprefix("0::/")
    # A daemon that was started again by itself is in the group that it moved to.
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
    with suppress(ProcessLookupError):  # it has ended since
        _write(group / "cgroup.procs", process)


def _write(file: Path, text: str) -> None:
    file.write_text(text)

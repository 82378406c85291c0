"""The folder of this daemon's browser profiles, and the guard that removes it when the daemon dies."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import structlog
import trio

from reportd.adapters.chromium.process.proc import command_line, group_members, signal_group

log = structlog.get_logger()

T = TypeVar("T")

GUARD_SECONDS = 2.5
"""How long the guard may take to end; it retries removing the folder for two seconds."""

# Reads until the daemon's end of the pipe closes, then kills the daemon's browsers. It has a session of its own, so
# that Ctrl-C at a terminal reaches only the daemon, which stops in its own order.
_GUARD = """
trap '' INT TERM HUP
while read -r _; do :; done
for file in "$1"/*/pgid; do
  [ -e "$file" ] && read -r group < "$file" && kill -KILL -- "-$group" 2>/dev/null
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf -- "$1" 2>/dev/null
  [ -e "$1" ] || exit 0
  sleep 0.2
done
exit 1
"""


@asynccontextmanager
async def open_run_folder(parent: Path) -> AsyncIterator[Path]:
    """Yield a folder for this daemon's browser profiles. A guard process removes it, also after a crash."""
    folder = await trio.to_thread.run_sync(_make_run_folder, parent, abandon_on_cancel=True)
    guard = subprocess.Popen(  # noqa: ASYNC220 - must be this thread's child, and starts within a millisecond
        ["/bin/sh", "-c", _GUARD, "reportd-guard", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env=browser_environment(),
    )
    try:
        yield folder
    finally:
        guard.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        if await in_thread(guard.wait, GUARD_SECONDS) is None:
            log.warning("browser.guard_late", folder=str(folder))


async def in_thread(work: Callable[[], T], seconds: float) -> T | None:
    """Return the result of ``work``, even when cancelled; None if it takes longer than ``seconds``.

    The thread has a limiter of its own, so a disk that hangs blocks nobody else.
    """
    with trio.move_on_after(seconds, shield=True):
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    return None


def browser_environment() -> dict[str, str]:
    """Return the variables that a browser needs. The others may hold secrets, which a page might read."""
    wanted = ("LANG", "LANGUAGE", "LC_", "PATH", "TZ", "FONTCONFIG_", "XDG_DATA_DIRS")
    return {name: value for name, value in os.environ.items() if name.startswith(wanted)}


def write_group(profile: Path, pid: int) -> None:
    """Record a browser's process group in its profile, for the guard and for the next start. Raises OSError."""
    (profile / "pgid").write_text(f"{pid}\n")


def _make_run_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob("run-*"):
        _remove_leftover(leftover)
    return Path(tempfile.mkdtemp(prefix="run-", dir=parent))


def _remove_leftover(folder: Path) -> None:
    """Remove a run folder whose guard is gone: the machine lost power, or the guard was killed as well."""
    for file in folder.glob("*/pgid"):
        number = file.read_text().strip()
        if number.isdecimal() and _is_browser_of(int(number), file.parent):
            signal_group(int(number), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _is_browser_of(group: int, profile: Path) -> bool:
    """Return whether the group still is the browser of that profile: process ids are reused."""
    leader = command_line(group)
    if leader:
        return str(profile) in leader
    # The kernel does not reuse the leader's id while a member of the group lives.
    return any("--type=" in command_line(pid) for pid in group_members(group))

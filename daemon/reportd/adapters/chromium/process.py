"""Browser processes: started in a group of their own, ended as a group, and never outliving the daemon.

Three things see to the last point: the kernel kills a browser whose daemon dies (``setpriv --pdeathsig``), a
guard kills the rest of its group and removes its profile when the daemon's end of a pipe closes, and the next
start removes what a guard could not (a power cut).
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from reportd.background import open_background
from reportd.ports import BrowserError

log = structlog.get_logger()

KILL_SECONDS = 5.0
"""How long a killed group may take to disappear; then it is reported and left to the kernel."""

_LISTENING = re.compile(r"DevTools listening on (ws://\S+)")

# Reads until the daemon's end of the pipe closes; then ends what is left of its browsers. In a session of its
# own, so that Ctrl-C at a terminal reaches only the daemon, which knows better how to stop.
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
    """A folder for this daemon's browser profiles, watched by a guard that outlives the daemon for a moment."""
    folder = await trio.to_thread.run_sync(_make_run_folder, parent)
    guard = subprocess.Popen(  # noqa: ASYNC220 - must be this thread's child, and starts within a millisecond
        ["/bin/sh", "-c", _GUARD, "reportd-guard", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    try:
        yield folder
    finally:
        with trio.CancelScope(shield=True):
            guard.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            await trio.to_thread.run_sync(guard.wait)


def _make_run_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for left_over in parent.glob("run-*"):
        _remove_left_over(left_over)
    return Path(tempfile.mkdtemp(prefix="run-", dir=parent))


def _remove_left_over(folder: Path) -> None:
    """A run folder whose guard is gone: the machine lost power, or someone killed the guard as well."""
    for file in folder.glob("*/pgid"):
        _kill_group_of_profile(int(file.read_text()), file.parent)
    shutil.rmtree(folder, ignore_errors=True)


def _kill_group_of_profile(group: int, profile: Path) -> None:
    """Kill a group only if it still is the browser of that profile: process ids are used again."""
    try:
        command = Path(f"/proc/{group}/cmdline").read_bytes()
    except OSError:
        return
    if str(profile).encode() in command:
        _signal_group(group, signal.SIGKILL)


@dataclass(eq=False)
class BrowserProcess:
    """A running browser. ``died`` is set when its main process has ended."""

    pid: int
    profile: Path
    url: str = ""
    """WebSocket URL of its DevTools endpoint."""
    died: trio.Event = field(default_factory=trio.Event)
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def kill(self) -> None:
        _signal_group(self.pid, signal.SIGKILL)

    def memory_mib(self) -> float:
        """Anonymous memory of the whole process group; shared libraries are not counted over and over."""
        return sum(mib for _, mib in self._memory())

    def kill_renderers_above(self, limit_mib: float) -> int:
        """Kill the renderers that use more; each is one page's, so that only that page's job is hit."""
        fat = [pid for pid, mib in self._memory() if mib > limit_mib and _is_renderer(pid)]
        for pid in fat:
            log.warning("browser.renderer_killed", pid=pid, browser=self.pid, limitMib=limit_mib)
            os.kill(pid, signal.SIGKILL)
        return len(fat)

    def _memory(self) -> Iterator[tuple[int, float]]:
        for pid in group_members(self.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            if found := re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE):
                yield pid, int(found[1]) / 1024


@asynccontextmanager
async def open_process(command: Sequence[str], run_folder: Path, start_seconds: float) -> AsyncIterator[BrowserProcess]:
    """Start a browser and wait for its DevTools endpoint. Raises BrowserError if it doesn't come up."""
    profile = Path(tempfile.mkdtemp(prefix="profile-", dir=run_folder))
    # Not trio.open_process: that starts it from a worker thread, and the kernel's death signal is tied to the
    # life of the thread that forked, not of the process (prctl(2), PR_SET_PDEATHSIG).
    child = subprocess.Popen(  # noqa: ASYNC220
        ["setpriv", "--pdeathsig", "KILL", "--", *command, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "HOME": str(profile), "TMPDIR": str(profile), "XDG_CONFIG_HOME": str(profile)},
    )
    process = BrowserProcess(child.pid, profile)
    try:
        (profile / "pgid").write_text(f"{child.pid}\n")
        async with open_background() as nursery:
            nursery.start_soon(_watch, child, process)
            listening: trio.Event = await nursery.start(_listen, child, process)
            with trio.move_on_after(start_seconds):
                await _first_of(listening, process.died)
            if not process.url:
                said = " / ".join(process.last_words) or "nothing"
                raise BrowserError(f"{command[0]} did not start within {start_seconds:g} s; it said: {said}")
            yield process
    finally:
        with trio.CancelScope(shield=True):
            await _end(child, process)


async def _first_of(one: trio.Event, other: trio.Event) -> None:
    async def wait(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, one, nursery.cancel_scope)
        nursery.start_soon(wait, other, nursery.cancel_scope)


async def _watch(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    handle = os.pidfd_open(child.pid)
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        trio.lowlevel.notify_closing(handle)
        os.close(handle)
    process.died.set()


async def _listen(
    child: "subprocess.Popen[bytes]",
    process: BrowserProcess,
    task_status: trio.TaskStatus[trio.Event] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Read what the browser says, for ever: a full pipe would block it."""
    listening = trio.Event()
    task_status.started(listening)
    pending = b""
    async with trio.lowlevel.FdStream(os.dup(child.stderr.fileno())) as stream:  # type: ignore[union-attr]
        async for chunk in stream:
            *lines, pending = (pending + chunk)[-65536:].split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").strip()
                if found := _LISTENING.search(text):
                    process.url = found[1]
                    listening.set()
                elif text:
                    process.last_words.append(text)
                    log.debug("browser.said", browser=process.pid, text=text[:500])


async def _end(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    process.kill()
    with trio.move_on_after(KILL_SECONDS):
        await trio.to_thread.run_sync(child.wait, abandon_on_cancel=True)
        while group_members(process.pid):
            process.kill()
            await trio.sleep(0.01)
    process.died.set()
    child.stderr.close()  # type: ignore[union-attr]
    if alive := group_members(process.pid):
        log.error("browser.unkillable", pids=alive)
    await trio.to_thread.run_sync(lambda: shutil.rmtree(process.profile, ignore_errors=True))


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def group_members(group: int) -> list[int]:
    """The living processes of a group; zombies are dead."""
    members = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a thousand names a second, and no Path needed
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, _, process_group = stat[stat.rindex(")") + 2 :].split(" ", 3)[:3]
            if int(process_group) == group and state not in "ZX":
                members.append(int(entry))
    return members


def _is_renderer(pid: int) -> bool:
    try:
        return b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

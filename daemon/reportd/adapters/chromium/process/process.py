"""Browser processes: started in a group of their own, ended as a group, and never outliving the daemon.

Three things see to the last point: the kernel kills a browser whose daemon dies (``setpriv --pdeathsig``), a
guard kills the rest of its group and removes its profile when the daemon's end of a pipe closes, and the next
start removes what a guard could not (a power cut).
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
import trio

from reportd.adapters.chromium.process import cgroup
from reportd.adapters.chromium.process.container import Container
from reportd.adapters.chromium.protocol import pipes
from reportd.concurrency.nurseries import open_background
from reportd.ports import BrowserError
from reportd.system.file_descriptors import none_left, once_available

log = structlog.get_logger()

T = TypeVar("T")

KILL_SECONDS = 5.0
"""How long a killed group may take to disappear; then it is reported and left to the kernel."""

DISK_SECONDS = 2.0
"""How long what is left of a browser on disk may take to be removed, or the system to tell of its processes. Then the
thread is left to itself, and what it did not remove is removed at the next start.
"""

GUARD_SECONDS = 2.5
"""How long the guard may take to end, which tries for two seconds to remove what is left."""

LOOK_CLOSER_SECONDS = 0.1
"""A killed group that takes longer to disappear is looked at process by process."""

_HELLO = b'{"id":0,"method":"Browser.getVersion"}\0'
"""The first call to a browser. When it says anything, it is up."""

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
    folder = await trio.to_thread.run_sync(_make_run_folder, parent, abandon_on_cancel=True)
    guard = subprocess.Popen(  # noqa: ASYNC220 - must be this thread's child, and starts within a millisecond
        ["/bin/sh", "-c", _GUARD, "reportd-guard", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    try:
        yield folder
    finally:
        guard.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        if await _in_thread(guard.wait, GUARD_SECONDS) is None:
            log.warning("browser.guard_late", folder=str(folder))


async def _in_thread(work: Callable[[], T], seconds: float) -> T | None:
    """What ``work`` returns, also to who is cancelled; None if it takes too long. A disk that hangs keeps a thread that
    nobody else needs.
    """
    with trio.move_on_after(seconds, shield=True):
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    return None


def _make_run_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for left_over in parent.glob("run-*"):
        _remove_left_over(left_over)
    return Path(tempfile.mkdtemp(prefix="run-", dir=parent))


def _remove_left_over(folder: Path) -> None:
    """A run folder whose guard is gone: the machine lost power, or someone killed the guard as well."""
    for file in folder.glob("*/pgid"):
        number = file.read_text().strip()
        if number.isdecimal() and _is_browser_of(int(number), file.parent):
            _signal_group(int(number), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _is_browser_of(group: int, profile: Path) -> bool:
    """Whether the group still is the browser of that profile: process ids are used again."""
    leader = _command_line(group)
    if leader:
        return str(profile) in leader
    # Its number can't have been given to another leader while one of its members lives.
    return any("--type=" in _command_line(pid) for pid in group_members(group))


@dataclass(eq=False)
class BrowserProcess:
    """A running browser. ``died`` is set when its main process has ended."""

    pid: int
    profile: Path
    container: Container | None = None
    said: int = -1
    told: int = -1
    """Descriptors of its DevTools pipe: what it says is read from the one, what it is told is written to the other."""
    died: trio.Event = field(default_factory=trio.Event)
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def kill(self) -> None:
        """All of it."""
        _signal_group(self.pid, signal.SIGKILL)

    def kill_member(self, pid: int) -> None:
        """One process, if it is the browser's: process ids are used again. ``pid`` is as the browser knows it."""
        if self.container is not None:
            self.container.kill(pid)
            return
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == self.pid:
                os.kill(pid, signal.SIGKILL)

    def memory_mib(self, pid: int) -> float:
        """Of one process, by the id that the browser knows it by."""
        return memory_mib(pid) if self.container is None else memory_mib(pid, self.container.proc)


@asynccontextmanager
async def open_process(
    command: Sequence[str],
    run_folder: Path,
    start_seconds: float,
    groups: cgroup.Groups | None = None,
    container: Container | None = None,
) -> AsyncIterator[BrowserProcess]:
    """Start a browser, in a control group of its own where there are any, and wait until it answers.

    Raises BrowserError if it doesn't come up.
    """
    if (setpriv := shutil.which("setpriv")) is None:
        raise BrowserError("no browser can be started: there is no setpriv, which is in Debian's util-linux")
    try:
        profile = Path(tempfile.mkdtemp(prefix="profile-", dir=run_folder))
    except OSError as error:
        raise BrowserError(f"no browser can be started: {error.strerror}: {run_folder}") from error
    group = None if groups is None else groups.make(profile.name)
    arguments = [*command, f"--user-data-dir={profile}", "about:blank"]
    if container is not None:
        arguments = container.command(profile, arguments)
    started = [setpriv, "--pdeathsig", "KILL", "--", *arguments]
    # Not trio.open_process: that starts it from a worker thread, and the kernel's death signal is tied to the
    # life of the thread that forked, not of the process (prctl(2), PR_SET_PDEATHSIG).
    try:
        child = subprocess.Popen(  # noqa: ASYNC220
            cgroup.placed(started, group),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            pass_fds=() if container is None else container.inherits,
            env={**_environment(), **dict.fromkeys(("HOME", "TMPDIR", "XDG_CONFIG_HOME"), str(profile))},
        )
    except OSError as error:
        await _in_thread(partial(_forget, profile, group), DISK_SECONDS)
        raise BrowserError(f"no browser can be started: {error}") from error
    said, told = child.stdout.fileno(), child.stdin.fileno()  # type: ignore[union-attr]  # they are pipes
    process = BrowserProcess(child.pid, profile, container, said, told)
    try:
        pipes.prepare(said, told)
        _note_group(profile, child.pid)
        async with open_background() as nursery:
            nursery.start_soon(_watch, child, process)
            nursery.start_soon(_listen, child, process)
            answered = trio.Event()
            with trio.move_on_after(start_seconds):
                if container is not None:
                    await container.let_in(group)
                nursery.start_soon(_greet, process, answered)
                await _first_of(answered, process.died)
            if not answered.is_set():
                words = " / ".join(process.last_words) or "nothing"
                what = "ended" if process.died.is_set() else f"did not start within {start_seconds:g} s"
                raise BrowserError(f"{command[0]} {what}; it said: {words}")
            if container is not None:
                container.complete()
            yield process
    finally:
        with trio.CancelScope(shield=True):
            await _end(child, process)
            if group is not None and cgroup.end(group):
                log.warning("browser.out_of_memory", browser=process.pid)


def _forget(profile: Path, group: Path | None) -> None:
    shutil.rmtree(profile, ignore_errors=True)
    if group is not None:
        cgroup.end(group)


def _note_group(profile: Path, pid: int) -> None:
    """For the guard, and for the next start."""
    try:
        (profile / "pgid").write_text(f"{pid}\n")
    except OSError as error:
        raise BrowserError(f"no browser can be kept: {error.strerror}: {profile}") from error


def _environment() -> dict[str, str]:
    """What a browser needs of ours. The rest may hold secrets, and a page might get to see it."""
    wanted = ("LANG", "LANGUAGE", "LC_", "PATH", "TZ", "FONTCONFIG_", "XDG_DATA_DIRS")
    return {name: value for name, value in os.environ.items() if name.startswith(wanted)}


async def _first_of(one: trio.Event, other: trio.Event) -> None:
    async def wait(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, one, nursery.cancel_scope)
        nursery.start_soon(wait, other, nursery.cancel_scope)


async def _watch(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    async def open_handle() -> int:
        return os.pidfd_open(child.pid)

    handle = await once_available(open_handle)
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        trio.lowlevel.notify_closing(handle)
        os.close(handle)
    process.died.set()


async def _greet(process: BrowserProcess, answered: trio.Event) -> None:
    """Say hello, and wait for the beginning of an answer. It is left for whoever connects, and means nothing there."""
    with suppress(BrokenPipeError):
        os.write(process.told, _HELLO)
        await trio.lowlevel.wait_readable(process.said)
        # The end of a pipe is readable, too.
        if int.from_bytes(fcntl.ioctl(process.said, termios.FIONREAD, bytes(4)), sys.byteorder):
            answered.set()


async def _listen(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    """Read what the browser says to people, for ever: a full pipe would block it."""
    pending = b""
    os.set_blocking(child.stderr.fileno(), False)  # type: ignore[union-attr]  # it is a pipe
    while chunk := await pipes.receive(child.stderr.fileno()):  # type: ignore[union-attr]
        *lines, pending = (pending + chunk)[-65536:].split(b"\n")
        for line in lines:
            if text := line.decode(errors="replace").strip():
                process.last_words.append(text)
                log.debug("browser.said", browser=process.pid, text=text[:500])


async def _end(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    process.kill()
    with trio.move_on_after(KILL_SECONDS):
        await trio.to_thread.run_sync(child.wait, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
        pause = 0.005
        while _signal_group(process.pid, signal.SIGKILL):
            _collect(process.pid)
            await trio.sleep(pause)
            pause *= 2
            if pause > LOOK_CLOSER_SECONDS and await _alive(process.pid) == []:
                break  # zombies whose new parent does not collect them
    process.died.set()
    for pipe in (child.stdin, child.stdout, child.stderr):
        with suppress(BrokenPipeError):
            pipe.close()  # type: ignore[union-attr]
    if alive := await _alive(process.pid):
        log.error("browser.unkillable", pids=alive)
    await _in_thread(partial(shutil.rmtree, process.profile, ignore_errors=True), DISK_SECONDS)


async def _alive(group: int) -> list[int] | None:
    """The living processes of a group, looked for in a thread; None where there is no descriptor left to look with, or
    it takes too long.
    """
    try:
        return await _in_thread(partial(group_members, group), DISK_SECONDS)
    except OSError as error:
        if not none_left(error):
            raise
        return None


def _signal_group(group: int, number: signal.Signals) -> bool:
    """False when there is nobody left in it, not even a zombie."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _collect(group: int) -> None:
    """Where the daemon is process 1, as in a container, the orphans of the group are its own to bury."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def group_members(group: int) -> list[int]:
    """The living processes of a group; zombies are dead. Reads all of /proc: 30 ms where 600 processes run.

    Raises OSError where there is no descriptor left.
    """
    members = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError as error:
                if none_left(error):
                    raise
                continue
            state, _, process_group = stat[stat.rindex(")") + 2 :].split(" ", 3)[:3]
            if int(process_group) == group and state not in "ZX":
                members.append(int(entry))
    return members


def memory_mib(pid: int, proc: Path = Path("/proc")) -> float:
    """Anonymous memory of a process: libraries that many of them share are not counted over and over."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

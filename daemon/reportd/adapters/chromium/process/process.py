"""Browser processes: each starts in a process group of its own and is killed as a group. None outlives the daemon.

Three mechanisms ensure the last point. The kernel kills a browser whose daemon dies (``setpriv --pdeathsig``). A guard
kills the rest of its group and removes its profile when the daemon's end of a pipe closes (``run_folder``). The next
start removes what a guard could not (after a power cut).
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
import trio

from reportd.adapters.chromium.process import cgroup
from reportd.adapters.chromium.process.authorities import FOLDER
from reportd.adapters.chromium.process.container import Container
from reportd.adapters.chromium.process.proc import group_members, memory_mib, reap, signal_group
from reportd.adapters.chromium.process.run_folder import browser_environment, in_thread, write_group
from reportd.adapters.chromium.protocol import pipes
from reportd.concurrency.nurseries import open_background
from reportd.ports import BrowserError
from reportd.system.file_descriptors import none_left, once_available

log = structlog.get_logger()

KILL_SECONDS = 5.0
"""How long a killed group may take to disappear. Then it is logged and left to the kernel."""

DISK_SECONDS = 2.0
"""How long it may take to remove a browser's files, or to list its processes. Then the thread is abandoned; the next
start removes what is left.
"""

MEMBER_CHECK_SECONDS = 0.1
"""When a killed group takes longer than this to disappear, check whether only zombies are left of it."""

_HELLO = b'{"id":0,"method":"Browser.getVersion"}\0'
"""The first call to a browser. Any answer means that it is up."""


@dataclass(eq=False)
class BrowserProcess:
    """A running browser. ``died`` is set when its main process has ended."""

    pid: int
    profile: Path
    container: Container | None = None
    read_fd: int = -1
    write_fd: int = -1
    """The daemon's ends of its DevTools pipes: events and answers from the browser, and calls to it."""
    group: Path | None = None
    """Its control group, if it has one."""
    died: trio.Event = field(default_factory=trio.Event)
    stderr_lines: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def kill(self) -> None:
        """Kill all its processes."""
        signal_group(self.pid, signal.SIGKILL)

    def kill_member(self, pid: int) -> None:
        """Kill one process, if it is the browser's: process ids are reused. ``pid`` is as the browser knows it."""
        if self.container is not None:
            self.container.kill(pid)
            return
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == self.pid:
                os.kill(pid, signal.SIGKILL)

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed in it because its memory ran out."""
        return self.group is not None and cgroup.out_of_memory(self.group)

    def memory_mib(self, pid: int) -> float:
        """Return the memory of one process. ``pid`` is as the browser knows it."""
        return memory_mib(pid) if self.container is None else memory_mib(pid, self.container.proc)


@asynccontextmanager
async def open_process(
    command: Sequence[str],
    run_folder: Path,
    start_seconds: float,
    groups: cgroup.Groups | None = None,
    container: Container | None = None,
    authorities: Path | None = None,
) -> AsyncIterator[BrowserProcess]:
    """Start a browser, in a control group of its own if ``groups`` is given, and wait until it answers.

    ``authorities``: folder of an NSS database that it gets a copy of.

    Raises BrowserError if it does not start.
    """
    if (setpriv := shutil.which("setpriv")) is None:
        raise BrowserError("no browser can be started: there is no setpriv, which is in Debian's util-linux")
    try:
        profile = Path(tempfile.mkdtemp(prefix="profile-", dir=run_folder))
        if authorities is not None:
            shutil.copytree(authorities, profile / FOLDER)
    except OSError as error:
        raise BrowserError(f"no browser can be started: {error.strerror}: {run_folder}") from error
    group = None if groups is None else groups.make(profile.name)
    try:
        child = _spawn(setpriv, command, profile, group, container)
    except OSError as error:
        await in_thread(partial(_remove, profile, group), DISK_SECONDS)
        raise BrowserError(f"no browser can be started: {error}") from error
    read_fd, write_fd = child.stdout.fileno(), child.stdin.fileno()  # type: ignore[union-attr]  # they are pipes
    process = BrowserProcess(child.pid, profile, container, read_fd, write_fd, group)
    try:
        pipes.prepare(read_fd, write_fd)
        try:
            write_group(profile, child.pid)
        except OSError as error:
            raise BrowserError(f"no browser can be kept: {error.strerror}: {profile}") from error
        async with open_background() as nursery:
            nursery.start_soon(_wait_for_exit, child, process)
            nursery.start_soon(_read_stderr, child, process)
            answered = trio.Event()
            with trio.move_on_after(start_seconds):
                if container is not None:
                    await container.admit(group)
                nursery.start_soon(_greet, process, answered)
                await _first_of(answered, process.died)
            if not answered.is_set():
                output = " / ".join(process.stderr_lines) or "nothing"
                failure = "ended" if process.died.is_set() else f"did not start within {start_seconds:g} s"
                raise BrowserError(f"{command[0]} {failure}; it said: {output}")
            if container is not None:
                container.open_proc()
            yield process
    finally:
        with trio.CancelScope(shield=True):
            await _end(child, process)
            if group is not None and cgroup.remove(group):
                log.warning("browser.out_of_memory", browser=process.pid)


def _spawn(
    setpriv: str, command: Sequence[str], profile: Path, group: Path | None, container: Container | None
) -> "subprocess.Popen[bytes]":
    """Start the browser's process. Raises OSError."""
    arguments = [*command, f"--user-data-dir={profile}", "about:blank"]
    if container is not None:
        arguments = container.command(profile, arguments)
    # Not trio.open_process: it forks from a worker thread, and the kernel's death signal is tied to the life of the
    # thread that forked, not of the process (prctl(2), PR_SET_PDEATHSIG).
    return subprocess.Popen(
        cgroup.command_in_group([setpriv, "--pdeathsig", "KILL", "--", *arguments], group),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=() if container is None else container.inherited_fds,
        env={**browser_environment(), **dict.fromkeys(("HOME", "TMPDIR", "XDG_CONFIG_HOME"), str(profile))},
    )


def _remove(profile: Path, group: Path | None) -> None:
    shutil.rmtree(profile, ignore_errors=True)
    if group is not None:
        cgroup.remove(group)


async def _first_of(event: trio.Event, other: trio.Event) -> None:
    async def wait(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, event, nursery.cancel_scope)
        nursery.start_soon(wait, other, nursery.cancel_scope)


async def _wait_for_exit(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
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
    """Send the first call and wait for the first byte of an answer. ``open_cdp`` reads that answer and ignores it."""
    with suppress(BrokenPipeError):
        os.write(process.write_fd, _HELLO)
        await trio.lowlevel.wait_readable(process.read_fd)
        # A closed pipe is readable, too.
        if int.from_bytes(fcntl.ioctl(process.read_fd, termios.FIONREAD, bytes(4)), sys.byteorder):
            answered.set()


async def _read_stderr(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    """Read the browser's error output until it ends: a full pipe would block the browser."""
    pending = b""
    os.set_blocking(child.stderr.fileno(), False)  # type: ignore[union-attr]  # it is a pipe
    while chunk := await pipes.receive(child.stderr.fileno()):  # type: ignore[union-attr]
        *lines, pending = (pending + chunk)[-65536:].split(b"\n")
        for line in lines:
            if text := line.decode(errors="replace").strip():
                process.stderr_lines.append(text)
                log.debug("browser.said", browser=process.pid, text=text[:500])


async def _end(child: "subprocess.Popen[bytes]", process: BrowserProcess) -> None:
    process.kill()
    with trio.move_on_after(KILL_SECONDS):
        await trio.to_thread.run_sync(child.wait, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
        pause = 0.005
        while signal_group(process.pid, signal.SIGKILL):
            reap(process.pid)
            await trio.sleep(pause)
            pause *= 2
            if pause > MEMBER_CHECK_SECONDS and await _living_members(process.pid) == []:
                break  # zombies whose new parent does not collect them
    process.died.set()
    for pipe in (child.stdin, child.stdout, child.stderr):
        with suppress(BrokenPipeError):
            pipe.close()  # type: ignore[union-attr]
    if members := await _living_members(process.pid):
        log.error("browser.unkillable", pids=members)
    await in_thread(partial(shutil.rmtree, process.profile, ignore_errors=True), DISK_SECONDS)


async def _living_members(group: int) -> list[int] | None:
    """Return the living processes of a group; None if no file descriptor is left to look, or it takes too long."""
    try:
        return await in_thread(partial(group_members, group), DISK_SECONDS)
    except OSError as error:
        if not none_left(error):
            raise
        return None

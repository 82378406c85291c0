"""Worker processes. Normally one works at a time; a process that takes too long is killed.

They are processes because a thread can't be killed, and can block the event loop while it is inside a library. A slow
task lets another process start, so it delays only tasks of its own kind: while a template is slow, other pages of that
template wait.

When there is no answer, the CPU time spent decides whose fault it is. On a busy machine everything takes long. A
process that was killed from outside says nothing about its task.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import structlog
import trio

from reportd.adapters.worker_processes.frames import HEAD, Frame, lengths, packed
from reportd.ports import TooCostlyError, UnavailableError

MEMORY_MIB = 256
"""Memory limit of a process. It has 35 MiB when idle, 110 while reading the worst megabyte of JSON, 165 while repairing
such a letter, 100 for a page of 16 MiB, and 50 for a report of 10,000 rows."""

SLOW_SECONDS = 0.5
"""A task that takes longer counts as slow: another process may work beside it."""

MAX_EXTRA = 3
"""The most additional processes; at most four work, all but one of them on slow tasks."""

MAX_WAITING = 32
"""How many tasks may wait. Each holds a body, which may have ``http.max_body_bytes``."""

WALL_CLOCK_FACTOR = 3
"""How many times its limit of CPU time a task may take in wall-clock time, on a busy machine."""

FAIR_SHARE = 0.5
"""Share of its CPU limit. A task that has used it when the time is over counts as too costly."""

CHECK_SECONDS = 0.05
"""The shortest interval between two checks of the CPU time, near the end of the limit."""

START_SECONDS = 20.0
KILL_SECONDS = 5.0

_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""Environment variables that a process gets. The others may hold the daemon's secrets."""

_OUT_OF_MEMORY = frozenset({-signal.SIGABRT, -signal.SIGSEGV})
"""How a process ends when a library gets no memory, or when its stack is full."""

_KILLED_FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, None})
"""By the kernel when the machine's memory runs out, or by an operator."""

log = structlog.get_logger()


class BrokenWorkError(Exception):
    """The worker process died on this task, and again on the retry: a bug of the daemon, not a fault of the job."""


class _DiedError(Exception):
    """The process has ended, and it was not killed by the daemon."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Processes:
    """A process starts when needed, or on ``start``. ``name`` is for the log and for error texts.

    Close it after the last call has ended.
    """

    def __init__(self, name: str, memory_mib: int = MEMORY_MIB) -> None:
        self._name = name
        self._memory_mib = memory_mib
        self._slots = trio.CapacityLimiter(1)
        self._idle: list[_Process] = []
        self._slow_count = 0
        self._slow: dict[Hashable, trio.Event] = {}
        """For each kind with a slow task now, an event that is set when it ends."""

    def start(self) -> None:
        """Start a process for the next task, as that takes half a second. If it fails, the next ``ask`` reports it."""
        if not self._idle:
            with suppress(UnavailableError):
                self._idle.append(_spawn(self._memory_mib))

    async def ask(self, parts: Sequence[bytes], seconds: float, kind: Hashable = None) -> Frame:
        """Return the answer of a process.

        ``seconds``: limit of CPU time. ``kind``: tasks of one kind are likely to be slow together; None if unknown.

        Raises TooCostlyError when the task needs more time or memory than its limit; UnavailableError when too many
        tasks wait, or a process can't be started, gets no CPU time, or is killed from outside; BrokenWorkError. A
        cancellation kills the process.
        """
        async with self._slot(kind):
            try:
                return await self._run(parts, seconds, kind)
            except _DiedError as death:
                log.warning("worker.died", work=self._name, how=str(death))
            try:
                return await self._run(parts, seconds, kind)
            except _DiedError as death:
                if death.status in _KILLED_FROM_OUTSIDE:
                    raise UnavailableError(self._name, f"the process has been ended twice ({death})") from None
                raise BrokenWorkError(f"{self._name}: the process has ended twice ({death})") from None

    @asynccontextmanager
    async def _slot(self, kind: Hashable) -> AsyncIterator[None]:
        while True:
            if (ended := self._slow.get(kind)) is not None:
                self._check_waiting(ended.statistics().tasks_waiting)
                await ended.wait()
            self._check_waiting(self._slots.statistics().tasks_waiting)
            async with self._slots:
                if kind not in self._slow:
                    yield
                    return

    def _check_waiting(self, number: int) -> None:
        if number >= MAX_WAITING:
            raise UnavailableError(self._name, "too many tasks wait")

    async def _run(self, parts: Sequence[bytes], seconds: float, kind: Hashable) -> Frame:
        process = self._idle.pop() if self._idle else _spawn(self._memory_mib)
        kept = used_up = False
        try:
            await process.wait_ready()
            with trio.move_on_after(seconds * WALL_CLOCK_FACTOR):
                frame = await self._exchange(process, packed(parts), seconds, kind)
                if frame is not None:
                    if b"outOfMemory" in frame[0][:16]:
                        raise TooCostlyError(f"needs more than {self._memory_mib} MiB of memory")
                    used_up = frame[2] != b""
                    kept = not used_up
                    return frame
            used_up = True
            spent = process.spent_seconds()
            log.warning("worker.killed", work=self._name, limit_seconds=seconds, spent_seconds=round(spent, 3))
            if spent >= seconds * FAIR_SHARE:
                raise TooCostlyError(f"takes longer than {seconds:g} s")
            allowed = seconds * WALL_CLOCK_FACTOR
            raise UnavailableError(self._name, f"got only {spent:.1f} s of CPU time within {allowed:g} s")
        finally:
            if kept and not self._idle:
                self._idle.append(process)
            else:
                with trio.CancelScope(shield=True):
                    await process.kill()
                if used_up:
                    self.start()

    async def _exchange(self, process: "_Process", request: bytes, seconds: float, kind: Hashable) -> Frame | None:
        """Return the answer; None once the process has spent ``seconds`` of CPU time."""
        await process.ask(request)
        with trio.move_on_after(SLOW_SECONDS):
            return await process.answer(seconds)
        with self._slow_task(kind):
            return await process.answer(seconds)

    @contextmanager
    def _slow_task(self, kind: Hashable) -> Iterator[None]:
        """Let another process work meanwhile, on a task of another kind."""
        ended = trio.Event()
        if kind is not None:
            self._slow[kind] = ended
        self._count_slow(1)
        try:
            yield
        finally:
            self._count_slow(-1)
            self._slow.pop(kind, None)
            ended.set()

    def _count_slow(self, change: int) -> None:
        self._slow_count += change
        self._slots.total_tokens = 1 + min(self._slow_count, MAX_EXTRA)

    async def aclose(self) -> None:
        """End the idle processes. No call may be running."""
        with trio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().kill()


class _Process:
    def __init__(
        self, child: "subprocess.Popen[bytes]", sink: trio.lowlevel.FdStream, source: trio.lowlevel.FdStream
    ) -> None:
        self._child = child
        self._sink = sink
        self._source = source
        self._read = bytearray()
        self._spent_before = 0.0
        self._ready = False

    async def wait_ready(self) -> None:
        """Wait until the process has started. Raises UnavailableError."""
        if self._ready:
            return
        try:
            with trio.move_on_after(START_SECONDS):
                await self.read()
                self._ready = True
                return
        except _DiedError as death:
            raise UnavailableError("worker process", f"has ended before it began ({death})") from None
        raise UnavailableError("worker process", f"has not begun within {START_SECONDS:g} s")

    async def ask(self, request: bytes) -> None:
        self._spent_before = self._cpu_seconds()
        try:
            await self._sink.send_all(request)
        except trio.BrokenResourceError:
            raise await self._death() from None

    async def answer(self, seconds: float) -> Frame | None:
        """Return the answer; None if it has not begun after ``seconds`` of CPU time for this request."""
        while not self._read:
            left = seconds - self.spent_seconds()
            if left <= 0:
                return None
            with trio.move_on_after(max(left, CHECK_SECONDS)):
                await self._receive()
        return await self.read()

    def spent_seconds(self) -> float:
        """Return the CPU time spent on this request."""
        return self._cpu_seconds() - self._spent_before

    def _cpu_seconds(self) -> float:
        # The clock id as in clock_getcpuclockid(3). The clock works until the ended process is waited for.
        return time.clock_gettime(~self._child.pid << 3 | 2)

    async def read(self) -> Frame:
        while len(self._read) < HEAD.size:
            await self._receive()
        first, second, third = lengths(bytes(self._read[: HEAD.size]))
        end = HEAD.size + first + second + third
        while len(self._read) < end:
            await self._receive()
        data, self._read = memoryview(bytes(self._read))[HEAD.size :], bytearray()
        return bytes(data[:first]), bytes(data[first : first + second]), bytes(data[first + second :])

    async def _receive(self) -> None:
        piece = await self._source.receive_some(2**20)
        if not piece:
            raise await self._death()
        self._read += piece

    async def _death(self) -> Exception:
        # Shielded, so that a caller's timeout still learns that the process died, and does not ask it again.
        with trio.CancelScope(shield=True):
            with trio.move_on_after(KILL_SECONDS):  # it may have closed its pipe before its end
                await self._wait_for_exit()
            status = await self.kill()
        if status in _OUT_OF_MEMORY:
            return TooCostlyError("needs more memory than there is for it")
        return _DiedError(status)

    async def kill(self) -> int | None:
        """Kill it. Return its exit status; None if the kernel has not ended it yet."""
        status = self._child.poll()
        self._child.kill()
        await self._sink.aclose()
        await self._source.aclose()
        with trio.move_on_after(KILL_SECONDS):
            return await self._wait_for_exit()
        return status

    async def _wait_for_exit(self) -> int:
        return await trio.to_thread.run_sync(self._child.wait, abandon_on_cancel=True)


def _spawn(memory_mib: int) -> _Process:
    """Start a process from this thread: the kernel kills it when the thread that forked it ends.

    Raises UnavailableError.
    """
    # The built program is no Python interpreter; its entry point knows the option.
    program = ["--bounded"] if getattr(sys, "frozen", False) else ["-m", "reportd.adapters.worker_processes.child"]
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        with ExitStack() as theirs, ExitStack() as ours:
            theirs_in, ours_out = _pipe(theirs, ours)
            ours_in, theirs_out = _pipe(ours, theirs)
            child = subprocess.Popen(
                [sys.executable, *program, str(memory_mib)],
                stdin=theirs_in,
                stdout=theirs_out,
                env=environment,
                cwd="/",
                start_new_session=True,  # Ctrl-C at a terminal must reach only the daemon
            )
            ours.pop_all()
    except OSError as error:
        raise UnavailableError("worker process", f"can't be started: {error.strerror}") from error
    return _Process(child, trio.lowlevel.FdStream(ours_out), trio.lowlevel.FdStream(ours_in))


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Return a pipe; each end is closed with its stack."""
    ends = os.pipe()
    for stack, end in zip((reader, writer), ends, strict=True):
        stack.callback(os.close, end)
    return ends

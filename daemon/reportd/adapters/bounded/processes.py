"""Worker processes: one at a time does what it is asked, and is killed when that takes too long.

A thread could not be ended, and while it is inside a library the event loop may have to wait for it. One process does
all there is to do; what takes long lends its place to another one, so that it holds up nobody but its own kind: while
a template takes long, other pages of it wait.

Whose fault it is that there is no answer is told by the processor's time that went into it: on a machine that is busy
anything takes long, and a process that somebody else has ended says nothing about what it was asked.
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

from reportd.adapters.bounded.frames import HEAD, Frame, lengths, packed
from reportd.ports import TooCostlyError, UnavailableError

MEMORY_MIB = 256
"""What one may use. Idle it has 35 MiB; it takes 110 to read the worst megabyte of JSON, 165 to repair a letter of that
kind, 100 for a page of 16 MiB, and 50 for a report of 10,000 rows."""

SLOW_SECONDS = 0.5
"""What takes longer lends its place."""

MAX_LENT = 3
"""So there are four at most, of which all but one are at what takes long."""

MAX_WAITING = 32
"""How many may wait for their turn. Each holds a body, which may be as large as ``http.max_body_bytes``."""

PATIENCE = 3
"""How many times longer than the processor's time for it an answer may take, on a machine that is busy."""

FAIR_SHARE = 0.5
"""What has used this much of its time when patience ends would not have come to an end either."""

LOOK_SECONDS = 0.05
"""How often it is looked at least what a process has spent that is about to have spent all it may."""

START_SECONDS = 20.0
KILL_SECONDS = 5.0

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""Of the environment; what the daemon is told in secret is none of their business."""

_OUT_OF_MEMORY = frozenset({-signal.SIGABRT, -signal.SIGSEGV})
"""How a library ends that is given no memory, and one whose stack is full."""

_ENDED_BY_OTHERS = frozenset({-signal.SIGKILL, -signal.SIGTERM, None})
"""By the kernel where the machine's memory runs out, or by an operator."""

log = structlog.get_logger()


class BrokenWorkError(Exception):
    """The work ends its process, each time: a bug of the daemon's own, whatever the job is."""


class _DiedError(Exception):
    """The process has ended, and the daemon has not ended it."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Processes:
    """One is started when it is needed, or told to. ``what``: for the log, and for whoever is told that it is busy.

    Must be closed when nobody asks any more.
    """

    def __init__(self, what: str, memory_mib: int = MEMORY_MIB) -> None:
        self._what = what
        self._memory_mib = memory_mib
        self._places = trio.CapacityLimiter(1)
        self._idle: list[_Process] = []
        self._taking_long = 0
        self._slow: dict[Hashable, trio.Event] = {}
        """Of each kind of which one takes long now, what is set at its end."""

    def start(self) -> None:
        """Have one for the next question: it takes half a second to begin. Where that fails, the question says so."""
        if not self._idle:
            with suppress(UnavailableError):
                self._idle.append(_spawned(self._memory_mib))

    async def ask(self, parts: Sequence[bytes], seconds: float, kind: Hashable = None) -> Frame:
        """The answer to a question.

        ``seconds``: how much of a processor's time it may take. ``kind``: of what is likely to take as long as others
        of it, None for what is not known.

        Raises TooCostlyError when it takes more, or more memory than there is for it; UnavailableError when too many
        wait for their turn, or a process can't be started, gets no time, or is ended by somebody else; BrokenWorkError.
        A cancellation ends the process.
        """
        async with self._turn(kind):
            try:
                return await self._asked(parts, seconds, kind)
            except _DiedError as death:
                log.warning("worker.died", work=self._what, how=str(death))
            try:
                return await self._asked(parts, seconds, kind)
            except _DiedError as death:
                if death.status in _ENDED_BY_OTHERS:
                    raise UnavailableError(self._what, f"the process has been ended twice ({death})") from None
                raise BrokenWorkError(f"{self._what}: the process has ended twice ({death})") from None

    @asynccontextmanager
    async def _turn(self, kind: Hashable) -> AsyncIterator[None]:
        while True:
            if (ended := self._slow.get(kind)) is not None:
                self._check_waiting(ended.statistics().tasks_waiting)
                await ended.wait()
            self._check_waiting(self._places.statistics().tasks_waiting)
            async with self._places:
                if kind not in self._slow:
                    yield
                    return

    def _check_waiting(self, number: int) -> None:
        if number >= MAX_WAITING:
            raise UnavailableError(self._what, "too many wait for their turn")

    async def _asked(self, parts: Sequence[bytes], seconds: float, kind: Hashable) -> Frame:
        process = self._idle.pop() if self._idle else _spawned(self._memory_mib)
        kept = used_up = False
        try:
            await process.begin()
            with trio.move_on_after(seconds * PATIENCE):
                frame = await self._exchange(process, packed(parts), seconds, kind)
                if frame is not None:
                    if b"outOfMemory" in frame[0][:16]:
                        raise TooCostlyError(f"needs more than {self._memory_mib} MiB of memory")
                    used_up = frame[2] != b""
                    kept = not used_up
                    return frame
            used_up = True
            spent = process.spent_seconds()
            log.warning("worker.killed", work=self._what, limit_seconds=seconds, spent_seconds=round(spent, 3))
            if spent >= seconds * FAIR_SHARE:
                raise TooCostlyError(f"takes longer than {seconds:g} s")
            raise UnavailableError(self._what, f"got {spent:.1f} s of a processor within {seconds * PATIENCE:g} s")
        finally:
            if kept and not self._idle:
                self._idle.append(process)
            else:
                with trio.CancelScope(shield=True):
                    await process.kill()
                if used_up:
                    self.start()

    async def _exchange(self, process: "_Process", question: bytes, seconds: float, kind: Hashable) -> Frame | None:
        """The answer; None once the process has spent its seconds on it."""
        await process.ask(question)
        with trio.move_on_after(SLOW_SECONDS):
            return await process.answer(seconds)
        with self._lent(kind):
            return await process.answer(seconds)

    @contextmanager
    def _lent(self, kind: Hashable) -> Iterator[None]:
        """Meanwhile another one may begin, if it is not of this kind."""
        ended = trio.Event()
        if kind is not None:
            self._slow[kind] = ended
        self._lend(1)
        try:
            yield
        finally:
            self._lend(-1)
            self._slow.pop(kind, None)
            ended.set()

    def _lend(self, more: int) -> None:
        self._taking_long += more
        self._places.total_tokens = 1 + min(self._taking_long, MAX_LENT)

    async def aclose(self) -> None:
        """Nobody may ask any more."""
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

    async def begin(self) -> None:
        """Until it is ready. Raises UnavailableError."""
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

    async def ask(self, question: bytes) -> None:
        self._spent_before = self._cpu_seconds()
        try:
            await self._sink.send_all(question)
        except trio.BrokenResourceError:
            raise await self._death() from None

    async def answer(self, seconds: float) -> Frame | None:
        """None once it has spent so much of a processor's time on what it was asked, and nothing is there yet."""
        while not self._read:
            left = seconds - self.spent_seconds()
            if left <= 0:
                return None
            with trio.move_on_after(max(left, LOOK_SECONDS)):
                await self._more()
        return await self.read()

    def spent_seconds(self) -> float:
        """How much of a processor's time it has spent on what it was asked."""
        return self._cpu_seconds() - self._spent_before

    def _cpu_seconds(self) -> float:
        # As clock_getcpuclockid(3) names the clock of a process; it goes on until the process is waited for.
        return time.clock_gettime(~self._child.pid << 3 | 2)

    async def read(self) -> Frame:
        while len(self._read) < HEAD.size:
            await self._more()
        one, two, three = lengths(bytes(self._read[: HEAD.size]))
        end = HEAD.size + one + two + three
        while len(self._read) < end:
            await self._more()
        data, self._read = memoryview(bytes(self._read))[HEAD.size :], bytearray()
        return bytes(data[:one]), bytes(data[one : one + two]), bytes(data[one + two :])

    async def _more(self) -> None:
        piece = await self._source.receive_some(2**20)
        if not piece:
            raise await self._death()
        self._read += piece

    async def _death(self) -> Exception:
        # Whoever asks for an answer within a time is not to ask again one that has died.
        with trio.CancelScope(shield=True):
            with trio.move_on_after(KILL_SECONDS):  # it may have closed its end before it has ended
                await self._ended()
            status = await self.kill()
        if status in _OUT_OF_MEMORY:
            return TooCostlyError("needs more memory than there is for it")
        return _DiedError(status)

    async def kill(self) -> int | None:
        """Its exit status; None where the kernel has not ended it yet."""
        status = self._child.poll()
        self._child.kill()
        await self._sink.aclose()
        await self._source.aclose()
        with trio.move_on_after(KILL_SECONDS):
            return await self._ended()
        return status

    async def _ended(self) -> int:
        return await trio.to_thread.run_sync(self._child.wait, abandon_on_cancel=True)


def _spawned(memory_mib: int) -> _Process:
    """Started by this very thread: the kernel ends the process with the thread that has started it.

    Raises UnavailableError.
    """
    # Of the built program, which is no Python, its own beginning knows what is meant.
    program = ["--bounded"] if getattr(sys, "frozen", False) else ["-m", "reportd.adapters.bounded.child"]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
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
                start_new_session=True,  # Ctrl-C at a terminal is for the daemon alone
            )
            ours.pop_all()
    except OSError as error:
        raise UnavailableError("worker process", f"can't be started: {error.strerror}") from error
    return _Process(child, trio.lowlevel.FdStream(ours_out), trio.lowlevel.FdStream(ours_in))


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Each end is closed with its stack."""
    ends = os.pipe()
    for stack, end in zip((reader, writer), ends, strict=True):
        stack.callback(os.close, end)
    return ends

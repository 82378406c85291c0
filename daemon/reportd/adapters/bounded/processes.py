"""Worker processes: one at a time does what it is asked, and is killed when that takes too long.

A thread could not be ended, and while it is inside a library the event loop may have to wait for it. One process does
all there is to do; what takes long lends its place to another one, so that it holds up nobody.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import structlog
import trio

from reportd.adapters.bounded.frames import HEAD, Frame, lengths, packed
from reportd.ports import TooCostlyError, UnavailableError

MEMORY_MIB = 512
"""What one may use. A megabyte of JSON is 30 MiB of objects at the worst."""

SLOW_SECONDS = 0.5
"""What takes longer lends its place."""

MAX_LENT = 3

MAX_WAITING = 32
"""How many may wait for their turn. Each holds a body, which may be as large as ``http.max_body_bytes``."""

START_SECONDS = 20.0
KILL_SECONDS = 5.0

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""Of the environment; what the daemon is told in secret is none of their business."""

_OUT_OF_MEMORY = frozenset({-signal.SIGABRT, -signal.SIGSEGV})
"""How a library ends that is given no memory, and one whose stack is full."""

log = structlog.get_logger()


class _DiedError(Exception):
    """The process has ended, and the daemon has not ended it; the text says how."""


class Processes:
    """None is started before it is needed. ``what``: for the log, and for whoever is told that it is busy.

    Must be closed when nobody asks any more.
    """

    def __init__(self, what: str, memory_mib: int = MEMORY_MIB) -> None:
        self._what = what
        self._memory_mib = memory_mib
        self._places = trio.CapacityLimiter(1)
        self._idle: list[_Process] = []

    async def ask(self, parts: Sequence[bytes], seconds: float) -> Frame:
        """The answer to a question. ``seconds``: how long it may take once it is its turn.

        Raises TooCostlyError when it takes longer, or more memory than there is for it; UnavailableError when too many
        wait for their turn, or a process can't be started. A cancellation ends the process.
        """
        if self._places.statistics().tasks_waiting >= MAX_WAITING:
            raise UnavailableError(self._what, "too many wait for their turn")
        async with self._places:
            try:
                return await self._asked(parts, seconds)
            except _DiedError as death:  # somebody else may have ended it, who knows why
                log.warning("worker.died", work=self._what, how=str(death))
            try:
                return await self._asked(parts, seconds)
            except _DiedError as death:
                raise TooCostlyError(f"the process that did it has ended twice ({death})") from None

    async def _asked(self, parts: Sequence[bytes], seconds: float) -> Frame:
        process = self._idle.pop() if self._idle else await _started(self._memory_mib)
        kept = False
        try:
            with trio.move_on_after(seconds):
                frame = await self._exchange(process, packed(parts))
                if b"outOfMemory" in frame[0][:16]:
                    raise TooCostlyError(f"needs more than {self._memory_mib} MiB of memory")
                kept = not frame[2]
                return frame
            log.warning("worker.killed", work=self._what, after_seconds=seconds)
            raise TooCostlyError(f"takes longer than {seconds:g} s")
        finally:
            if kept and not self._idle:
                self._idle.append(process)
            else:
                with trio.CancelScope(shield=True):
                    await process.kill()

    async def _exchange(self, process: "_Process", question: bytes) -> Frame:
        await process.write(question)
        with trio.move_on_after(SLOW_SECONDS):
            await process.wait_for_answer()
            return await process.read()
        if self._places.total_tokens > MAX_LENT:
            return await process.read()
        self._places.total_tokens += 1
        try:
            await process.wait_for_answer()
        finally:
            self._places.total_tokens -= 1
        return await process.read()

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

    async def write(self, data: bytes) -> None:
        try:
            await self._sink.send_all(data)
        except trio.BrokenResourceError:
            raise await self._death() from None

    async def wait_for_answer(self) -> None:
        """Until some of it is there."""
        if not self._read:
            await self._more()

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
        status = await self.kill()
        if status in _OUT_OF_MEMORY:
            return TooCostlyError("needs more memory than there is for it")
        return _DiedError(f"status {status}")

    async def kill(self) -> int | None:
        """Its exit status; None where the kernel has not ended it yet."""
        status = self._child.poll()
        self._child.kill()
        await self._sink.aclose()
        await self._source.aclose()
        with trio.move_on_after(KILL_SECONDS):
            return await trio.to_thread.run_sync(self._child.wait, abandon_on_cancel=True)
        return status


async def _started(memory_mib: int) -> _Process:
    """A process that is ready. Raises UnavailableError."""
    try:
        process = _spawned(memory_mib)
    except OSError as error:
        raise UnavailableError("worker process", f"can't be started: {error.strerror}") from error
    ready = False
    try:
        with trio.move_on_after(START_SECONDS):
            await process.read()
            ready = True
            return process
        raise UnavailableError("worker process", f"has not begun within {START_SECONDS:g} s")
    except _DiedError as death:
        raise UnavailableError("worker process", f"has ended before it began ({death})") from None
    finally:
        if not ready:
            with trio.CancelScope(shield=True):
                await process.kill()


def _spawned(memory_mib: int) -> _Process:
    """Started by this very thread: the kernel ends the process with the thread that has started it."""
    # Of the built program, which is no Python, its own beginning knows what is meant.
    program = ["--bounded"] if getattr(sys, "frozen", False) else ["-m", "reportd.adapters.bounded.child"]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, *program, str(memory_mib)],
            stdin=theirs_in,
            stdout=theirs_out,
            env=environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C at a terminal is for the daemon alone
        )
    except OSError:
        os.close(ours_out)
        os.close(ours_in)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    return _Process(child, trio.lowlevel.FdStream(ours_out), trio.lowlevel.FdStream(ours_in))

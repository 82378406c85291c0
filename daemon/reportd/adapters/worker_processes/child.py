"""The program of a worker process: it reads a request, does the work and answers, until its input ends.

It holds no secret of the daemon, has a memory limit, and ends with the daemon. An endless loop or library call can't be
stopped from inside; the daemon kills the process then.

Run as ``python -m reportd.adapters.worker_processes.child MEMORY_MIB``.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from reportd.adapters.worker_processes import tasks
from reportd.adapters.worker_processes.frames import HEAD, Frame, lengths, packed

_PR_SET_PDEATHSIG = 1

_LARGE_SHARE = 3
"""A process that still holds a third of its memory limit after an answer asks to be replaced."""


def main(arguments: list[str]) -> int:
    memory_bytes = int(arguments[0]) * 2**20
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that the output of a library is not taken for an answer
    _confine(memory_bytes)
    memory = os.open("/proc/self/statm", os.O_RDONLY)  # opened now: later no file descriptor may be left
    sink.write(packed([b'{"ready":true}']))
    sink.flush()
    try:
        _answer_all(source, sink, memory, memory_bytes)
    except MemoryError:
        os.abort()  # the same end as that of a library without memory, so it does not count as a bug
    return 0


def _answer_all(source: BinaryIO, sink: BinaryIO, memory: int, memory_bytes: int) -> None:
    while frame := _read(source):
        try:
            reply = tasks.answer(frame)
        except MemoryError:
            reply = b'{"outOfMemory":true}', b"", b""
        del frame
        last = b"last" if _resident_bytes(memory) > memory_bytes // _LARGE_SHARE else b""
        sink.write(packed([*reply[:2], last]))
        sink.flush()
        del reply


def _confine(memory_bytes: int) -> None:
    daemon = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != daemon:  # the daemon died before the call above
        sys.exit(0)
    # Not setrlimit: the unit's filter of system calls allows only prlimit.
    resource.prlimit(0, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # on memory shortage the kernel should kill this process before the daemon
        Path("/proc/self/oom_score_adj").write_text("500")


def _read(source: BinaryIO) -> Frame | None:
    """Return the next frame; None at the end."""
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    first, second, third = (source.read(length) for length in lengths(head))
    return first, second, third


def _resident_bytes(memory: int) -> int:
    return int(os.pread(memory, 100, 0).split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

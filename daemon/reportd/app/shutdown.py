"""Stops the daemon on a signal, and bounds how long that takes, whatever hangs (I9)."""

import faulthandler
from collections.abc import Iterator

import structlog
import trio

CUT_SECONDS = 7.0
"""After the drain, the daemon has so long to return unfinished jobs and to close what it opened. Then it logs what it
still waits for, and cancels it."""

LAST_SECONDS = 10.0
"""After so long a thread ends the process; nothing in the interpreter can hold that thread up."""

log = structlog.get_logger()


class Stopping:
    """The state of the shutdown. ``asked``: take no more work. ``hurried``: wait for no more jobs.

    Until ``begun`` is set there is nothing to drain, and a signal cancels the start. ``cut``: the shutdown took too
    long. Then messages may not have been returned, and become visible when their visibility timeout ends.
    """

    def __init__(self, drain_seconds: float, everything: trio.CancelScope) -> None:
        self.asked = trio.Event()
        self.hurried = trio.Event()
        self.begun = trio.Event()
        self.cut = False
        self._drain_seconds = drain_seconds
        self._everything = everything

    def signalled(self) -> None:
        """Handle SIGTERM or SIGINT: the first starts the drain, the second ends it."""
        if self.hurried.is_set():
            return
        if self.asked.is_set():
            log.warning("daemon.hurried")
            self.hurried.set()
            self._end_within(0.0)
        else:
            self.asked.set()
            self._end_within(self._drain_seconds)
        if not self.begun.is_set():
            self._everything.cancel()

    def _end_within(self, drain_seconds: float) -> None:
        # Logs where each thread is and exits with status 1, even if the process can run no Python any more.
        faulthandler.dump_traceback_later(drain_seconds + LAST_SECONDS, exit=True)
        trio.lowlevel.spawn_system_task(self._cut, drain_seconds + CUT_SECONDS)

    async def _cut(self, seconds: float) -> None:
        await trio.sleep(seconds)
        root = trio.lowlevel.current_root_task()
        if not self.cut and root is not None:
            self.cut = True
            log.error("daemon.cut_off", waitsFor=sorted(set(_waits(root))))
        self._everything.cancel()


def _waits(task: trio.lowlevel.Task) -> Iterator[str]:
    """Yield each task that waits for no other task: its name and the last line of our code that it runs."""
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    for child in children:
        yield from _waits(child)
    if not children:
        ours = [
            f"{frame.f_code.co_qualname}:{line}"
            for frame, line in task.iter_await_frames()
            if "reportd" in frame.f_code.co_filename
        ]
        yield " in ".join([*ours[-1:], task.name])

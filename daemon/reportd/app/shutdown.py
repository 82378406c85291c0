"""How the daemon is told to stop, and what sees to it that it does, whatever hangs (I9)."""

import faulthandler
from collections.abc import Iterator

import structlog
import trio

CUT_SECONDS = 7.0
"""After the time for jobs, the daemon has so long to give them back and to close what it has opened. Whatever it still
waits for then is logged and cancelled."""

LAST_SECONDS = 10.0
"""After so long its process is ended, by a thread that nothing in the interpreter can hold up."""

log = structlog.get_logger()


class Stopping:
    """``asked``: to take no more work. ``hurried``: to wait for jobs no longer.

    Until ``begun`` is set there is nothing to drain, and the start is called off. ``cut``: it was not done in time, so
    what it held may not have been given back and comes again when its visibility ends.
    """

    def __init__(self, drain_seconds: float, everything: trio.CancelScope) -> None:
        self.asked = trio.Event()
        self.hurried = trio.Event()
        self.begun = trio.Event()
        self.cut = False
        self._drain_seconds = drain_seconds
        self._everything = everything

    def signalled(self) -> None:
        """For SIGTERM and SIGINT: the first one drains, the next one does not wait for jobs any more."""
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
        # Says where each thread stands, and ends the process with status 1, even if it can run no Python any more.
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
    """Where each task stands that waits for no other one: its name, and the last line of ours."""
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

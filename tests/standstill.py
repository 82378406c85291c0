"""Fails a test in which one step of a task held the event loop for longer than that.

What the machine takes away from the thread, because others want its processors, is not counted: the time that it had to
wait for one, and how much slower than usual one is. Nor are garbage collections: those of a test run walk through all
that its tests have made so far. A test that has a good reason for such a step says it:
``@pytest.mark.stands_still("the reason")``.
"""

import gc
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import trio

LIMIT_SECONDS = 0.25


class Standstill(trio.abc.Instrument):
    """``longest_seconds``: of the steps that were longer than the limit, and ``where``: the task that took it."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.where = ""
        self._begun = self._waited = 0.0
        self._schedstat = -1
        self._collecting = self._collected = self._collected_before = 0.0

    def forget(self) -> None:
        """What was seen so far."""
        self.longest_seconds, self.where = 0.0, ""

    def check(self) -> None:
        """Raises AssertionError when the loop stood still."""
        assert not self.where, f"the event loop stood still for {self.longest_seconds:.2f} s in {self.where}"

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self._collected += time.perf_counter() - self._collecting

    def before_run(self) -> None:
        gc.callbacks.append(self._on_collection)
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def after_run(self) -> None:
        gc.callbacks.remove(self._on_collection)
        os.close(self._schedstat)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self._waited, self._collected_before = self._waited_seconds(), self._collected
        self._begun = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        seconds = time.perf_counter() - self._begun - (self._collected - self._collected_before)
        if seconds > LIMIT_SECONDS:
            seconds = (seconds - self._waited_seconds() + self._waited) / slowness()
            # A fixture makes what the test needs, which takes what it takes.
            if seconds > max(LIMIT_SECONDS, self.longest_seconds) and not task.name.startswith("<fixture"):
                self.longest_seconds, self.where = seconds, task.name

    def _waited_seconds(self) -> float:
        """How long this thread has been ready to run, and had no processor (proc(5))."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) / 1e9


def slowness() -> float:
    """How many times longer than it took at best a little work takes now; 1 at least."""
    return max(1.0, min(_work_seconds() for _ in range(3)) / _BEST_SECONDS)


def _work_seconds() -> float:
    begun = time.thread_time()
    sum(number * number for number in range(20_000))
    return time.thread_time() - begun


_BEST_SECONDS = min(_work_seconds() for _ in range(20))


def guarded_run(
    main: Callable[[], Coroutine[Any, Any, object]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Iterable[trio.abc.Instrument] = (),
) -> object:
    """As ``trio.run``; raises AssertionError when the loop stood still."""
    guard = Standstill()
    result = trio.run(main, clock=clock, instruments=[*instruments, guard])
    guard.check()
    return result

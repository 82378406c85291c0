"""A process that has no file descriptor left, in earnest: the kernel refuses every new one."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

LOWEST = 3
"""Those below are always taken: the standard streams."""


@contextmanager
def none_left(pid: int = 0) -> Iterator[None]:
    """For as long as the block, in the process ``pid``, 0 for this one. What it has open stays open."""
    with _limited(pid, LOWEST):
        yield


@contextmanager
def some_left(number: int) -> Iterator[None]:
    """The same for this process, but for the next ones that it opens; at most ``number``."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    with _limited(0, lowest_free + number):
        yield


@contextmanager
def _limited(pid: int, limit: int) -> Iterator[None]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

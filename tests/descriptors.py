"""A process that has no file descriptor left, in earnest: the kernel refuses every new one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

LOWEST = 3
"""Those below are always taken: the standard streams."""


@contextmanager
def none_left(pid: int = 0) -> Iterator[None]:
    """For as long as the block, in the process ``pid``, 0 for this one. What it has open stays open."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (LOWEST, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

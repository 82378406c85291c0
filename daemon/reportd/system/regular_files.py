"""Reads a file that somebody else may have put anything in the place of: read whole, at once, and no more than allowed.

A FIFO would be waited for, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Far more than a configuration, its tokens or a schema may need."""


def read_regular(path: Path) -> tuple[bytes, os.stat_result]:
    """Its bytes, and what the system says of it. Raises OSError, with a ``strerror`` in words, for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES >> 20} MiB", str(path))
    return data, found

"""Reads a file that another user may have replaced: only a regular file, in one read of limited size.

Reading a FIFO would block, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Far more than a configuration, a tokens file or a schema needs."""


def read_regular(path: Path) -> tuple[bytes, os.stat_result]:
    """Return its bytes and its status. Raises OSError, with a readable ``strerror``, for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES >> 20} MiB", str(path))
    return data, status

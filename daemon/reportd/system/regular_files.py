"""Reads a file that another user may have replaced: only a regular file, in one read of limited size.

Reading a FIFO would block, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Far more than a configuration, a tokens file or a schema needs."""


def read_regular(path: Path, max_bytes: int = MAX_BYTES) -> tuple[bytes, os.stat_result]:
    """Return its bytes and its status. Raises OSError, with a readable ``strerror``, for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        limit = f"{max_bytes >> 20} MiB" if max_bytes >> 20 else f"{max_bytes >> 10} KiB"
        raise OSError(errno.EFBIG, f"it has more than {limit}", str(path))
    return data, status

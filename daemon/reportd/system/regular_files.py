"""Reads a file that another user may have replaced: only a regular file, in one read of limited size.

Reading a FIFO would block, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
"""Far more than a configuration, a tokens file or a schema needs."""


def read_regular(path: Path, max_bytes: int = MAX_BYTES, within: Path | None = None) -> tuple[bytes, os.stat_result]:
    """Return its bytes and its status. Raises OSError, with a readable ``strerror``, for anything else.

    ``within``: a folder that the file must be in, wherever links lead.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if within is not None and not _opened(descriptor).is_relative_to(within.resolve()):
            raise PermissionError(errno.EPERM, "a link leads out of its folder", str(path))
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        limit = f"{max_bytes >> 20} MiB" if max_bytes >> 20 else f"{max_bytes >> 10} KiB"
        raise OSError(errno.EFBIG, f"it has more than {limit}", str(path))
    return data, status


def _opened(descriptor: int) -> Path:
    """Return the path of what was opened: a link may be changed after any look at it."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()

"""Keeps the daemon's files private: folders are 0700 and files 0600, whatever umask it was started with.

They hold the parameters of reports, PDFs, and the secret that signs sessions.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import structlog

OTHERS = 0o077
"""All permissions of the group and of others."""

_EXPOSED = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""The group may read a secret: systemd gives a service its credentials that way (an ACL shows as group permissions)."""

EXPOSED = "others can read or change it; run chmod 600 on it"
"""What to tell about a file of secrets that is exposed."""

log = structlog.get_logger()


def keep_new_files_private() -> None:
    """Set the umask of this process and of those it starts."""
    os.umask(OTHERS)


def close_folder(folder: Path, own: Iterable[str]) -> None:
    """Remove the permissions of others from an existing folder and the daemon's files in it.

    ``own``: the names of the daemon's files. A folder that also holds other files, such as a home or /srv, is left as
    it is, with a warning. Raises OSError.
    """
    names = set(own)
    for name in names:
        make_private(folder / name)
    if others := sorted(set(os.listdir(folder)) - names):  # noqa: PTH208 - names only
        _warn(folder, f"it also holds other files, such as {others[0]}: set data_dir to a folder of the daemon's own")
    else:
        make_private(folder)


def is_exposed(status: os.stat_result) -> bool:
    """Return whether others can read or change a file of secrets that an operator made."""
    return bool(status.st_mode & _EXPOSED)


def make_private(path: Path) -> None:
    """Do the same for one file or folder, which may be missing. One of another user is left as it is."""
    try:
        status = path.stat()
        if not status.st_mode & OTHERS:
            return
        if status.st_uid != os.geteuid():
            _warn(path, "it belongs to another user, who could close it")
            return
        path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
    except FileNotFoundError:
        return
    log.warning("files.made_private", path=str(path), mode=_octal(status.st_mode))


def _warn(path: Path, detail: str) -> None:
    mode = path.stat().st_mode
    if mode & OTHERS:
        log.warning("files.exposed", path=str(path), mode=_octal(mode), detail=detail)


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"

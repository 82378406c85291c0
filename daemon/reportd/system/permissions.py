"""What the daemon keeps is nobody else's business: folders are 0700 and files 0600, whatever umask it was started with.

Parameters of reports are in there, PDFs, and the secret that sessions are signed with.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import structlog

OTHERS = 0o077
"""All that the group and everybody else may do."""

log = structlog.get_logger()


def keep_new_files_private() -> None:
    """For the whole process, and for what it starts."""
    os.umask(OTHERS)


def close_folder(folder: Path, own: Iterable[str]) -> None:
    """Take from everybody else what an earlier version, or whoever made it, has let them do.

    ``own``: the names of what the daemon keeps in it. A folder that holds other things, a home or /srv, is not closed
    itself, which the log says. Raises OSError.
    """
    names = set(own)
    for name in names:
        make_private(folder / name)
    if others := sorted(set(os.listdir(folder)) - names):  # noqa: PTH208 - names only
        _tell(folder, f"it holds other things, too, such as {others[0]}: set data_dir to a folder of the daemon's own")
    else:
        make_private(folder)


def make_private(path: Path) -> None:
    """The same for one file or folder, which need not be there. One that belongs to another user is left as it is."""
    try:
        found = path.stat()
        if not found.st_mode & OTHERS:
            return
        if found.st_uid != os.geteuid():
            _tell(path, "it belongs to another user, who could close it")
            return
        path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)
    except FileNotFoundError:
        return
    log.warning("files.made_private", path=str(path), mode=_shown(found.st_mode))


def _tell(path: Path, detail: str) -> None:
    mode = path.stat().st_mode
    if mode & OTHERS:
        log.warning("files.exposed", path=str(path), mode=_shown(mode), detail=detail)


def _shown(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"

"""Tells when files in some folders change, with ``watchfiles``.

The kernel reports the changes, so an idle watch costs nothing. On a file system that reports none, such as a network
share, set ``WATCHFILES_FORCE_POLLING=1`` in the environment.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import structlog
import trio
from watchfiles import Change, awatch

from reportd.concurrency.nurseries import open_background

QUIET_MILLISECONDS = 30
"""A change is told once nothing has changed for so long: editors save in several steps."""

LONGEST_MILLISECONDS = 300
"""A change is told after this time even while others go on."""

MAX_FOLDERS = 1000
"""Folders that are watched. A report type has a few; the kernel has about 8,000 watches for each user."""

_OTHERS = re.compile(
    r"^[.#]|[~#]$|\.(?:pdf|log|tmp|pyc|db|sqlite3?)(?:-wal|-shm|-journal)?$|^(?:node_modules|__pycache__|4913)$"
)
"""Hidden files, what editors write on the side (4913 is Vim's), results, logs, and folders that belong to tools."""

log = structlog.get_logger()


async def watch_folders(
    folders: Sequence[Path],
    changed: Callable[[], None],
    *,
    files: Collection[Path] = (),
    ignored: Collection[Path] = (),
) -> None:
    """Call ``changed`` after each change, or burst of changes, until cancelled.

    ``folders`` count with all below; ``files`` count, too, but nothing else in their folders does; ``ignored`` folders
    do not count. When the kernel has no watch left, the files are looked at three times a second.
    """
    seen = Seen(folders, files, ignored)
    stop = trio.Event()
    polling = False
    async with open_background() as nursery:
        # The thread of `awatch` can't be cancelled; it looks at this event after each quiet time.
        nursery.start_soon(_set_at_end, stop)
        while True:
            try:
                await _until_folders_change(seen, changed, stop, polling=polling)
            except FileNotFoundError:  # a folder has gone since it was listed
                await trio.sleep(LONGEST_MILLISECONDS / 1000)
            except OSError as error:
                if polling:
                    raise
                log.warning("files.polled", error=str(error))
                polling = True


async def _until_folders_change(seen: "Seen", changed: Callable[[], None], stop: trio.Event, *, polling: bool) -> None:
    watched = set(seen.folders())
    changes = awatch(
        *watched,
        watch_filter=seen,
        step=QUIET_MILLISECONDS,
        debounce=LONGEST_MILLISECONDS,
        stop_event=stop,
        recursive=False,
        force_polling=polling or None,  # None: as the environment says
    )
    async with aclosing(changes):
        async for batch in changes:
            changed()
            # A folder that is removed and made again, as version control and build tools do, keeps its name; the
            # kernel's watch is gone with the old one.
            if any(Path(path) in watched for _, path in batch) or set(seen.folders()) != watched:
                return


class Seen:
    """Which files count."""

    def __init__(self, folders: Sequence[Path], files: Collection[Path] = (), ignored: Collection[Path] = ()) -> None:
        self._roots = [folder.resolve() for folder in folders]
        self._files = {file.parent.resolve() / file.name for file in files}
        self._ignored = {folder.resolve() for folder in ignored}

    def __call__(self, _: Change, path: str) -> bool:
        file = Path(path)
        if file in self._files:
            return True
        return not _OTHERS.search(file.name) and any(file.is_relative_to(root) for root in self._roots)

    def folders(self) -> Iterator[Path]:
        """Yield each folder to watch."""
        yield from {file.parent for file in self._files}
        number = 0
        for root in self._roots:
            for place, below, _ in os.walk(root):
                folder = Path(place)
                below[:] = sorted(
                    name for name in below if not _OTHERS.search(name) and folder / name not in self._ignored
                )
                number += 1
                if number > MAX_FOLDERS:
                    return
                yield folder


async def _set_at_end(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()

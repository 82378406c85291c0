"""Tells when files in some folders change, with ``watchfiles``.

The kernel reports the changes, so an idle watch costs nothing. On a file system that reports none, such as a network
share, set ``WATCHFILES_FORCE_POLLING=1`` in the environment.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

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


async def watch_folders(folders: Sequence[Path], ignored: Collection[Path], changed: Callable[[], None]) -> None:
    """Call ``changed`` after each change, or burst of changes, in ``folders`` and below, until cancelled.

    ``ignored``: folders that do not count. Raises OSError when the kernel has no watch left.
    """
    seen = Seen(folders, ignored)
    stop = trio.Event()
    async with open_background() as nursery:
        # The thread of `awatch` can't be cancelled; it looks at this event after each quiet time.
        nursery.start_soon(_set_at_end, stop)
        while True:
            watched = set(seen.folders())
            changes = awatch(
                *watched,
                watch_filter=seen,
                step=QUIET_MILLISECONDS,
                debounce=LONGEST_MILLISECONDS,
                stop_event=stop,
                recursive=False,
            )
            async for _ in changes:
                changed()
                if set(seen.folders()) != watched:
                    break
            await changes.aclose()


class Seen:
    """Which files count."""

    def __init__(self, folders: Sequence[Path], ignored: Collection[Path]) -> None:
        self._roots = [folder.resolve() for folder in folders]
        self._ignored = {folder.resolve() for folder in ignored}

    def __call__(self, _: Change, path: str) -> bool:
        return not _OTHERS.search(Path(path).name)

    def folders(self) -> Iterator[Path]:
        """Yield each folder to watch."""
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

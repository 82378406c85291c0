"""What the artifacts suite needs of an implementation."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.ports import ArtifactStore, LocalPdf

SMALL_BYTES = 64 * 1024
"""What fits where ``full`` leaves room."""


@dataclass(frozen=True)
class ArtifactsLab:
    """A store under test.

    ``read`` fetches what ``locate`` told of; ``names`` lists all that the store holds, finished or not; within
    ``full`` it has no room for more than SMALL_BYTES. ``atomic``: a conditional write checks and stores in one step.
    """

    store: ArtifactStore
    read: Callable[[LocalPdf | str], bytes]
    names: Callable[[], list[str]]
    full: Callable[[], AbstractContextManager[None]]
    atomic: bool = True


def folder_lab(folder: Path) -> ArtifactsLab:
    def read(where: LocalPdf | str) -> bytes:
        assert isinstance(where, LocalPdf)
        return where.path.read_bytes()

    def names() -> list[str]:
        return sorted(path.name for path in folder.rglob("*") if path.is_file())

    return ArtifactsLab(FileArtifacts(folder), read, names, _no_large_files)


@contextmanager
def _no_large_files() -> Iterator[None]:
    """The kernel refuses to write on in a file that is large enough, as it does when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * SMALL_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

"""Receives a PDF piece by piece: small ones stay in memory, large ones go to a temporary file."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from reportd.ports import Pdf

IN_MEMORY_BYTES = 4 * 1024 * 1024


class PdfWriter:
    """``write`` pieces, then ``finish``; or ``abandon`` what was written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digest = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._path = folder

    def write(self, piece: bytes) -> None:
        """A piece of a megabyte or two takes about a millisecond, too little to be worth a thread."""
        self._digest.update(piece)
        self._size += len(piece)
        if self._file is not None:
            self._file.write(piece)
            return
        self._pieces.append(piece)
        if self._size > IN_MEMORY_BYTES:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix="pdf-", suffix=".part")
            self._path = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._file.writelines(self._pieces)
            self._pieces.clear()

    def finish(self) -> Pdf:
        if self._file is None:
            return Pdf(self._size, self._digest.hexdigest(), data=b"".join(self._pieces))
        self._file.close()
        return Pdf(self._size, self._digest.hexdigest(), path=self._path)

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

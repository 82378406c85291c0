"""Receives a PDF in pieces: a small one stays in memory, a large one goes to a temporary file."""

import base64
import hashlib
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import BinaryIO, Self

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.pages.pdf_metadata import Metadata, update
from reportd.ports import Pdf

CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 4 * 1024 * 1024


async def receive_pdf(page: Cdp, stream: str, folder: Path, metadata: Metadata) -> Pdf:
    """Read the page's stream to its end and close it; add the metadata. Raises CdpError and ClosedError."""

    def read() -> Answer:
        return page.send("IO.read", handle=stream, size=CHUNK_BYTES)

    # A small PDF takes two reads; the second one only signals the end. For a large one, the next piece is read while
    # this one is written. A piece may be smaller than requested.
    pending = deque((read(), read()))
    with PdfWriter(folder) as writer:
        while True:
            chunk = await pending.popleft().get()
            piece = base64.b64decode(chunk["data"])
            writer.write(piece)
            if chunk["eof"]:
                break
            if not pending or len(piece) > CHUNK_BYTES // 2:
                pending.append(read())
        page.send("IO.close", handle=stream)
        return writer.finish(metadata)


class PdfWriter:
    """Write pieces, then ``finish``, in a ``with`` block. An exception in the block removes the temporary file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digest = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._path = folder

    def write(self, piece: bytes) -> None:
        """Write without a thread: a piece of 1-2 MB takes about a millisecond."""
        self._digest.update(piece)
        self._size += len(piece)
        if self._file is not None:
            self._file.write(piece)
            return
        self._pieces.append(piece)
        if self._size > IN_MEMORY_BYTES:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix="pdf-", suffix=".part")
            self._path = Path(name)
            self._file = os.fdopen(handle, "w+b")
            self._file.writelines(self._pieces)
            self._pieces.clear()

    def finish(self, metadata: Metadata = Metadata()) -> Pdf:  # noqa: B008 - it is immutable
        if more := update(self._read, self._size, metadata):
            self.write(more)
        if self._file is None:
            return Pdf(self._size, self._digest.hexdigest(), data=b"".join(self._pieces))
        self._file.close()
        return Pdf(self._size, self._digest.hexdigest(), path=self._path)

    def _read(self, start: int, size: int) -> bytes:
        if self._file is not None:
            self._file.flush()
            return os.pread(self._file.fileno(), size, start)
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0][start : start + size] if self._pieces else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

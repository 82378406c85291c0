"""Sends a stored PDF: the whole, a range, or 304 when the client already has it (RFC 9110, sections 13 and 14)."""

import os
import re
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from threading import Lock

import trio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import LocalPdf
from reportd_web.http.problems import ProblemError

CHUNK_BYTES = 256 * 1024

CLOSE_SECONDS = 1.0

# One range. Several ranges, or other units, get the whole, as section 14.2 allows.
_RANGE = re.compile(r"bytes\s*=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*", re.IGNORECASE)


def is_fresh(headers: Headers, etag: str) -> bool:
    """Return whether the client's ``If-None-Match`` has this PDF's ETag."""
    header = headers.get("if-none-match", "")
    return header.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in header.split(",")]


class PdfFile(Response):
    """A PDF file as a response, with ranges and HEAD. ``missing``: raised when the file does not exist."""

    media_type = "application/pdf"

    def __init__(self, pdf: LocalPdf, etag: str, headers: Mapping[str, str], missing: Exception) -> None:
        super().__init__(headers={"ETag": etag, "Accept-Ranges": "bytes", **headers})
        self._pdf = pdf
        self._etag = etag
        self._missing = missing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ``missing``, UnavailableError or ProblemError (416) before anything is sent."""
        run = self._pdf.reading
        file, size = await run(self._open)
        try:
            start, end = self._slice(scope, size)
            self.headers["content-length"] = str(end - start)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with open_background() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                while start < end and scope["method"] != "HEAD":
                    piece = await run(partial(file.part, start, min(end - start, CHUNK_BYTES)))
                    if not piece:
                        raise EOFError(f"{self._pdf.path} has become shorter")
                    start += len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await run(file.end)

    def _open(self) -> tuple["_File", int]:
        try:
            file = _File(self._pdf.path)
        except FileNotFoundError:
            raise self._missing from None
        return file, os.fstat(file.fileno()).st_size

    def _slice(self, scope: Scope, size: int) -> tuple[int, int]:
        headers = Headers(scope=scope)
        match = _RANGE.fullmatch(headers.get("range", ""))
        # Ranges are for GET only (section 14.2), and a failed If-Range gets the whole (section 13.1.5).
        if not match or scope["method"] != "GET" or headers.get("if-range", self._etag) != self._etag:
            return 0, size
        first, last, suffix = match.groups()
        if suffix is None:
            start, end = int(first), min(size, int(last or size) + 1)
            if last is not None and int(last) < start:
                return 0, size
        else:
            start, end = max(0, size - int(suffix)), size
        if start >= end:
            problem = FieldProblem("/Range", f"must begin within the {size} bytes of the PDF")
            raise ProblemError(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                "there is no such range",
                [problem],
                place="header",
                headers={"Content-Range": f"bytes */{size}"},
            )
        self.status_code = HTTPStatus.PARTIAL_CONTENT
        self.headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        return start, end


class _File(FileIO):
    """Closed by its last user: a thread that was abandoned may still read it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._busy = Lock()

    def __del__(self) -> None:
        self.close()

    def part(self, start: int, size: int) -> bytes:
        with self._busy:
            return os.pread(self.fileno(), size, start)

    def end(self) -> None:
        if self._busy.acquire(blocking=False):
            self.close()


async def cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel the scope when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

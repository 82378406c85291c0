"""Adds what a page says about itself to a PDF of Chromium, which keeps only the title.

The addition is an incremental update (PDF 32000-1, 7.5.6): changed objects and a new cross-reference table behind the
end of the file. So nothing of a large PDF is read or written again. pikepdf needs all of the file and 3 ms.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_TEXT = 1000
"""Characters of one entry. A page can write as many as it likes."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")
_END = re.compile(rb"trailer\n<</Size (\d+)\n/Root (\d+) 0 R\n/Info (\d+) 0 R>>\nstartxref\n(\d+)\n%%EOF\s*\Z")
_ENTRY_BYTES = 20
_OBJECT_BYTES = 16384

Read = Callable[[int, int], bytes]
"""Returns bytes of the PDF: from an offset, at most so many."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a document says about itself: ``meta`` elements, and the language of its root element (BCP 47)."""

    author: str = ""
    subject: str = ""
    keywords: str = ""
    language: str = ""


def update(read: Read, size: int, metadata: Metadata) -> bytes:
    """Return what to append to a PDF of ``size`` bytes; nothing if there is nothing to add, or no place for it."""
    texts = {"Author": metadata.author, "Subject": metadata.subject, "Keywords": metadata.keywords}
    entries = b"".join(b"\n/%s %s" % (key.encode(), _text(text)) for key, text in texts.items() if text.strip())
    language = metadata.language if _LANGUAGE.fullmatch(metadata.language) else ""
    end = _END.search(read(max(0, size - 512), 512)) if entries or language else None
    if end is None:
        return b""
    count, root, info, table = (int(number) for number in end.groups())
    changed: dict[int, bytes] = {}
    if entries and (about := _object(read, table, count, info)):
        changed[info] = about + entries
    if language and (catalog := _object(read, table, count, root)) and b"/Lang" not in catalog:
        changed[root] = catalog + b"\n/Lang (%s)" % language.encode()
    if not changed:
        return b""
    appended, offsets = b"", {}
    for number, dictionary in changed.items():
        offsets[number] = size + len(appended)
        appended += b"%d 0 obj\n<<%s>>\nendobj\n" % (number, dictionary)
    start = size + len(appended)
    entries = b"".join(b"%d 1\n%010d 00000 n \n" % (number, offset) for number, offset in sorted(offsets.items()))
    trailer = b"trailer\n<</Size %d\n/Root %d 0 R\n/Info %d 0 R\n/Prev %d>>" % (count, root, info, table)
    return appended + b"xref\n" + entries + trailer + b"\nstartxref\n%d\n%%%%EOF\n" % start


def _object(read: Read, table: int, count: int, number: int) -> bytes:
    """Return the entries of a dictionary that is an object of its own; empty if it can't be found."""
    head = b"xref\n0 %d\n" % count
    if read(table, len(head)) != head:
        return b""
    entry = read(table + len(head) + _ENTRY_BYTES * number, _ENTRY_BYTES)
    found = re.fullmatch(rb"(\d{10}) 00000 n \n", entry)
    if found is None:
        return b""
    begin, end = b"%d 0 obj\n<<" % number, b">>\nendobj\n"
    content = read(int(found[1]), _OBJECT_BYTES)
    return content[len(begin) : content.find(end)] if content.startswith(begin) and end in content else b""


def _text(text: str) -> bytes:
    """Return a text string of a PDF, in UTF-16 (PDF 32000-1, 7.9.2.2)."""
    encoded = text.strip()[:MAX_TEXT].encode("utf-16-be", "replace")
    return b"<FEFF%s>" % encoded.hex().upper().encode()

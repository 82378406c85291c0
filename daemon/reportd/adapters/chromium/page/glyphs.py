"""Looks for characters in a printed PDF that no font has."""

import mmap
import sys
from collections.abc import Collection

import trio

from reportd.adapters.chromium.page.ready import WORLD
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError
from reportd.core.jobs.warnings import JobWarning
from reportd.core.pages.glyphs import Boxes, find_boxes, warning_of
from reportd.core.pages.pdf_streams import TooLongError
from reportd.ports import Pdf

MAX_BYTES_AT_ONCE = 1024 * 1024
"""Text operators that are searched without a thread, which would take longer: 3 ms. A page decides how many it has."""

MAX_CHARACTERS = 20_000
"""More than the characters of any language. A page can have all of Unicode."""

# Each document has its own text, and none of it is in these elements.
_CHARACTERS = f"""
(() => {{
  const found = new Set();
  const nodes = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode() && found.size < {MAX_CHARACTERS}) {{
    const node = nodes.currentNode;
    if (/^[\\t\\n\\r -~]*$/.test(node.data) || node.parentNode.closest?.("script, style, template, noscript")) continue;
    for (const character of node.data) found.add(character);
  }}
  return [...found].slice(0, {MAX_CHARACTERS}).join("");
}})()
"""


async def missing_glyphs(pdf: Pdf, page: Cdp, frame_id: str) -> JobWarning | None:
    """Return the warning about characters that ``pdf`` shows as boxes; None if there are none.

    ``page`` still shows the document. It is asked for its characters only when there are boxes. Raises CdpError,
    ClosedError and OSError.
    """
    try:
        boxes = _find_boxes(pdf, MAX_BYTES_AT_ONCE)
    except TooLongError:
        boxes = await trio.to_thread.run_sync(_find_boxes, pdf, abandon_on_cancel=True)
    return None if boxes is None else warning_of(boxes, await _characters(page, frame_id))


def _find_boxes(pdf: Pdf, max_bytes: int = sys.maxsize) -> Boxes | None:
    if pdf.path is None:
        return find_boxes(pdf.data or b"", max_bytes=max_bytes)
    if max_bytes < pdf.size_bytes:  # the file may not be in memory
        raise TooLongError
    with pdf.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return find_boxes(mapped, max_bytes=max_bytes)


async def _characters(page: Cdp, frame_id: str) -> Collection[str]:
    """Return the characters of the page's text; none if the page does not tell."""
    try:
        world = await page.call("Page.createIsolatedWorld", frameId=frame_id, worldName=WORLD)
        answer = await page.call(
            "Runtime.evaluate", expression=_CHARACTERS, returnByValue=True, contextId=world["executionContextId"]
        )
    except CdpError:
        return ()
    return set(str(answer["result"].get("value", "")))

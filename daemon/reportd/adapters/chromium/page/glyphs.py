"""Looks for characters in a printed PDF that no font has."""

import mmap
import sys
from collections.abc import Collection

import trio

from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError
from reportd.core.jobs.warnings import JobWarning
from reportd.core.pages.glyphs import Boxes, find_boxes, warning_of
from reportd.core.pages.pdf_streams import TooLongError
from reportd.ports import Pdf

MAX_BYTES_AT_ONCE = 1024 * 1024
"""Text operators that are searched without a thread, which would take longer: 3 ms. A page decides how many it has."""

MAX_CHARACTERS = 20_000
"""More than the characters of any language. A page can have all of Unicode."""

# The page's text, less what is only in elements that are not printed. A walk through its nodes takes five times longer.
_CHARACTERS = f"""
(() => {{
  const count = (elements) => {{
    const counts = new Map();
    for (const element of elements) {{
      for (const each of element.textContent.match(/[^\\t\\n\\r -~]+/g)?.join("") ?? "") {{
        counts.set(each, (counts.get(each) ?? 0) + 1);
      }}
    }}
    return counts;
  }};
  const unprinted = count(document.querySelectorAll("script, style, noscript, title"));
  const found = [...count([document.documentElement])].filter(([each, times]) => times > (unprinted.get(each) ?? 0));
  return found.slice(0, {MAX_CHARACTERS}).map(([each]) => each).join("");
}})()
"""


async def missing_glyphs(pdf: Pdf, page: Cdp) -> JobWarning | None:
    """Return the warning about characters that ``pdf`` shows as boxes; None if there are none.

    ``page`` still shows the document. It is asked for its characters only when there are boxes. Raises CdpError,
    ClosedError and OSError.
    """
    try:
        boxes = _find_boxes(pdf, MAX_BYTES_AT_ONCE)
    except TooLongError:
        boxes = await trio.to_thread.run_sync(_find_boxes, pdf, abandon_on_cancel=True)
    return None if boxes is None else warning_of(boxes, await _characters(page))


def _find_boxes(pdf: Pdf, max_bytes: int = sys.maxsize) -> Boxes | None:
    if pdf.path is None:
        return find_boxes(pdf.data or b"", max_bytes=max_bytes)
    if max_bytes < pdf.size_bytes:  # the file may not be in memory
        raise TooLongError
    with pdf.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return find_boxes(mapped, max_bytes=max_bytes)


async def _characters(page: Cdp) -> Collection[str]:
    """Return the characters of the page's text; none if the page does not tell.

    The page's own scripts can change what it tells. A world of its own would take longer than the rest.
    """
    try:
        answer = await page.call("Runtime.evaluate", expression=_CHARACTERS, returnByValue=True)
    except CdpError:
        return ()
    return set(str(answer["result"].get("value", ""))[:MAX_CHARACTERS])

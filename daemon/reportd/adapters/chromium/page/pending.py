"""Finds out what a page still waited for when its time was up. Costs nothing before that.

The browser keeps no list of the requests under way that could be asked for later. But when loading is stopped, each of
them ends, and the page's timeline gets an entry for it: whatever asked for it, an element, a style sheet or a script.
"""

import json
from typing import Any

from reportd.adapters.chromium.page.ready import exception_text
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.pages.documents import shown
from reportd.core.text import cut
from reportd.ports import Ready

WORLD = "reportd-pending"
"""An isolated world: here the page's scripts can't have changed the functions."""

_NAMED = 3
_URL_CHARS = 120
_VALUE_CHARS = 60

# A frame that has not answered has no entry, only an address in its parent. Names are cut: a URL may have megabytes.
_STOP = """
(async () => {
  const frames = [];
  const entries = (frame) => frame.performance.getEntriesByType("resource");
  const key = (entry) => `${entry.startTime} ${entry.name}`;
  const walk = (frame) => {
    try {
      frames.push([frame, frame.performance.now(), new Set(entries(frame).map(key))]);
      frame.performance.setResourceTimingBufferSize(100000);
      for (let n = 0; n < Math.min(frame.length, 50); n++) walk(frame[n]);
    } catch {}
  };
  walk(window);
  window.stop();
  await new Promise((done) => setTimeout(done, 50));
  const found = [];
  for (const [frame, since, before] of frames) {
    const after = entries(frame).sort((one, other) => one.startTime - other.startTime);
    found.push(...after.filter((each) => each.startTime < since && !before.has(key(each))).map((each) => each.name));
    const known = new Set(after.map((each) => each.name));
    for (const child of frame.document.querySelectorAll("iframe[src], frame[src]")) {
      if (/^https?:/.test(child.src) && !known.has(child.src)) found.push(child.src);
    }
  }
  return found.slice(0, 200).map((url) => url.slice(0, 1000));
})()
"""


async def requests_under_way(page: Cdp, frame_id: str) -> str:
    """Stop loading. Return the URLs that were asked for and had not come, in words; empty if there were none.

    Raises CdpError and ClosedError.
    """
    world = await page.call("Page.createIsolatedWorld", frameId=frame_id, worldName=WORLD)
    answer = await page.call(
        "Runtime.evaluate",
        expression=_STOP,
        contextId=world["executionContextId"],
        awaitPromise=True,
        returnByValue=True,
    )
    urls = answer["result"].get("value")
    if not isinstance(urls, list):
        return ""
    # Not a picture in the page itself.
    names = list(dict.fromkeys(_line(shown(url), _URL_CHARS) for url in urls if not url.startswith(("data:", "blob:"))))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def evaluate(page: Cdp, ready: Ready) -> Answer | None:
    """Evaluate the expression that was waited for once more; None if it is no expression."""
    if ready.kind != "expression":
        return None
    return page.send("Runtime.evaluate", expression=ready.argument, silent=True, timeout=200)


def value_of(answer: dict[str, Any]) -> str:
    """Return the value of an expression in words."""
    if details := answer.get("exceptionDetails"):
        return f"it throws {_line(exception_text(details), _VALUE_CHARS)}"
    result = answer["result"]
    if "value" in result:  # as in JavaScript: "text", 0, true, null
        return _line(json.dumps(result["value"], ensure_ascii=False), _VALUE_CHARS)
    return _line(str(result.get("unserializableValue") or result.get("description") or result["type"]), _VALUE_CHARS)


def _line(text: str, chars: int) -> str:
    return cut(" ".join(text.split()), chars)

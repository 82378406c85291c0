"""Waits until a page may be printed. The condition is watched inside the page, never polled from outside. Fonts need no
condition: printing waits for those it needs.

The listener for an event is installed before the page opens, in an isolated world, where the page's own scripts can
neither see nor disturb it.
"""

import json
from typing import Any

from reportd.adapters.chromium.page import window
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.documents import without_secrets
from reportd.ports import Ready

WORLD = "reportd"

_READY = """
(async () => {
  if (document.readyState !== "complete") {
    await new Promise((done) => addEventListener("load", done, {once: true}));
  }
  %s
})()
"""

_UNTIL = """
await new Promise((done) => {
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    try {
      if (await (%s
      )) { observer.disconnect(); clearInterval(timer); done(); }
    } catch {} finally { looking = false; }
  };
  const observer = new MutationObserver(look);
  observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  const timer = setInterval(look, 50);
  look();
});
"""

_LISTEN = """
globalThis.reportdReady = new Promise((done) => addEventListener(%s, () => done(), {once: true, capture: true}));
"""

_WRITE = """
document.open();
%s
document.write(%s);
document.close();
"""


async def listen(page: Cdp, ready: Ready) -> None:
    """Install the event listener in the document that is opened next."""
    source = _LISTEN % json.dumps(ready.argument)
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=source, worldName=WORLD)


async def wait_for_event(page: Cdp, frame_id: str, ready: Ready, html: str | None) -> Answer:
    """Wait until the document is loaded and the event has come. ``html``, if given, is written here.

    Without ``html``, the event may have come at any time since ``listen``. Chromium's ``setDocumentContent`` can't be
    used with ``html``: it removes every listener and offers no moment to add one.
    """
    script = _READY % "await reportdReady;"
    if html is not None:
        script = _WRITE % (_LISTEN % json.dumps(ready.argument), json.dumps(html)) + script
    world = await page.call("Page.createIsolatedWorld", frameId=frame_id, worldName=WORLD)
    return page.send("Runtime.evaluate", expression=script, awaitPromise=True, contextId=world["executionContextId"])


def wait_until(page: Cdp, ready: Ready) -> Answer:
    """Return an answer that arrives when the present document is loaded and ready; pass it to ``judge``."""
    condition = ""
    if ready.kind == "selector":
        condition = _UNTIL % f"document.querySelector({json.dumps(ready.argument)})"
    elif ready.kind == "expression":
        condition = _UNTIL % ready.argument
    elif ready.kind == "page":
        condition = window.UNTIL_READY
    return page.send("Runtime.evaluate", expression=_READY % condition, awaitPromise=True)


def judge(answer: dict[str, Any]) -> None:
    """Raise FaultError when the condition itself failed."""
    if details := answer.get("exceptionDetails"):
        raise FaultError(FaultKind.SCRIPT_ERROR, f"the wait condition failed: {exception_text(details)}")


def exception_text(details: dict[str, Any]) -> str:
    """Return one line about a thrown value, which can be anything (CDP ``Runtime.ExceptionDetails``)."""
    thrown = details.get("exception", {})
    # It may be megabytes.
    text = str(thrown.get("description") or thrown.get("value") or details.get("text"))[:10000].strip()
    return without_secrets(text.splitlines()[0])[:300] if text else "no text"

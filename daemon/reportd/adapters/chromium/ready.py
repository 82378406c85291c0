"""When a page may be printed: conditions that are watched inside the page, never polled from outside.

An event is listened for before the page is opened, in an isolated world, where the page's own scripts can
neither see nor disturb the listener.
"""

import json
from collections.abc import Awaitable, Callable

from reportd.adapters.chromium.cdp import Cdp, CdpError
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import RenderRequest

ReadyWait = Callable[[], Awaitable[None]]

WORLD = "reportd"

# Fonts count as part of the page: printing before they are there prints in another one.
_FONTS = "document.fonts.ready.then(() => true)"

_UNTIL = """
new Promise((done) => {
  const look = async () => {
    let truthy = false;
    try { truthy = Boolean(await (%s)); } catch { truthy = false; }
    if (truthy) { observer.disconnect(); clearInterval(timer); done(true); }
  };
  const observer = new MutationObserver(look);
  observer.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  const timer = setInterval(look, 50);
  look();
}).then(() => %s)
"""

_LISTEN = """
globalThis.reportdReady = new Promise((done) => {
  addEventListener(%s, () => done(true), {once: true, capture: true});
});
"""


async def watch_ready(page: Cdp, frame_id: str, request: RenderRequest) -> ReadyWait:
    """Set up what has to be set up before the page is opened; the answer waits for the condition afterwards."""
    ready = request.options.ready
    if ready.kind == "selector":
        condition = f"document.querySelector({json.dumps(ready.argument)})"
        return _evaluation(page, _UNTIL % (condition, _FONTS))
    if ready.kind == "expression":
        return _evaluation(page, _UNTIL % (ready.argument, _FONTS))
    if ready.kind == "event":
        return await _event(page, frame_id, _LISTEN % json.dumps(ready.argument), fresh=request.url is not None)
    return _evaluation(page, _FONTS)


def _evaluation(page: Cdp, expression: str) -> ReadyWait:
    async def wait() -> None:
        await _evaluate(page, expression)

    return wait


async def _event(page: Cdp, frame_id: str, listen: str, *, fresh: bool) -> ReadyWait:
    """``fresh``: a new document is going to be opened, so the listener must be there when it begins."""
    script_id = None
    if fresh:
        added = await page.call("Page.addScriptToEvaluateOnNewDocument", source=listen, worldName=WORLD)
        script_id = added["identifier"]
    else:
        world = await page.call("Page.createIsolatedWorld", frameId=frame_id, worldName=WORLD)
        await page.call("Runtime.evaluate", expression=listen, contextId=world["executionContextId"])

    async def wait() -> None:
        if script_id is not None:
            await page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script_id)
        world = await page.call("Page.createIsolatedWorld", frameId=frame_id, worldName=WORLD)
        await _evaluate(page, f"reportdReady.then(() => {_FONTS})", world["executionContextId"])

    return wait


async def _evaluate(page: Cdp, expression: str, context_id: int | None = None) -> None:
    where = {} if context_id is None else {"contextId": context_id}
    try:
        answer = await page.call("Runtime.evaluate", expression=expression, awaitPromise=True, **where)
    except CdpError as error:
        # The document went away under the promise; if the page led elsewhere, that fault is already known.
        raise FaultError(FaultKind.NAVIGATED_AWAY, f"the page changed while it got ready: {error}") from error
    if details := answer.get("exceptionDetails"):
        text = details.get("exception", {}).get("description") or details.get("text", "")
        raise FaultError(FaultKind.SCRIPT_ERROR, f"the wait condition failed: {text[:300]}")

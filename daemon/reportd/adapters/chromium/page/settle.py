"""Waits until a page with scripts has drawn what it is drawing: charts that grow in, content that appears in view.

The hook is in the page before any script of its own. It notes when the page last asked for an animation frame and
whether it observes intersections; a page that does neither is not waited for.
"""

from dataclasses import dataclass
from typing import Any

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp

QUIET_MS = 100
"""A chart asks for a frame every 17 ms while it is drawn. It is finished when it has not asked for this long."""

DRAWING_MS = 3000
"""How long a drawing is waited for, unless the report type says ``ready = "stable"``: some pages never end."""

STABLE_MS = 300
"""How long nothing may change under ``ready = "stable"``."""

MAX_HEIGHT = 60000
"""Of a viewport, in CSS pixels: about 55 sheets of A4. A page that is higher is seen so far only."""

ASKING_MS = 10000
"""How long ``ready = "stable"`` waits for the answer to a request of a script: some are kept open for ever."""

HOOK = """
(() => {
  if (globalThis.__reportd) return;
  const state = {frame: -1e9, mutation: -1e9, observes: false};
  Object.defineProperty(globalThis, "__reportd", {value: state, configurable: false, enumerable: false});
  const ask = globalThis.requestAnimationFrame.bind(globalThis), now = performance.now.bind(performance);
  globalThis.requestAnimationFrame = function requestAnimationFrame(callback) {
    state.frame = now();
    return ask(callback);
  };
  const observe = IntersectionObserver.prototype.observe;
  IntersectionObserver.prototype.observe = function (target) {
    state.observes = true;
    return observe.call(this, target);
  };
  // What is asked for may change the page when it comes, unless it never does: a page that is kept up to date.
  const asked = new Set(), later = globalThis.setTimeout.bind(globalThis);
  const asking = (most) => { for (const since of asked) if (now() - since.at < most) return true; return false; };
  const fetch = globalThis.fetch.bind(globalThis), send = XMLHttpRequest.prototype.send;
  globalThis.fetch = function (...given) {
    const one = {at: now()};
    asked.add(one);
    // The page gets the promise that follows: so one that it does not catch is still uncaught.
    return Reflect.apply(fetch, globalThis, given).finally(() => asked.delete(one));
  };
  XMLHttpRequest.prototype.send = function (...given) {
    const one = {at: now()}, answer = Reflect.apply(send, this, given);
    if (this.readyState !== 4) {
      asked.add(one);
      this.addEventListener("loadend", () => asked.delete(one), {once: true});
    }
    return answer;
  };
  state.watch = () => {
    if (state.watching) return;
    state.watching = true;
    state.mutation = now();
    new MutationObserver(() => { state.mutation = now(); }).observe(
      document, {subtree: true, childList: true, attributes: true, characterData: true});
  };
  const pixels = () => {
    const small = new OffscreenCanvas(32, 32), pen = small.getContext("2d", {willReadFrequently: true});
    return [...document.querySelectorAll("canvas")].map((canvas) => {
      try {
        pen.clearRect(0, 0, 32, 32);
        if (canvas.width && canvas.height) pen.drawImage(canvas, 0, 0, 32, 32);
        return pen.getImageData(0, 0, 32, 32).data.join();
      } catch { return ""; }
    }).join("|");
  };
  const loading = () => [...document.images].some((image) => !image.complete) || document.fonts.status === "loading";
  state.settled = (quiet, most, strict) => new Promise((done) => {
    state.watch();
    const begun = now();
    let resources = performance.getEntriesByType("resource").length, painted = strict ? pixels() : "", changed = begun;
    const animating = () => strict && document.getAnimations().some(
      (each) => each.playState === "running" && Number.isFinite(each.effect?.getComputedTiming().endTime));
    const look = () => {
      const at = now();
      if (strict) {
        const more = performance.getEntriesByType("resource").length, pixelsNow = pixels();
        if (more !== resources || pixelsNow !== painted || loading() || animating() || asking(ASKING_MS)) changed = at;
        [resources, painted] = [more, pixelsNow];
        changed = Math.max(changed, state.mutation);
        if (at - changed >= quiet) return done();
      } else {
        const drawn = at - state.frame < quiet;
        const visible = document.querySelector("canvas") !== null || at - state.mutation < quiet;
        if (!drawn || !visible) return done();
      }
      if (at - begun >= most) return done();
      later(look, 20);
    };
    look();
  });
})()
""".replace("ASKING_MS", str(ASKING_MS))

_SETTLED = "globalThis.__reportd?.settled(%d, %s, %s)"

_VIEWS = """
({
  observes: globalThis.__reportd?.observes === true,
  lazy: [...document.images].some((image) => image.loading === "lazy" && !image.complete),
  height: Math.min(document.documentElement.scrollHeight, %d),
})
"""

_IN_VIEW = """
(async () => {
  const lazy = [...document.images].filter((image) => !image.complete && image.loading === "lazy");
  for (const image of lazy) image.loading = "eager";
  await new Promise((done) => setTimeout(done, 50));
  const begun = performance.now();
  while (performance.now() - begun < %d && [...document.images].some((image) => !image.complete)) {
    await new Promise((done) => setTimeout(done, 20));
  }
})()
"""


def install(page: Cdp) -> Answer:
    """Put the hook into the present document, and into those that are opened later."""
    return page.send("Page.addScriptToEvaluateOnNewDocument", source=HOOK, runImmediately=True)


def until_settled(page: Cdp, *, strict: bool, limited: bool = True) -> Answer:
    """Return an answer that comes when the page is drawn.

    ``strict``: when it has not changed for a moment, as ``ready = "stable"`` asks. ``limited``: after DRAWING_MS at the
    latest.
    """
    most = str(DRAWING_MS) if limited else "Infinity"
    expression = _SETTLED % (STABLE_MS if strict else QUIET_MS, most, "true" if strict else "false")
    return page.send("Runtime.evaluate", expression=expression, awaitPromise=True)


@dataclass(frozen=True, slots=True)
class Views:
    """Whether the page observes what is in view; whether it has images that load then; its height in CSS pixels."""

    observes: bool
    lazy: bool
    height: int


def look_for_views(page: Cdp) -> Answer:
    """Ask whether the page draws only what is in view, and how high it is (``views_of``)."""
    expression = _VIEWS % MAX_HEIGHT
    return page.send("Runtime.evaluate", expression=expression, returnByValue=True)


def views_of(answer: dict[str, Any]) -> Views:
    """Return what ``look_for_views`` found."""
    value = answer["result"].get("value") or {}
    height = value.get("height")
    found = int(height) if isinstance(height, int | float) and 0 < height <= MAX_HEIGHT else 0
    return Views(value.get("observes") is True, value.get("lazy") is True, found)


def until_in_view(page: Cdp) -> Answer:
    """Return an answer that comes when what came into view is loaded."""
    return page.send("Runtime.evaluate", expression=_IN_VIEW % DRAWING_MS, awaitPromise=True)

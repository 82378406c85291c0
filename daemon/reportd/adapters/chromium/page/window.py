"""What the daemon puts into the window of a page before any script of the page runs.

Only the main frame gets it, at the origin of the report's own URL: no other frame, and no other origin that the page
moves on to. A page from a template has no URL; its origin is opaque, and it moves nowhere.

What is injected is an ordinary value, as if the page had made it itself: a library may sort or wrap it. It ends with
its document, and each document has its own.
"""

import json
import re

import orjson

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.pages.heard import FAILED, MAX_SENT, PROGRESS
from reportd.core.pages.network import url_origin
from reportd.ports import RenderRequest

BINDING = "__reportdSays"
"""The function that sends a message to the daemon. A page's scripts can't reach it: a script of ours takes it away from
each window first. So what a page says is as much and as often as the functions of ``reportd`` let through.
"""

PAUSE_MS = 250
"""How often a page may say how far it is. The last value is sent in any case."""

_OWN = "if (window !== window.top || location.origin !== %s) return;"

_SPEAKS = """
(() => {
  const send = globalThis[BINDING];
  delete globalThis[BINDING];
  OWN
  if (!send || globalThis.__reportdReady) return;
  const later = setTimeout, text = String, cut = Function.prototype.call.bind(text.prototype.slice);
  let ready, failed = false, waiting = false, latest = -1, sent = -1;
  Object.defineProperty(globalThis, "__reportdReady", {value: new Promise((done) => { ready = () => done(); })});
  const tell = () => {
    if (waiting || latest === sent) return;
    waiting = true;
    sent = latest;
    send(PROGRESS + sent);
    later(() => { waiting = false; tell(); }, PAUSE_MS);
  };
  const words = (reason) => {
    try { return cut(text(reason?.message ?? reason ?? ""), 0, MAX_SENT); } catch { return ""; }
  };
  globalThis.reportd = Object.freeze({
    ready() { ready(); },
    fail(reason) {
      if (failed) return;
      failed = true;
      send(FAILED + words(reason));
    },
    progress(share) {
      if (typeof share !== "number" || !(share - share === 0)) return;
      latest = share < 0 ? 0 : share > 1 ? 1 : share;
      tell();
    },
  });
})()
"""

_INJECTS = (
    """
(() => {
  OWN
  Object.defineProperty(globalThis, NAME, {value: JSON.parse(
""",
    """
  ), writable: true, enumerable: true, configurable: true});
})()
""",
)

UNTIL_READY = """
await (globalThis.__reportdReady ?? Promise.reject(
  new Error("window.reportd is only in a page that is at the origin of the report type's url")));
"""
"""Waits until the page of this document has called ``reportd.ready()``."""


def is_its_own(request: RenderRequest, url: str) -> bool:
    """Return whether a document at this URL gets what the page of the request gets."""
    try:
        return request.url is None or url_origin(url) == url_origin(request.url)
    except ValueError:  # about:blank
        return False


def install(page: Cdp, request: RenderRequest) -> list[Answer]:
    """Send what the job's page is to find in its window; nothing for most jobs."""
    answers: list[Answer] = []
    if request.options.ready.kind == "page":
        answers.append(page.send("Runtime.addBinding", name=BINDING))
        answers.append(_before_scripts(page, request, _filled(_SPEAKS, request)))
    if request.options.inject:
        begin, end = (_filled(part, request) for part in _INJECTS)
        # JSON within JSON is a text of JavaScript, whatever it holds, and its parser makes no prototype of __proto__.
        answers.append(_before_scripts(page, request, begin + orjson.dumps(_job_text(request)).decode() + end))
    return answers


def _job_text(request: RenderRequest) -> str:
    """Return what the page is told of its job, as JSON. The parameters are JSON already."""
    options = request.options
    about = {"locale": options.locale or None, "timezone": options.timezone or None, "taskId": request.task_id}
    return f'{{"parameters":{request.parameters},{orjson.dumps(about).decode()[1:]}'


def _before_scripts(page: Cdp, request: RenderRequest, source: str) -> Answer:
    # A template is written into the present document; a URL opens another one.
    present = request.url is None
    return page.send("Page.addScriptToEvaluateOnNewDocument", source=source, runImmediately=present)


def _filled(script: str, request: RenderRequest) -> str:
    origin = "null" if request.url is None else url_origin(request.url)
    values = {"BINDING": json.dumps(BINDING), "FAILED": json.dumps(FAILED), "PROGRESS": json.dumps(PROGRESS)}
    values |= {"NAME": json.dumps(request.options.inject)}
    values |= {"PAUSE_MS": str(PAUSE_MS), "MAX_SENT": str(MAX_SENT), "OWN": _OWN % json.dumps(origin)}
    # In one go: what one word stands for may have another one in it, as inject = "DOWNLOAD" has OWN.
    return re.sub("|".join(values), lambda word: values[word[0]], script)

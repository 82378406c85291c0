"""Looks at a page just before it is printed: what is missing and what does not fit.

One script does it all, and is sent together with the print command, so that it costs no round trip. It also jumps CSS
animations and transitions to their end: a heading that fades in would be printed half visible.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages.documents import shown
from reportd.ports import Ready

NOTHING_PAINTED = "nothing is painted on any of its pages"
MAX_LISTED = 50
MAX_BROKEN = 200
"""Characters of the browser's own words about a document that it could not read."""

_SHEET = """
{
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(%s);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}
"""

_SCRIPT = """
(() => {
  const root = document.documentElement, wanted = %s, out = {};
  if (!root) return {blank: true};
  for (const each of document.getAnimations?.() ?? []) {
    try {
      if (each.playState !== "paused" && each.timeline === document.timeline) each.finish();
    } catch {}  // it never ends
  }
  if (wanted.page) %s
  const body = document.body ?? root;
  out.width = Math.max(root.scrollWidth, body.scrollWidth);
  out.client = root.clientWidth;
  if (wanted.height) {
    // The body itself may be as high as the window. What it contains is not.
    const content = document.createRange(), style = getComputedStyle(body);
    content.selectNodeContents(body);
    const below = (parseFloat(style.paddingBottom) || 0) + (parseFloat(style.marginBottom) || 0);
    out.height = Math.ceil(content.getBoundingClientRect().bottom + scrollY + below);
  }
  out.fonts = [...document.fonts].filter((face) => face.status === "error").map((face) => face.family).slice(0, %d);
  out.images = [...document.images].filter((image) => image.complete && !image.naturalWidth && image.currentSrc &&
    !image.currentSrc.startsWith("data:image/svg")).map((image) => image.currentSrc.slice(0, 2000)).slice(0, %d);
  if (document.contentType !== "text/html") {
    out.broken = document.querySelector("parsererror > div")?.textContent.trim().slice(0, %d);
  }
  out.relative = [];
  if (document.baseURI === "about:blank") {
    const parts = "img[src],script[src],link[rel~=stylesheet][href],iframe[src],source[src],video[src],embed[src]";
    for (const part of document.querySelectorAll(parts)) {
      const address = part.getAttribute("src") ?? part.getAttribute("href");
      if (address && !URL.canParse(address)) out.relative.push(address.slice(0, 300));
      if (out.relative.length >= %d) break;
    }
  }
  if (wanted.expect) {
    const text = wanted.expect.argument.replace(/\\s+/g, " ");
    out.expected = wanted.expect.kind === "selector" ? document.querySelector(wanted.expect.argument) !== null
      : (body.innerText ?? body.textContent).replace(/\\s+/g, " ").includes(text);
  }
  if (wanted.visible) {
    const nodes = document.createTreeWalker(body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    const shows = (node) => node.nodeType === Node.TEXT_NODE
      ? node.data.trim() !== "" && !/^(script|style|noscript|template)$/i.test(node.parentElement?.localName ?? "") &&
        node.parentElement?.checkVisibility({opacityProperty: true, visibilityProperty: true})
      : /^(img|svg|canvas|video|hr|input|table)$/i.test(node.localName) && node.checkVisibility?.() !== false;
    let node = nodes.nextNode();
    while (node && !shows(node)) node = nodes.nextNode();
    out.blank = !node;
  }
  return out;
})()
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for. ``page``: a style sheet to add. ``height``, ``visible``: whether these are to be found out."""

    expect: Ready | None = None
    page: str = ""
    height: bool = False
    visible: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """``width``: of the content, ``client``: of the viewport, ``height``: of the content, in CSS pixels.

    ``fonts``: families that failed. ``images``: URLs of images that can't be shown. ``relative``: addresses without a
    base. ``broken``: why the browser could not read XML to its end; empty if it could.
    """

    width: int = 0
    client: int = 0
    height: int = 0
    fonts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    relative: tuple[str, ...] = ()
    broken: str = ""
    expected: bool = True
    blank: bool = False


def inspect(page: Cdp, wanted: Wanted) -> Answer:
    """Send the script; pass its answer to ``found``."""
    return page.send("Runtime.evaluate", expression=_script(wanted), returnByValue=True)


@lru_cache(maxsize=1024)
def _script(wanted: Wanted) -> str:
    expect = None if wanted.expect is None else {"kind": wanted.expect.kind, "argument": wanted.expect.argument}
    given = {"page": wanted.page, "expect": expect, "height": wanted.height, "visible": wanted.visible}
    script = _SCRIPT % (json.dumps(given), _SHEET % "wanted.page", MAX_LISTED, MAX_LISTED, MAX_BROKEN, MAX_LISTED)
    return re.sub(r"\n\s+", "\n", script)


def add_sheet(page: Cdp, sheet: str) -> None:
    """Add a style sheet to the document."""
    page.send("Runtime.evaluate", expression=_SHEET % json.dumps(sheet))


def remove_sheets(page: Cdp) -> None:
    """Remove all that was added: a document keeps it when its content is replaced."""
    page.send("Runtime.evaluate", expression="document.adoptedStyleSheets = []")


def fault_of(found: Inspection, expect: Ready | None) -> Fault | None:
    """Return why the document is not the report; None if it may be."""
    if found.broken:
        return Fault(FaultKind.NOT_A_REPORT, f"the document is XML that is not well-formed: {found.broken}")
    if expect is not None and not found.expected:
        return Fault(FaultKind.EXPECTATION_FAILED, f"the printed document has no {expect.kind} {expect.argument}")
    return Fault(FaultKind.NOT_A_REPORT, NOTHING_PAINTED) if found.blank else None


def lacks(found: Inspection, limit_px: int, known: Collection[JobWarning]) -> Iterator[tuple[WarningKind, str, str]]:
    """Yield kind, what and why of all that the document lacks. ``limit_px``: the widest content that fits the paper.

    ``known``: warnings so far; a resource that has one gets no second one.
    """
    named = {warning.what for warning in known}
    for family in found.fonts:
        yield WarningKind.FONTS, family.strip("\"'"), "could not be loaded"
    for url in found.images:
        if shown(url) not in named:
            yield WarningKind.RESOURCES, shown(url), "is no image that can be shown"
    for address in found.relative:
        yield WarningKind.RESOURCES, address, "could not be loaded: a template has no address that it is relative to"
    if found.width > max(found.client, limit_px):
        why = f"the content is {found.width} px wide, and {limit_px} px fit the paper"
        yield WarningKind.CLIPPED, f"{1 - limit_px / found.width:.0%} of the width", why


def found(answer: dict[str, Any]) -> Inspection:
    """Return what the script found. The page's own scripts can change what it sees, so no value is trusted."""
    value = answer.get("result", {}).get("value")
    if not isinstance(value, dict):
        return Inspection()
    return Inspection(
        width=_number(value.get("width")),
        client=_number(value.get("client")),
        height=_number(value.get("height")),
        fonts=_texts(value.get("fonts")),
        images=_texts(value.get("images")),
        relative=_texts(value.get("relative")),
        broken=str(value.get("broken") or "")[:MAX_BROKEN],
        expected=value.get("expected") is not False,
        blank=value.get("blank") is True,
    )


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 31 else 0


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value[:MAX_LISTED]) if isinstance(value, list) else ()

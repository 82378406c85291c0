"""Looks at a page just before it is printed: what is missing and what does not fit.

One script does it all, and is sent together with the print command, so that it costs no round trip. It also jumps CSS
animations and transitions to their end: a heading that fades in would be printed half visible.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages.blank import blank_fault
from reportd.core.pages.documents import shown
from reportd.core.pages.pdf_metadata import MAX_TEXT, Metadata
from reportd.ports import Ready

MAX_LISTED = 50
MAX_BROKEN = 200
"""Characters of the browser's own words about a document that it could not read."""

MAX_BOXES = 1000
"""Boxes that are looked at whether they scroll: a scrolling one is among the outer ones of a page."""

BOX_PX = 4
"""A box may be so much smaller than its content before something is missing: line heights and borders are rounded."""

END_SECONDS = 3600
"""An animation of an SVG is over by then."""

_MOST = {
    "listed": MAX_LISTED,
    "broken": MAX_BROKEN,
    "boxes": MAX_BOXES,
    "slack": BOX_PX,
    "seconds": END_SECONDS,
    "said": MAX_TEXT,
}

_SHEET = """
{
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(%s);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}
"""

_SCRIPT = """
(() => {
  const root = document.documentElement, wanted = %s, most = %s, out = {};
  if (!root) return {blank: true};
  for (const each of document.getAnimations?.() ?? []) {
    try {
      if (each.timeline !== document.timeline) each.cancel();  // it follows its reader's scrolling
      else if (each.playState !== "paused") each.finish();
    } catch {}  // it never ends
  }
  for (const part of document.querySelectorAll("animate, animateTransform, animateMotion, set")) {
    part.ownerSVGElement?.setCurrentTime(most.seconds);
  }
  if (wanted.page) %s
  const body = document.body ?? root;
  out.width = Math.max(root.scrollWidth, body.scrollWidth);
  out.client = root.clientWidth;
  out.rtl = [root, body].some((each) => getComputedStyle(each).direction === "rtl");
  out.boxes = [];
  const scrolls = (side, shown, all, overflow) => {
    if (all > shown + most.slack && /auto|scroll/.test(overflow)) out.boxes.push({side, shown, all});
  };
  let looked = 0;
  for (const box of body.querySelectorAll("div, main, section, article, pre")) {
    if ((looked += 1) > most.boxes || out.boxes.length >= most.listed) break;
    if (box.scrollWidth === box.clientWidth && box.scrollHeight === box.clientHeight) continue;
    const {overflowX, overflowY} = getComputedStyle(box);
    scrolls("width", box.clientWidth, box.scrollWidth, overflowX);
    scrolls("height", box.clientHeight, box.scrollHeight, overflowY);
  }
  if (wanted.height) {
    // The body itself may be as high as the window. What it contains is not.
    const content = document.createRange(), style = getComputedStyle(body);
    content.selectNodeContents(body);
    const below = (parseFloat(style.paddingBottom) || 0) + (parseFloat(style.marginBottom) || 0);
    out.height = Math.ceil(content.getBoundingClientRect().bottom + scrollY + below);
  }
  const said = (name) => document.querySelector(`meta[name=${name} i]`)?.content?.slice(0, most.said) ?? "";
  out.metadata = [said("author"), said("description"), said("keywords"), (root.lang ?? "").slice(0, most.said)];
  const listed = (items) => [...items].slice(0, most.listed);
  out.fonts = listed([...document.fonts].filter((face) => face.status === "error").map((face) => face.family));
  const broken = [...document.images].filter((image) => image.complete && !image.naturalWidth && image.currentSrc &&
    (image.width > 1 || image.height > 1) &&
    !image.currentSrc.startsWith("data:image/svg"));
  out.images = listed(broken.map((image) => image.currentSrc.slice(0, 2000)));
  // A style sheet of another media type is not used, and nothing is logged: a login form in place of it, for example.
  out.sheets = listed([...document.styleSheets].filter((sheet) => {
    try {
      if (!sheet.href || sheet.cssRules.length) return false;
    } catch { return false; }  // it is of another origin
    const type = performance.getEntriesByName(sheet.href, "resource")[0]?.contentType;
    return type && type !== "text/css";
  }).map((sheet) => sheet.href.slice(0, 2000)));
  if (document.contentType !== "text/html") {
    out.broken = document.querySelector("parsererror > div")?.textContent.trim().slice(0, most.broken);
  }
  out.relative = [];
  if (document.baseURI === "about:blank") {
    const add = (address) => {
      if (out.relative.length < most.listed && address && !address.startsWith("#") && !URL.canParse(address)) {
        out.relative.push(address.slice(0, 300));
      }
    };
    const parts = "img[src],script[src],link[rel~=stylesheet][href],iframe[src],source[src],video[src],embed[src]";
    for (const part of document.querySelectorAll(parts)) add(part.getAttribute("src") ?? part.getAttribute("href"));
    const style = ({cssText}) => {
      for (const [, address] of cssText.matchAll(/url\\("([^"]*)"\\)/g)) add(address);
    };
    const uses = (rule) => {
      if (rule.media && !matchMedia(rule.media.mediaText).matches) return;
      const selector = rule.selectorText?.replaceAll(/::[-a-z]+/g, "");
      if (rule.style && selector && document.querySelector(selector)) style(rule.style);
      for (const each of rule.cssRules ?? []) uses(each);
    };
    for (const sheet of document.styleSheets) {
      try {
        for (const rule of sheet.cssRules) uses(rule);
      } catch {}  // it is of another origin, or has a selector that only it knows
    }
    for (const part of document.querySelectorAll("[style*='url(']")) style(part.style);
  }
  if (wanted.expect) {
    const text = wanted.expect.argument.replace(/\\s+/g, " ");
    out.expected = wanted.expect.kind === "selector" ? document.querySelector(wanted.expect.argument) !== null
      : (body.innerText ?? body.textContent).replace(/\\s+/g, " ").includes(text);
  }
  if (wanted.visible) {
    const nodes = document.createTreeWalker(body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    const styled = (node) => [undefined, "::before", "::after"].some((pseudo) => {
      const style = getComputedStyle(node, pseudo);
      if (pseudo) return /["(]/.test(style.content);
      const unseen = /^(rgba\\(.*, 0\\)|rgb\\(255, 255, 255\\))$/.test(style.backgroundColor);
      return style.backgroundImage !== "none" || !unseen ||
        /[1-9]/.test(style.borderWidth) || style.boxShadow !== "none";
    });
    // What is in a frame or a closed shadow can't be seen from here. It counts when it takes up room.
    const paints = (node) => /^(img|svg|canvas|video|hr|input|table)$/i.test(node.localName) ||
      ((/^(iframe|frame|object|embed)$|-/i.test(node.localName) || node.shadowRoot || styled(node)) &&
        node.getBoundingClientRect().height > 0);
    const shows = (node) => node.nodeType === Node.TEXT_NODE
      ? node.data.trim() !== "" && !/^(script|style|noscript|template)$/i.test(node.parentElement?.localName ?? "") &&
        node.parentElement?.checkVisibility({opacityProperty: true, visibilityProperty: true})
      : paints(node) && node.checkVisibility?.() !== false;
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
class ScrollingBox:
    """A box that shows only a part of its content, in CSS pixels of its ``side``: width or height."""

    side: str
    shown: int
    all: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """``width``: of the content, ``client``: of the viewport, ``height``: of the content, in CSS pixels.

    ``fonts``: families that failed. ``images``: URLs of images that can't be shown. ``sheets``: URLs of what is no
    style sheet. ``relative``: addresses without a base. ``rtl``: the text runs from right to left. ``boxes``: those
    that scroll. ``metadata``: what the document says about itself. ``broken``: why the browser could not read XML to
    its end; empty if it could.
    """

    width: int = 0
    client: int = 0
    height: int = 0
    fonts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()
    relative: tuple[str, ...] = ()
    rtl: bool = False
    boxes: tuple[ScrollingBox, ...] = ()
    broken: str = ""
    expected: bool = True
    blank: bool = False
    metadata: Metadata = field(default_factory=Metadata)


def inspect(page: Cdp, wanted: Wanted) -> Answer:
    """Send the script; pass its answer to ``found``."""
    return page.send("Runtime.evaluate", expression=_script(wanted), returnByValue=True)


@lru_cache(maxsize=1024)
def _script(wanted: Wanted) -> str:
    expect = None if wanted.expect is None else {"kind": wanted.expect.kind, "argument": wanted.expect.argument}
    given = {"page": wanted.page, "expect": expect, "height": wanted.height, "visible": wanted.visible}
    script = _SCRIPT % (json.dumps(given), json.dumps(_MOST), _SHEET % "wanted.page")
    return re.sub(r"\n\s+", "\n", script)


def add_sheet(page: Cdp, sheet: str) -> None:
    """Add a style sheet to the document."""
    page.send("Runtime.evaluate", expression=_SHEET % json.dumps(sheet))


def remove_sheets(page: Cdp) -> None:
    """Remove all that was added: a document keeps it when its content is replaced."""
    page.send("Runtime.evaluate", expression="document.adoptedStyleSheets = []")


def fault_of(found: Inspection, expect: Ready | None, known: Collection[JobWarning]) -> Fault | None:
    """Return why the document is not the report; None if it may be. ``known``: warnings so far."""
    if found.broken:
        return Fault(FaultKind.NOT_A_REPORT, f"the document is XML that is not well-formed: {found.broken}")
    if expect is not None and not found.expected:
        return Fault(FaultKind.EXPECTATION_FAILED, f"the printed document has no {expect.kind} {expect.argument}")
    return blank_fault(known) if found.blank else None


def lacks(found: Inspection, limit_px: int, known: Collection[JobWarning]) -> Iterator[tuple[WarningKind, str, str]]:
    """Yield kind, what and why of all that the document lacks. ``limit_px``: the widest content that fits the paper.

    ``known``: warnings so far; a resource that has one gets no second one.
    """
    named = {warning.what for warning in known}
    # A font that failed by its address has its warning. Its family would be a second one.
    fonts = () if any(warning.kind is WarningKind.FONTS for warning in known) else found.fonts
    for family in fonts:
        yield WarningKind.FONTS, family.strip("\"'"), "could not be loaded"
    for url in found.images:
        if shown(url) not in named:
            yield WarningKind.RESOURCES, shown(url), "is no image that can be shown"
    for url in found.sheets:
        if shown(url) not in named:
            yield WarningKind.RESOURCES, shown(url), "is no style sheet"
    for address in found.relative:
        why = "could not be loaded: a template has no address that it is relative to"
        yield WarningKind.RESOURCES, shown(address), why
    if found.width > max(found.client, limit_px):
        why = f"the content is {found.width} px wide, and {limit_px} px fit the paper"
        yield WarningKind.CLIPPED, f"{1 - limit_px / found.width:.0%} of the width", why
    for box in found.boxes:
        why = f"a box that scrolls shows {box.shown} px of {box.all} px"
        yield WarningKind.CLIPPED, f"{1 - box.shown / box.all:.0%} of the {box.side}", why


def found(answer: dict[str, Any]) -> Inspection:
    """Return what the script found. The page's own scripts can change what it sees, so no value is trusted."""
    value = answer.get("result", {}).get("value")
    if not isinstance(value, dict):  # the script has failed, so nothing was found that was to be there
        return Inspection(expected=False)
    return Inspection(
        width=_number(value.get("width")),
        client=_number(value.get("client")),
        height=_number(value.get("height")),
        fonts=_texts(value.get("fonts")),
        images=_texts(value.get("images")),
        sheets=_texts(value.get("sheets")),
        relative=_texts(value.get("relative")),
        rtl=value.get("rtl") is True,
        boxes=_boxes(value.get("boxes")),
        broken=str(value.get("broken") or "")[:MAX_BROKEN],
        expected=value.get("expected") is not False,
        blank=value.get("blank") is True,
        metadata=_metadata(_texts(value.get("metadata"))),
    )


def _metadata(said: tuple[str, ...]) -> Metadata:
    return Metadata(*said) if len(said) == len(fields(Metadata)) else Metadata()


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 31 else 0


def _boxes(value: object) -> tuple[ScrollingBox, ...]:
    given = value[:MAX_LISTED] if isinstance(value, list) else []
    return tuple(_box(each) for each in given if isinstance(each, dict))


def _box(given: dict[str, Any]) -> ScrollingBox:
    side = "height" if given.get("side") == "height" else "width"
    return ScrollingBox(side, _number(given.get("shown")), max(1, _number(given.get("all"))))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value[:MAX_LISTED]) if isinstance(value, list) else ()

"""How a page of a report type gets the parameters of its job: in its URL, as a POST, or in its window.

Called by ``report_types``.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator

from reportd.config.section import Accepts, Conflict

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")

_NAMES = """
window document location top undefined NaN Infinity reportd

globalThis self parent frames opener name origin status closed length event external history navigator screen
performance crypto caches indexedDB localStorage sessionStorage customElements visualViewport console

AggregateError Array ArrayBuffer Atomics BigInt BigInt64Array BigUint64Array Boolean DataView Date Error EvalError
FinalizationRegistry Float32Array Float64Array Function Int16Array Int32Array Int8Array Intl Iterator JSON Map Math
Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set SharedArrayBuffer String Symbol SyntaxError
TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet WebAssembly
decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval isFinite isNaN parseFloat parseInt unescape

addEventListener removeEventListener dispatchEvent postMessage setTimeout clearTimeout setInterval clearInterval
queueMicrotask requestAnimationFrame cancelAnimationFrame requestIdleCallback structuredClone fetch matchMedia
getComputedStyle getSelection open close stop print alert confirm prompt

CSS DOMParser Document Element Event EventTarget FontFace HTMLElement Image IntersectionObserver MutationObserver
Node NodeFilter Range ResizeObserver SVGElement URL URLSearchParams Window Worker XMLHttpRequest
"""
_TAKEN = frozenset(_NAMES.split())
"""Names of a window that can't be used. The browser keeps the first seven, and ``reportd`` has the page's functions.
Without the others the scripts of the page fail, or ours.
"""


def _name(text: str) -> str:
    if text and not _NAME.fullmatch(text):
        raise ValueError("is no name of JavaScript")
    if text in _TAKEN or text.startswith("__reportd"):
        raise ValueError("is a name that the window of a page has already")
    return text


Method = Literal["GET", "POST"]
BodyForm = Literal["json", "form"]
InjectedName = Annotated[
    str,
    Accepts("a name of up to 64 letters, digits, _ and $, e.g. REPORT, that is not a window's own, or nothing"),
    AfterValidator(_name),
]


def method_conflicts(method: str, body: str, url: str) -> Iterator[Conflict]:
    """Yield what is wrong with the method and the body, for a report type with this URL."""
    if method == "POST" and not url:
        text = "is POST, but a template's page is asked of no server; accepted: POST for a url"
        yield Conflict(("method", "url"), text)
    if method == "POST" and "{params}" in url:
        text = "is POST, which sends the parameters, but url has {params}; accepted: POST, or {params} and GET"
        yield Conflict(("method", "url"), text)
    if body == "form" and method != "POST":
        yield Conflict(("body", "method"), 'is set, but only a POST has a body; accepted: method = "POST"')

"""Collects what an engineer would look at after a failed render, for report types that want it."""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

import trio

from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError
from reportd.core.jobs.warnings import JobWarning, WarningKind

SCREENSHOT_SECONDS = 0.9
"""How long a page may take for its screenshot. One whose scripts never pause may not give any."""

QUALITY = 60
_MAX_WIDTH, _MAX_HEIGHT = 1600, 2400
"""Of a screenshot, in pixels. So even one of noise fits a message of the protocol."""

_MAX_VALUES = 10
"""The values of a console line that are told: a call may have thousands."""

_REQUESTS = frozenset({WarningKind.RESOURCES, WarningKind.FONTS})


async def screenshot(page: Cdp, width: int, height: int, scale: float) -> bytes:
    """Return the upper left of the page as a JPEG with one pixel per CSS pixel; empty if the page gives none in time.

    ``width`` and ``height`` of the window in CSS pixels; ``scale``: device pixels per CSS pixel.
    """
    clip = {"x": 0, "y": 0, "width": min(width, _MAX_WIDTH), "height": min(height, _MAX_HEIGHT), "scale": 1 / scale}
    try:
        with trio.move_on_after(SCREENSHOT_SECONDS):
            answer = await page.call("Page.captureScreenshot", format="jpeg", quality=QUALITY, clip=clip)
            return base64.b64decode(answer["data"])
    except (CdpError, ClosedError):
        pass
    return b""


def words(event: dict[str, Any]) -> Iterator[str]:
    """Return what a call of the console was given, a word for each value (CDP ``Runtime.consoleAPICalled``)."""
    for value in event["args"][:_MAX_VALUES]:
        if "value" in value:  # as in JavaScript: text, 0, true, null
            yield value["value"] if isinstance(value["value"], str) else json.dumps(value["value"])
        else:
            yield str(value.get("unserializableValue") or value.get("description") or value["type"])


def failed_requests(warnings: Iterable[JobWarning]) -> tuple[str, ...]:
    """Return the requests that failed, and why."""
    return tuple(
        f"{warning.what} {warning.why}" + (f" ({warning.count} times)" if warning.count > 1 else "")
        for warning in warnings
        if warning.kind in _REQUESTS
    )

"""Answers what a template's page asks for of the template's own files. Nothing of it reaches the network.

Each answer is made here, without a cookie, a policy or a redirect. So a page without scripts leaves nothing behind, and
stays in use for the next job.
"""

import base64
from typing import Any

import trio

from reportd.adapters.chromium.page.interception import Pattern, Take
from reportd.adapters.chromium.page.monitor import PageMonitor
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.assets import ORIGIN, AssetNameError, base_url, media_type, name_in
from reportd.ports import Assets

OWN_FILES = f"{ORIGIN}/*"

MAX_FACES = 40

PIECE = 3 * 2**18
"""Bytes that are encoded at once, in about 5 ms; a multiple of three, so that no piece is padded."""

# The browser loads a font when it lays out text of it, but that of margin boxes only when it prints, too late for this
# print. A font for a part of Unicode is one of many, so it is left to the browser.
_LOAD_FONTS = f"""
(async () => {{
  document.documentElement?.offsetWidth;  // before a layout the fonts of style sheets are not listed
  const wanted = (face) => face.status !== "loaded" && /^U\\+0-10FFFF$/i.test(face.unicodeRange);
  await Promise.all([...document.fonts].filter(wanted).slice(0, {MAX_FACES}).map((face) => face.load().catch(() => 0)));
}})()
"""

_HEADERS = {
    # The page has no origin of its own, so its fonts and scripts are asked for from another one.
    "Access-Control-Allow-Origin": "*",
    # Another job's page must not find it in the browser's memory.
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def fonts_loaded(page: Cdp) -> Answer:
    """Return an answer that comes when the fonts of margin boxes are there, too."""
    return page.send("Runtime.evaluate", expression=_LOAD_FONTS, awaitPromise=True)


class AssetServer:
    """Serves the files of one job's page. ``max_bytes``: of all answers together."""

    def __init__(self, page: Cdp, assets: Assets, monitor: PageMonitor, max_bytes: int) -> None:
        self._page = page
        self._assets = assets
        self._monitor = monitor
        self._left_bytes = self._max_bytes = max_bytes
        self._base = base_url(assets.edition)

    def part(self, nursery: trio.Nursery) -> tuple[Pattern, Take]:
        """Return what takes the requests of the page for these files. It answers them in ``nursery``."""

        def take(event: dict[str, Any]) -> bool:
            if not event["request"]["url"].startswith(f"{ORIGIN}/"):
                return False
            nursery.start_soon(self._answer, event["requestId"], event["request"]["url"])
            return True

        return OWN_FILES, take

    async def _answer(self, request_id: str, url: str) -> None:
        try:
            name = name_in(url, self._base)
            data = await self._assets.find(name)
        except AssetNameError as error:
            shown = url.removeprefix(self._base).removeprefix(ORIGIN).partition("?")[0][:200]
            self._fail(request_id, FaultKind.TEMPLATE_ERROR, f"{self._assets.template}: {shown} {error}")
            return
        except FaultError as error:
            self._fail(request_id, error.fault.kind, error.fault.detail)
            return
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._fail(request_id, FaultKind.PAGE_TOO_LARGE, f"the page loaded more than {self._max_bytes} bytes")
            return
        headers = {"Content-Type": media_type(name) or "application/octet-stream", **_HEADERS}
        self._page.send(
            "Fetch.fulfillRequest",
            requestId=request_id,
            responseCode=200,
            responseHeaders=[{"name": header, "value": value} for header, value in headers.items()],
            body=await _base64(data),
        )

    def _fail(self, request_id: str, kind: FaultKind, detail: str) -> None:
        self._page.send("Fetch.failRequest", requestId=request_id, errorReason="Failed")
        self._monitor.fail(kind, detail)


async def _base64(data: bytes) -> str:
    """Encode a file. At once, one of 8 MiB would hold the loop for up to a tenth of a second."""
    parts = []
    for start in range(0, len(data), PIECE):
        parts.append(base64.b64encode(data[start : start + PIECE]))
        await trio.lowlevel.checkpoint()
    return b"".join(parts).decode()

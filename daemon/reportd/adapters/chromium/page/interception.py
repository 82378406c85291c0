"""The requests of a page that its job answers or changes (the CDP domain ``Fetch``).

A page has one interception: its parts name the URLs that they care for, and the first one that takes a request has it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp

Pattern = str | Mapping[str, str]
"""A pattern of URLs, or a CDP ``Fetch.RequestPattern``."""

Take = Callable[[dict[str, Any]], bool]
"""Gets the event of a paused request. Returns whether it has answered or continued it, or will do so."""


class Interception:
    """The paused requests of a page. ``use`` says for each job who takes them."""

    def __init__(self, page: Cdp) -> None:
        self._page = page
        self._parts: list[tuple[Pattern, Take]] = []
        page.on("Fetch.requestPaused", self._on_paused)

    @property
    def in_use(self) -> bool:
        """Whether the present job has parts."""
        return bool(self._parts)

    def use(self, *parts: tuple[Pattern, Take]) -> list[Answer]:
        """Give the requests of the patterns to these parts, in this order, and to no other.

        A page that had no parts and gets none costs nothing.
        """
        before, self._parts = self._parts, list(parts)
        if parts:
            patterns = [{"urlPattern": each} if isinstance(each, str) else dict(each) for each, _ in parts]
            return [self._page.send("Fetch.enable", patterns=patterns)]
        return [self._page.send("Fetch.disable")] if before else []

    def _on_paused(self, event: dict[str, Any]) -> None:
        if not self._parts:  # it was asked for by the job before
            self._page.send("Fetch.failRequest", requestId=event["requestId"], errorReason="Aborted")
        elif not any(take(event) for _, take in self._parts):
            self._page.send("Fetch.continueRequest", requestId=event["requestId"])

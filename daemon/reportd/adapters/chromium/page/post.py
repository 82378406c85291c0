"""Sends the parameters of a job as the body of its main request.

The protocol can open a page by GET only. So the request is paused, and continued as a POST with the body.
"""

import base64
from collections.abc import Collection, Mapping
from typing import Any

from reportd.adapters.chromium.page.headers import OwnHeaders, merged
from reportd.adapters.chromium.page.interception import Pattern, Take
from reportd.adapters.chromium.page.monitor import PageMonitor
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.core.faults import FaultKind
from reportd.core.pages.documents import is_folder, lists, same_place, shown
from reportd.core.pages.network import url_origin
from reportd.core.pages.post import Body

DOCUMENTS: Mapping[str, str] = {"urlPattern": "*", "resourceType": "Document"}


class MainRequest:
    """The requests for the document of the main frame ``frame_id``, which is to be the report at ``url``.

    Whenever the page is asked for at its own address, it gets the body: also when it reloads or refreshes itself. A
    redirect that repeats the POST (307, 308) at another origin fails the job: the parameters are not for it. Any other
    redirect makes a GET of it, without the body, as it does in any browser. From http to https, or to the same path
    with or without a slash at its end, that is a mistake: the page would be printed without its parameters. So it fails
    the job, unless ``allowed`` names it.
    """

    def __init__(
        self,
        body: Body,
        url: str,
        frame_id: str,
        headers: OwnHeaders | None,
        monitor: PageMonitor,
        allowed: bool | Collection[str] = False,
    ) -> None:
        self._content = base64.b64encode(body.content).decode()
        self._type = {"Content-Type": body.media_type}
        self._url = url
        self._origin = url_origin(url)
        self._frame_id = frame_id
        self._headers = headers
        self._monitor = monitor
        self._allowed = allowed
        self._posted: set[str] = set()
        """The paused requests that have the body."""

    def part(self, page: Cdp) -> tuple[Pattern, Take]:
        """Return what takes the main requests of ``page`` that get the body, or must not get it."""

        def take(event: dict[str, Any]) -> bool:
            request = event["request"]
            if event["frameId"] != self._frame_id or event["resourceType"] != "Document":
                return False
            if request["method"] == "GET" and not event.get("redirectedRequestId") and self._is_own(request["url"]):
                present = request["headers"]
                self._posted.add(event["requestId"])
                added = self._headers.added_to(request["url"], present) if self._headers is not None else {}
                page.send(
                    "Fetch.continueRequest",
                    requestId=event["requestId"],
                    method="POST",
                    headers=merged(present, added | self._type),
                    postData=self._content,
                )
                return True
            if why := self._wrong_redirect(event):
                detail = f"{shown(self._url)} redirects its POST to {shown(request['url'])}, {why}"
                self._monitor.fail(FaultKind.REDIRECTED, detail)
                page.send("Fetch.failRequest", requestId=event["requestId"], errorReason="BlockedByClient")
                return True
            return False

        return DOCUMENTS, take

    def _wrong_redirect(self, event: dict[str, Any]) -> str:
        """Return why a redirect of the POST would print the wrong thing; empty if it may be followed."""
        if event.get("redirectedRequestId") not in self._posted:
            return ""
        method, url = event["request"]["method"], event["request"]["url"]
        if method == "POST":
            self._posted.add(event["requestId"])
            return "" if self._is_here(url) else "which is another origin; the parameters are not sent there"
        moved = not self._is_here(url) or is_folder(url) is not is_folder(self._url)
        if moved and same_place(self._url, url) and not lists(self._allowed, url):
            return "by a status that drops the parameters; let url be that address, or the status be 308"
        return ""

    def _is_own(self, url: str) -> bool:
        return self._is_here(url) and same_place(self._url, url)

    def _is_here(self, url: str) -> bool:
        try:
            return url_origin(url) == self._origin
        except ValueError:  # about:blank
            return False

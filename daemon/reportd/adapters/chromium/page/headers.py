"""Adds a report type's own headers to the requests that they are meant for, and to no others.

Headers hold credentials, and a page loads resources from hosts that must not get them. So each request is paused,
checked by its URL, and continued; a redirect counts as a new request. Chromium adds the headers after its CORS check,
so they cause no preflight.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.pages.network import NetworkRule, normal_host, url_target


class OwnHeaders:
    """The headers of one job. They go to the origin of ``url`` and to ``hosts``, over TLS only if ``url`` uses TLS."""

    def __init__(self, headers: Mapping[str, str], url: str | None, hosts: NetworkRule) -> None:
        self._headers = headers
        self._origin = _origin(url) if url is not None else None
        self._hosts = hosts

    def enable(self, page: Cdp) -> Answer:
        """Start adding the headers. It lasts until the page ends."""

        def continue_request(event: dict[str, Any]) -> None:
            more = {"headers": self._merged(event["request"])} if self.are_for(event["request"]["url"]) else {}
            page.send("Fetch.continueRequest", requestId=event["requestId"], **more)

        page.on("Fetch.requestPaused", continue_request)
        return page.send("Fetch.enable", patterns=[{"urlPattern": "*"}])

    def are_for(self, url: str) -> bool:
        """Return whether a request of this URL gets the headers."""
        try:
            scheme, host, port = _origin(url)
        except ValueError:
            return False
        if self._origin == (scheme, host, port):
            return True
        downgrade = self._origin is not None and self._origin[0] == "https" and scheme != "https"
        return not downgrade and self._hosts.may_name(host, port).allowed

    def _merged(self, request: Mapping[str, Any]) -> list[dict[str, str]]:
        # Leave Referer out, so that Chromium sets it by its own policy. A Referer given here would be sent unchanged,
        # also through redirects to other origins, with the job's parameters in it.
        own = {name.lower() for name in self._headers} | {"referer"}
        kept = {name: value for name, value in request["headers"].items() if name.lower() not in own}
        return [{"name": name, "value": value} for name, value in (kept | dict(self._headers)).items()]


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises ValueError for a URL without a host (``data:``)."""
    host, port = url_target(url)
    return urlsplit(url).scheme, str(normal_host(host)), port

"""Sends a report type's own headers with the requests that they are for, and with no others.

Headers hold credentials, and a page loads things from hosts that are not to have them. So each request is paused,
judged by where it goes, and continued; a redirect is a request of its own here. Chromium adds the headers after it has
judged what a request may do, so they cause no CORS preflight.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.core.pages.network import NetworkRule, normal_host, url_target


class OwnHeaders:
    """Of one job. They go to the origin of ``url``, and to the ``hosts``: there over TLS only, if ``url`` has it."""

    def __init__(self, headers: Mapping[str, str], url: str | None, hosts: NetworkRule) -> None:
        self._headers = headers
        self._origin = _origin(url) if url is not None else None
        self._hosts = hosts

    def enable(self, page: Cdp) -> Answer:
        """From now on, until the page ends."""

        def judge(event: dict[str, Any]) -> None:
            more = {"headers": self._merged(event["request"])} if self.are_for(event["request"]["url"]) else {}
            page.send("Fetch.continueRequest", requestId=event["requestId"], **more)

        page.on("Fetch.requestPaused", judge)
        return page.send("Fetch.enable", patterns=[{"urlPattern": "*"}])

    def are_for(self, url: str) -> bool:
        """Whether a request of this URL gets them."""
        try:
            scheme, host, port = _origin(url)
        except ValueError:
            return False
        if self._origin == (scheme, host, port):
            return True
        plain = self._origin is not None and self._origin[0] == "https" and scheme != "https"
        return not plain and self._hosts.may_name(host, port).allowed

    def _merged(self, request: Mapping[str, Any]) -> list[dict[str, str]]:
        # A Referer that is given here goes along as it is, through redirects to other origins as well, with the job's
        # parameters in it; one that is not given is as Chromium would have it.
        own = {name.lower() for name in self._headers} | {"referer"}
        kept = {name: value for name, value in request["headers"].items() if name.lower() not in own}
        return [{"name": name, "value": value} for name, value in (kept | dict(self._headers)).items()]


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError where there is no such thing (``data:``)."""
    host, port = url_target(url)
    return urlsplit(url).scheme, str(normal_host(host)), port

"""Adds a report type's own headers to the requests that they are meant for, and to no others.

Headers hold credentials, and a page loads resources from hosts that must not get them. So each request is paused,
checked by its URL, and continued; a redirect counts as a new request. Chromium adds the headers after its CORS check,
so they cause no preflight.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from reportd.adapters.chromium.page.interception import Take
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.core.pages.network import NetworkRule, url_origin, url_target


class OwnHeaders:
    """The headers of one job. They go to the origin of ``url`` and to ``hosts``, over TLS only if ``url`` uses TLS.

    ``private``: headers for the origin of ``url`` alone. A ``Cookie`` among them is added to the page's own cookies.
    Such a cookie is in no cookie jar: a jar would send it to every port of the host, and keep it.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        url: str | None,
        hosts: NetworkRule,
        private: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._headers = headers
        self._private = private
        self._origin = url_origin(url) if url is not None else None
        self._hosts = hosts

    def part(self, page: Cdp) -> tuple[str, Take]:
        """Return what takes all requests of ``page``, and adds the headers to those that get them."""

        def continue_request(event: dict[str, Any]) -> bool:
            present = event["request"]["headers"]
            headers = self.added_to(event["request"]["url"], present)
            more = {"headers": merged(present, headers)} if headers else {}
            page.send("Fetch.continueRequest", requestId=event["requestId"], **more)
            return True

        return "*", continue_request

    def added_to(self, url: str, present: Mapping[str, str]) -> dict[str, str]:
        """Return the headers to add to a request of this URL, which has the headers ``present``."""
        try:
            origin = url_origin(url)
            host, port = url_target(url)
        except ValueError:  # a URL without a host (data:)
            return {}
        if self._origin == origin:
            cookie = self._private.get("Cookie")
            return {**self._headers, **self._private, **({"Cookie": _with_cookie(present, cookie)} if cookie else {})}
        downgrade = self._origin is not None and self._origin.startswith("https:") and not origin.startswith("https:")
        return dict(self._headers) if not downgrade and self._hosts.may_name(host, port).allowed else {}


def merged(present: Mapping[str, str], added: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the headers of a request with more, in the form of CDP ``Fetch.continueRequest``."""
    # Leave Referer out, so that Chromium sets it by its own policy. A Referer given here would be sent unchanged,
    # also through redirects to other origins, with the job's parameters in it.
    replaced = {name.lower() for name in added} | {"referer"}
    kept = {name: value for name, value in present.items() if name.lower() not in replaced}
    return [{"name": name, "value": value} for name, value in (kept | dict(added)).items()]


def _with_cookie(present: Mapping[str, str], cookie: str) -> str:
    """Return the cookies of a request with one more, in place of one of the same name."""
    before = next((value for name, value in present.items() if name.lower() == "cookie"), "")
    name = cookie.partition("=")[0]
    kept = [pair for pair in before.split("; ") if pair and pair.partition("=")[0] != name]
    return "; ".join([*kept, cookie])

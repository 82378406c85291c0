"""Three servers of a product, each an origin, whose pages are for the daemon alone: each asks for its render token.

A page has resources at all three, and one that redirects to the next. Whatever is asked for is kept.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from tests.documents.verifiers import Verifier
from tests.servers.ports import free_port
from tests.servers.site import Reply, Request, Site, open_site, redirect

JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
LAST = {"Connection": "close"}
PIXEL = Reply("<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml", headers=LAST)

PLACES = {"bearer": "true", "header": '"header:X-Render-Token"', "cookie": '"cookie:render"'}
"""``token`` of each report type, by its name. Each has its own origin."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: of the page of which job, and with which tokens, wherever they are in it."""

    at: str
    path: str
    task_id: str
    tokens: tuple[str, ...]


@dataclass
class Products:
    """``daemon``: its address. ``verifiers``: of each origin; ``ask`` makes them."""

    sites: dict[str, Site] = field(default_factory=dict)
    verifiers: dict[str, Sequence[Verifier]] = field(default_factory=dict)
    daemon: str = ""
    asked: list[Asked] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    verifying: trio.Lock = field(default_factory=trio.Lock)

    def origin(self, name: str) -> str:
        return self.sites[name].url("")

    def types(self) -> str:
        """The configuration of their report types."""
        tables = []
        for name, place in PLACES.items():
            hosts = [f'"{site.host}:{site.port}"' for site in self.sites.values()]
            url = self.sites[name].url("/report?task={taskId}&params={params}")
            tables += [
                f"[reports.{name}]",
                f'url = "{url}"',
                f"token = {place}",
                f"allowed_hosts = [{', '.join(hosts)}]",
            ]
        return "\n".join(tables) + "\n"

    def ask(self, make: Callable[[str], Sequence[Verifier]]) -> None:
        """``make``: returns the verifiers for the pages of an origin."""
        self.verifiers = {name: make(self.origin(name)) for name in self.sites}

    def later(self, seconds: float) -> None:
        for verifiers in self.verifiers.values():
            for verifier in verifiers:
                verifier.later(seconds)

    async def verified(self, name: str, token: str, params: str) -> list[dict[str, Any] | None]:
        """What each verifier of the origin says."""
        async with self.verifying:
            return [await trio.to_thread.run_sync(verifier.claims, token, params) for verifier in self.verifiers[name]]

    async def parameters(self, task_id: str, token: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.daemon, trust_env=False, timeout=30) as client:
            return await client.get(f"/reports/{task_id}/parameters", headers={"Authorization": f"Bearer {token}"})

    async def serve(self, name: str, request: Request, stream: trio.SocketStream) -> None:
        task_id, tokens = request.query.get("task", ""), tuple(JWT.findall(f"{request.target} {request.headers}"))
        self.asked.append(Asked(name, request.path, task_id, tokens))
        await stream.send_all((await self._answer(name, request, task_id, tokens)).encoded(request.method))

    async def _answer(self, name: str, request: Request, task_id: str, tokens: tuple[str, ...]) -> Reply:
        if request.path == "/away":
            following = list(self.sites)[(list(self.sites).index(name) + 1) % len(self.sites)]
            return redirect(self.sites[following].url(f"/landed?task={task_id}"))
        if request.path != "/report":
            return PIXEL
        (token,) = tokens or ("",)
        params = request.query["params"]
        said = await self.verified(name, token, params)
        if None in said:
            return Reply("<p>who are you", status=403, headers=LAST)
        opened = await self.parameters(task_id, token)
        self.opened[task_id] = opened.status_code if opened.text == params else 0
        self.params[task_id], self.claims[task_id] = params, said[0] or {}
        images = [f"<img src={site.url(f'/pixel?task={task_id}')}>" for site in self.sites.values()]
        body = f"<p>{task_id}<img src=/away?task={task_id}>{''.join(images)}"
        return Reply(body, headers=LAST)


@asynccontextmanager
async def open_products() -> AsyncIterator[Products]:
    products = Products()
    async with (
        open_site(host="127.0.0.2", port=free_port()) as bearer,
        open_site(host="127.0.0.3", port=free_port()) as header,
        open_site(host="127.0.0.4", port=free_port()) as cookie,
    ):
        for name, site in zip(PLACES, (bearer, header, cookie), strict=True):
            products.sites[name] = site
            site.otherwise = _handler(products, name)
        yield products


def _handler(products: Products, name: str) -> Callable[[Request, trio.SocketStream], Any]:
    async def handle(request: Request, stream: trio.SocketStream) -> None:
        await products.serve(name, request, stream)

    return handle

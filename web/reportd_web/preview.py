"""The page of ``reportd preview``: the pages of a report as pictures, its HTML, and what is wrong with it.

Everything is below a random path, so that no other site, and no other user of the machine, can guess an address. What
comes from a template or a page is shown as text, as pictures, or in a sandbox in which no script runs (I11).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

import orjson
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultError
from reportd.core.pages.assets import AssetNameError, checked_name, media_type
from reportd.core.pages.documents import shown
from reportd.ports import PagePictures
from reportd.preview.preview import Preview
from reportd.preview.view import Printed, View
from reportd_web.http.pdf import cancel_when_gone
from reportd_web.http.problems import ProblemError
from reportd_web.http.static import static_files
from reportd_web.pages.html import HEADERS, POLICY, page_templates
from reportd_web.security.guard import Guard, routing_problem
from reportd_web.security.origin import Hosts

SECTIONS = ("state", "findings", "lacks")
"""The parts of the page that events replace."""

MIN_SCALE, MAX_SCALE = 0.1, 3.0
ALIVE_SECONDS = 15.0

PAGE_POLICY = f"{POLICY}; frame-src 'self'"
HTML_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'self' 'unsafe-inline' data:; img-src 'self' data:; "
    "font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Of the report's HTML. Its own page prints with scripts; here they would run beside the preview's, so none runs.

It has our origin, because it asks for its files here; its base address, which only a print can reach, does not count.
"""

FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Of a file of the template. A drawing that is opened by itself is a document, and may hold scripts."""


def create_preview_app(preview: Preview, pictures: PagePictures, path: str, stop: trio.Event) -> ASGIApp:
    """Return the application. ``path``: the secret first part of each address; ``stop``: ends the event streams."""
    site = _Site(preview, pictures, path, stop)
    calls = {
        "": site.page,
        "/events": site.events,
        "/report.pdf": site.pdf,
        "/html": site.html,
        "/html/{name:path}": site.file,
        "/report.txt": site.source,
        "/failed/{number:int}.jpg": site.failed,
        "/pages/{version:int}/{page:int}.png": site.picture,
    }
    routes: list[BaseRoute] = [Route(f"/{path}{end}", call) for end, call in calls.items()]
    routes += [Route(f"/{path}/again", site.again, methods=["POST"]), Mount("/static", static_files())]
    guard = Middleware(Guard, hosts=Hosts(""), quick={})
    nothing = partial(routing_problem, hint="the preview is at the whole address that the command has printed")
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: nothing})


class _Site:
    def __init__(self, preview: Preview, pictures: PagePictures, path: str, stop: trio.Event) -> None:
        self._preview = preview
        self._pictures = pictures
        self._path = path
        self._stop = stop
        self._templates = page_templates(sections=SECTIONS, shown=shown)

    async def page(self, _: Request) -> Response:
        view = self._preview.view
        html = self._render("preview.html", view)
        return Response(html, headers={**HEADERS, "Content-Security-Policy": PAGE_POLICY}, media_type="text/html")

    async def events(self, _: Request) -> Response:
        return _Events(self._messages, self._stop)

    async def again(self, _: Request) -> Response:
        self._preview.again()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def pdf(self, _: Request) -> Response:
        name = f"{self._preview.view.report_type}.pdf"
        headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}"'}
        return Response(self._printed().pdf, headers=headers, media_type="application/pdf")

    async def html(self, _: Request) -> Response:
        headers = {**HEADERS, "Content-Security-Policy": HTML_POLICY}
        return Response(self._html(), headers=headers, media_type="text/html")

    async def file(self, request: Request) -> Response:
        name, assets = request.path_params["name"], self._printed().assets
        kind = media_type(name)
        if assets is None or kind is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "the template has no such file")
        try:
            data = await assets.find(checked_name(name))
        except (FaultError, AssetNameError) as error:
            raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from error
        return Response(data, headers={**HEADERS, "Content-Security-Policy": FILE_POLICY}, media_type=kind)

    async def source(self, _: Request) -> Response:
        return PlainTextResponse(self._html(), headers=dict(HEADERS))

    async def picture(self, request: Request) -> Response:
        printed = self._printed()
        if request.path_params["version"] != printed.version:
            raise ProblemError(HTTPStatus.NOT_FOUND, "this report has been printed again since")
        try:
            scale = float(request.query_params.get("scale", "1"))
            if not scale >= MIN_SCALE:  # nor NaN
                raise ValueError(f"the scale must be at least {MIN_SCALE}")  # noqa: TRY301
            png = await self._pictures.png(printed.pdf, request.path_params["page"], min(scale, MAX_SCALE))
        except ValueError as error:
            raise ProblemError(HTTPStatus.NOT_FOUND, f"there is no such picture: {error}") from error
        # The address names the version, so what it shows never changes.
        return Response(png, headers={"Cache-Control": "private, max-age=3600, immutable"}, media_type="image/png")

    async def failed(self, _: Request) -> Response:
        evidence = [finding.evidence for finding in self._preview.view.findings if finding.evidence is not None]
        if not evidence:
            raise ProblemError(HTTPStatus.NOT_FOUND, "no page has failed")
        return Response(evidence[0].screenshot, headers={"Cache-Control": "no-store"}, media_type="image/jpeg")

    def _printed(self) -> Printed:
        printed = self._preview.view.printed
        if printed is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "nothing has been printed yet")
        return printed

    def _html(self) -> str:
        html = self._printed().html
        if html is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "the report is a page of its own, at another address")
        return html

    # --- events ---------------------------------------------------------------------------------------------

    async def _messages(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the view now, and each time it changes. A slow reader gets only the newest."""
        sent = -1
        while True:
            changed = self._preview.changed.next()
            message = b"event: alive\ndata:\n\n"
            if self._preview.view.number != sent:
                sent = self._preview.view.number
                message = b"event: view\ndata: %s\n\n" % orjson.dumps(self._event(self._preview.view))
            await send(message)
            with trio.move_on_after(ALIVE_SECONDS):
                await changed.wait()

    def _event(self, view: View) -> dict[str, object]:
        printed = view.printed
        return {
            "level": _level(view),
            "title": f"{view.report_type} · preview",
            "busy": view.busy,
            "version": 0 if printed is None else printed.version,
            "pages": [] if printed is None else printed.pages,
            "warnings": 0 if printed is None else len(printed.warnings),
            "html": printed is not None and printed.html is not None,
            "sections": {name: self._render(f"preview/{name}.html", view) for name in SECTIONS},
        }

    def _render(self, template: str, view: View) -> str:
        values = {"view": view, "printed": view.printed, "level": _level(view), "base": f"/{self._path}/"}
        return self._templates.get_template(template).render(**values)


def _level(view: View) -> str:
    if view.findings:
        return "bad"
    return "watch" if view.printed is None or view.printed.warnings else "good"


class _Events(Response):
    """A stream of server-sent events. It ends when the reader leaves or the preview stops."""

    media_type = "text/event-stream"

    def __init__(
        self, messages: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]], stop: trio.Event
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._messages = messages
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with open_background() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                nursery.start_soon(self._messages, partial(_send_part, send))
                await self._stop.wait()
        await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})

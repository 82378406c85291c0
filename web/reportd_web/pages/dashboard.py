"""``GET /``, the status page, and the same for programs: ``/status`` as JSON, ``/events`` as server-sent events."""

import random
from collections.abc import Awaitable, Callable, Sequence

import trio
from fastapi import FastAPI
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.job import canonical_uuid
from reportd.core.jobs.submission import FieldProblem
from reportd.core.jobs.transitions import JobState
from reportd.core.status.snapshot import RECENT, JobView, Snapshot
from reportd.intake.errors import NotFoundError
from reportd.intake.service import Service
from reportd.ports import JobFilter, Record, UnavailableError
from reportd_web.api import reports, wire
from reportd_web.api.wire import FeedFormat
from reportd_web.http.pdf import cancel_when_gone
from reportd_web.http.problems import invalid
from reportd_web.pages import status_json
from reportd_web.pages.feed import Feed
from reportd_web.pages.html import Pages, Reader, Search, older_of, page
from reportd_web.security.access import Access
from reportd_web.security.wait_limit import Waits

ALIVE_SECONDS = 15.0
"""A reader that hears nothing for much longer has lost the connection."""

STREAM_SECONDS = 900.0
"""Then a reader has to come again."""

_ALIVE = b"event: alive\ndata:\n\n"
_MAX_QUERY = 200


def add_dashboard(
    app: FastAPI,
    look: Callable[[], Awaitable[Snapshot]],
    service: Service,
    access: Access,
    pages: Pages,
    nursery: trio.Nursery,
    waits: Waits,
) -> None:
    feed = Feed(look, pages, nursery)

    async def home(request: Request) -> Response:
        snapshot = await look()
        search, wanted, before = _search(request.query_params)
        jobs: Sequence[JobView] | None = snapshot.recent
        older = older_of(search, jobs or ())
        if search.active:
            jobs, older = await _found(service, search, wanted, before)
        return page(pages.status(snapshot, reader_of(request, access), search, jobs, older))

    async def status(_: Request) -> Response:
        return reports.json(status_json.document(await look()))

    async def events(request: Request) -> Response:
        wire.only(request.query_params, frozenset({"as"}))
        form = request.query_params.get("as", FeedFormat.JSON)
        if form not in set(FeedFormat):
            raise invalid(FieldProblem("/as", f"must be one of {', '.join(FeedFormat)}"), place="query")
        return _Events(feed, FeedFormat(form), waits, access)

    for path, call in (("/", home), ("/status", status), ("/events", events)):
        reports.add_calls(app, path, {"GET": call})


def reader_of(request: Request, access: Access) -> Reader:
    return Reader(login=access.required, operator=access.may(request.scope, "POST", "/types/{reportType}/open"))


# --- events -----------------------------------------------------------------------------------------------------


class _Events(Response):
    """Goes on until the reader leaves or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, form: FeedFormat, waits: Waits, access: Access) -> None:
        # Proxies that keep answers until they are whole would never pass one on.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._form = form
        self._waits = waits
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ProblemError (429 or 503) before anything is sent."""
        with self._waits.one(scope):
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with trio.move_on_after(STREAM_SECONDS):
                async with open_background() as nursery:
                    nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                    if (stop := scope.get("reportd.stop")) is not None:
                        nursery.start_soon(reports.cancel_at, stop, nursery.cancel_scope)
                    await self._tell(scope, send)
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, scope: Scope, send: Send) -> None:
        """For as long as the reader may: he may log out, or his token be taken away."""
        number = 0
        with self._feed.reading():
            while await self._access.sees_all(scope):
                message = _ALIVE
                with trio.move_on_after(ALIVE_SECONDS):
                    number, message = await self._feed.after(number, self._form)
                await trio.sleep(random.uniform(0, self._feed.spread_seconds))  # noqa: S311 - nothing secret
                await send({"type": "http.response.body", "body": message, "more_body": True})


# --- search -----------------------------------------------------------------------------------------------------


def _search(query: QueryParams) -> tuple[Search, JobFilter, tuple[float, str] | None]:
    """Whatever is asked for, there is a page: it says what can't be looked for."""
    q, report_type, state = (query.get(name, "").strip()[:_MAX_QUERY] for name in ("q", "type", "state"))
    before = wire.place_of(query.get("cursor", ""))
    known_state = JobState(state) if state in set(JobState) else None
    trouble = ""
    if q and canonical_uuid(q) is None:
        trouble = "A task or a user is found by its whole UUID."
    elif (state and known_state is None) or "\0" in report_type:
        trouble = "There is no such state or type."
    active = bool(q or report_type or state or before)
    wanted = JobFilter(known_state, report_type or None, canonical_uuid(q))
    return Search(q, report_type, state, active, trouble), wanted, before


async def _found(
    service: Service, search: Search, wanted: JobFilter, before: tuple[float, str] | None
) -> tuple[Sequence[JobView] | None, str]:
    if search.trouble:
        return (), ""
    try:
        if (task_id := wanted.user_id) is not None and (record := await _task(service, task_id)) is not None:
            return [record.view()], ""
        found = await service.search(wanted, RECENT + 1, before)
    except UnavailableError:
        return None, ""
    jobs = [record.view() for record in found[:RECENT]]
    return jobs, older_of(search, jobs) if len(found) > RECENT else ""


async def _task(service: Service, task_id: str) -> Record | None:
    try:
        return await service.get(task_id)
    except NotFoundError:
        return None

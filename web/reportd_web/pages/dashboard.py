"""``GET /``, the status page; for programs ``/status`` as JSON and ``/events`` as server-sent events."""

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
from reportd_web.security.wait_limit import WaitLimit

ALIVE_SECONDS = 15.0
"""Interval of the keep-alive event. A reader without events for much longer has lost the connection."""

STREAM_SECONDS = 900.0
"""The longest time of an event stream. Then the reader reconnects."""

_ALIVE = b"event: alive\ndata:\n\n"
_MAX_QUERY = 200


def add_dashboard(
    app: FastAPI,
    read_snapshot: Callable[[], Awaitable[Snapshot]],
    service: Service,
    access: Access,
    pages: Pages,
    nursery: trio.Nursery,
    waits: WaitLimit,
) -> None:
    feed = Feed(read_snapshot, pages, nursery)

    async def home(request: Request) -> Response:
        snapshot = await read_snapshot()
        search, job_filter, before = _parse_search(request.query_params)
        jobs: Sequence[JobView] | None = snapshot.recent
        older = older_of(search, jobs or ())
        if search.active:
            jobs, older = await _find(service, search, job_filter, before)
        return page(pages.status(snapshot, reader_of(request, access), search, jobs, older))

    async def status(_: Request) -> Response:
        return reports.json(status_json.document(await read_snapshot()))

    async def events(request: Request) -> Response:
        wire.only(request.query_params, frozenset({"as"}))
        feed_format = request.query_params.get("as", FeedFormat.JSON)
        if feed_format not in set(FeedFormat):
            raise invalid(FieldProblem("/as", f"must be one of {', '.join(FeedFormat)}"), place="query")
        return _Events(feed, FeedFormat(feed_format), waits, access)

    for path, call in (("/", home), ("/status", status), ("/events", events)):
        reports.add_calls(app, path, {"GET": call})


def reader_of(request: Request, access: Access) -> Reader:
    return Reader(login=access.required, operator=access.may(request.scope, "POST", "/types/{reportType}/open"))


# --- events -----------------------------------------------------------------------------------------------------


class _Events(Response):
    """The stream. It ends when the reader leaves or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, feed_format: FeedFormat, waits: WaitLimit, access: Access) -> None:
        # Proxies that buffer responses would never pass an event on.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._format = feed_format
        self._waits = waits
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ProblemError (429 or 503) before anything is sent."""
        with self._waits.admit(scope):
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with trio.move_on_after(STREAM_SECONDS):
                async with open_background() as nursery:
                    nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                    if (stop := scope.get("reportd.stop")) is not None:
                        nursery.start_soon(reports.cancel_at, stop, nursery.cancel_scope)
                    await self._send_events(scope, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_events(self, scope: Scope, send: Send) -> None:
        """Send events while the reader is admitted: it may log out, or lose its token."""
        number = 0
        with self._feed.reading():
            while await self._access.sees_all(scope):
                message = _ALIVE
                with trio.move_on_after(ALIVE_SECONDS):
                    number, message = await self._feed.after(number, self._format)
                await trio.sleep(random.uniform(0, self._feed.spread_seconds))  # noqa: S311 - not a secret
                await send({"type": "http.response.body", "body": message, "more_body": True})


# --- search -----------------------------------------------------------------------------------------------------


def _parse_search(query: QueryParams) -> tuple[Search, JobFilter, wire.Position | None]:
    """Return search, filter, and position in the list. Never raises: an invalid search has a ``trouble``."""
    q, report_type, state = (query.get(name, "").strip()[:_MAX_QUERY] for name in ("q", "type", "state"))
    before = wire.position_of(query.get("cursor", ""))
    known_state = JobState(state) if state in set(JobState) else None
    trouble = ""
    if q and canonical_uuid(q) is None:
        trouble = "Enter the whole UUID of a task or a user."
    elif (state and known_state is None) or "\0" in report_type:
        trouble = "There is no such state or type."
    active = bool(q or report_type or state or before)
    job_filter = JobFilter(known_state, report_type or None, canonical_uuid(q))
    return Search(q, report_type, state, active, trouble), job_filter, before


async def _find(
    service: Service, search: Search, job_filter: JobFilter, before: wire.Position | None
) -> tuple[Sequence[JobView] | None, str]:
    if search.trouble:
        return (), ""
    try:
        if (task_id := job_filter.user_id) is not None and (record := await _task(service, task_id)) is not None:
            return [record.view()], ""
        records = await service.search(job_filter, RECENT + 1, before)
    except UnavailableError:
        return None, ""
    jobs = [record.view() for record in records[:RECENT]]
    return jobs, older_of(search, jobs) if len(records) > RECENT else ""


async def _task(service: Service, task_id: str) -> Record | None:
    try:
        return await service.get(task_id)
    except NotFoundError:
        return None

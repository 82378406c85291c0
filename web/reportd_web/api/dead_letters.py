"""The ``/dead-letters`` calls. An id is a letter's UUID or a group's signature; all calls but the list take either."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from reportd.core.dead_letters.signature import SIGNATURE
from reportd.core.jobs.job import canonical_uuid, timestamp
from reportd.core.jobs.submission import FieldProblem
from reportd.dead_letters.service import DeadLetterService, Done, NoSuchLetterError
from reportd.ports import DeadLetter, Group
from reportd_web.api import wire
from reportd_web.api.reports import add_calls, json
from reportd_web.http.problems import invalid
from reportd_web.security.actor import actor


def add_dead_letters(app: FastAPI, dead_letters: DeadLetterService) -> None:
    async def listing(request: Request) -> Response:
        limit, before = _page(request.query_params)
        groups = await dead_letters.groups(limit + 1, before)
        cursor = _next_cursor([(group.last_seen_at, group.signature) for group in groups], limit)
        return json({"groups": [_group(group, group.examples) for group in groups[:limit]], "nextCursor": cursor})

    async def get(request: Request) -> Response:
        limit, before = _page(request.query_params)
        target = target_of(request)
        if not SIGNATURE.fullmatch(target):
            return json(_letter(await dead_letters.letter(target), whole=True))
        group = await dead_letters.group(target)
        members = await dead_letters.members(target, limit + 1, before)
        cursor = _next_cursor([(member.last_seen_at, member.id) for member in members], limit)
        return json({**_group(group, members[:limit]), "nextCursor": cursor})

    async def requeue(request: Request) -> Response:
        done = await dead_letters.requeue(target_of(request), actor(request))
        return json(_done("requeued", done), HTTPStatus.ACCEPTED)

    async def drop(request: Request) -> Response:
        return json(_done("dropped", await dead_letters.drop(target_of(request), actor(request))))

    add_calls(app, "/dead-letters", {"GET": listing})
    add_calls(app, "/dead-letters/{id}", {"GET": get, "DELETE": drop})
    add_calls(app, "/dead-letters/{id}/requeue", {"POST": requeue})


def target_of(request: Request) -> str:
    """Return the id of the path. Raises NoSuchLetterError."""
    target = _known_id(str(request.path_params["id"]))
    if target is None:
        raise NoSuchLetterError
    return target


# --- JSON -------------------------------------------------------------------------------------------------------


def _group(group: Group, letters: Sequence[DeadLetter]) -> dict[str, Any]:
    return {
        "id": group.signature,
        "kind": group.kind,
        "cause": group.cause,
        "reportTypes": group.report_types,
        "verdict": "waiting" if group.waiting else "quarantined",
        "count": group.waiting + group.quarantined,
        "waiting": group.waiting,
        "quarantined": group.quarantined,
        "firstSeenAt": timestamp(group.first_seen_at),
        "lastSeenAt": timestamp(group.last_seen_at),
        "letters": [_letter(letter) for letter in letters],
    }


def _letter(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    summary = {
        "id": letter.id,
        "group": letter.signature,
        "taskId": letter.task_id,
        "reportType": letter.report_type or None,
        "kind": letter.kind,
        "detail": letter.detail,
        "verdict": letter.standing,
        "reason": letter.reason,
        "redrives": letter.redrives,
        "firstSeenAt": timestamp(letter.first_seen_at),
        "lastSeenAt": timestamp(letter.last_seen_at),
    }
    return {**summary, "attributes": letter.attributes, "body": letter.body} if whole else summary


def _done(count_field: str, done: Done) -> dict[str, int]:
    return {count_field: done.count, "remaining": done.remaining}


# --- pages ------------------------------------------------------------------------------------------------------


def _page(query: QueryParams) -> tuple[int, wire.Position | None]:
    wire.only(query, frozenset({"limit", "cursor"}))
    limit, before = wire.limit_of(query), wire.cursor_of(query, _known_id)
    if isinstance(limit, FieldProblem) or isinstance(before, FieldProblem):
        raise invalid(*(problem for problem in (limit, before) if isinstance(problem, FieldProblem)), place="query")
    return limit, before


def _next_cursor(positions: Sequence[wire.Position], limit: int) -> str | None:
    return wire.cursor(*positions[limit - 1]) if len(positions) > limit else None


def _known_id(text: str) -> str | None:
    """Return the id of a group or a letter; None when it is not valid."""
    return text if SIGNATURE.fullmatch(text) else canonical_uuid(text)

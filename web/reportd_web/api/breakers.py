"""The ``/breakers`` calls: list the breakers, and open, close or probe one."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from reportd.breakers.operator import BreakerCommand, BreakerOperator
from reportd.core.breaker.breaker import Breaker
from reportd.core.jobs.job import timestamp, type_name, unsafe_json
from reportd.core.jobs.submission import FieldProblem, escaped
from reportd_web.api import reports, submission
from reportd_web.http.problems import invalid
from reportd_web.security.actor import actor
from reportd_web.security.guard import Handler

MAX_REASON = 200


def add_breakers(app: FastAPI, breakers: BreakerOperator, max_body_bytes: int) -> None:
    async def listing(_: Request) -> Response:
        overview = breakers.overview()
        rows = [wire(breaker, resting=breaker.report_type in overview.resting) for breaker in overview.breakers]
        return reports.json({"breakers": rows, "trouble": overview.trouble or None})

    def handler_of(command: BreakerCommand) -> Handler:
        async def call(request: Request) -> Response:
            document = await submission.read_optional(request.scope, request.receive, max_body_bytes)
            reason, hold = _parsed(document, may_hold=command is BreakerCommand.CLOSE)
            name = request.path_params["reportType"]
            moved = await breakers.execute(name, BreakerCommand.HOLD if hold else command, actor(request), reason)
            return reports.json(wire(moved, resting=moved.report_type in breakers.overview().resting))

        return call

    reports.add_calls(app, "/breakers", {"GET": listing})
    for command in (BreakerCommand.OPEN, BreakerCommand.CLOSE, BreakerCommand.PROBE):
        reports.add_calls(app, f"/breakers/{{reportType}}/{command}", {"POST": handler_of(command)})


def wire(breaker: Breaker, *, resting: bool) -> dict[str, Any]:
    return {
        "reportType": breaker.report_type,
        "state": breaker.state,
        "resting": resting,
        "since": _time(breaker.since),
        "openSince": _time(breaker.open_since),
        "failedProbes": breaker.failed_probes,
        "until": _time(breaker.until),
        "probeUntil": _time(breaker.lease_until),
        "failures": breaker.failures,
        "reason": breaker.reason,
        "faults": breaker.faults,
        "by": breaker.by,
    }


def reason_of(text: str) -> str:
    """Return the reason if it is acceptable. Raises ProblemError (422)."""
    if problem := _problem_of(text):
        raise invalid(problem)
    return text


def _time(at: float) -> str | None:
    """Return None for 0, which means never."""
    return timestamp(at) if at else None


def _parsed(document: Any, *, may_hold: bool) -> tuple[str, bool]:
    """Return the reason (may be empty), and whether to hold the breaker closed."""
    if not isinstance(document, dict):
        raise invalid(FieldProblem("", f"must be an object, not {type_name(document)}"))
    fields = ("hold", "reason") if may_hold else ("reason",)
    problems = [
        FieldProblem(f"/{escaped(name)}", f"is not known; accepted: {', '.join(fields)}")
        for name in document
        if name not in fields
    ]
    reason, hold = document.get("reason", ""), document.get("hold", False)
    if problem := _problem_of(reason):
        problems.append(problem)
    if may_hold and not isinstance(hold, bool):
        problems.append(FieldProblem("/hold", "must be true or false"))
    if problems:
        raise invalid(*problems)
    return reason, hold


def _problem_of(reason: Any) -> FieldProblem | None:
    if isinstance(reason, str) and len(reason) <= MAX_REASON and not unsafe_json(reason):
        return None
    return FieldProblem("/reason", f"must be a text of at most {MAX_REASON} characters, without NUL")

"""The OpenAPI 3.1 document. Requests are parsed by hand for speed, so it is written by hand too.

A test walks the application's routes and fails for one that is missing here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reportd.breakers.operator import BreakerCommand
from reportd.core.dead_letters.signature import SIGNATURE
from reportd.core.jobs.job import MAX_DEPTH
from reportd.core.jobs.options import LOCALE_ACCEPTS, MAX_FILE_NAME, ZONE_ACCEPTS
from reportd.core.jobs.submission import MAX_URL_LENGTH
from reportd.core.jobs.transitions import JobState
from reportd.intake.service import MAX_WAIT_SECONDS
from reportd_web.api.breakers import MAX_REASON
from reportd_web.api.schemas import (
    BREAKER,
    COUNT,
    FREE,
    LETTER,
    LETTER_GROUP,
    REPORT,
    TEXT,
    UUID,
    Json,
    breaker_schema,
    letter_group_schema,
    letter_schema,
    maybe,
    moved,
    object_of,
    problem_schema,
    report_schema,
)
from reportd_web.api.wire import DEFAULT_LIMIT, MAX_LIMIT, FeedFormat
from reportd_web.security.access import JWKS, PUBLIC, RULES
from reportd_web.security.sessions import COOKIE

UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

_PROBLEM: Json = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

_TASK: Json = {"name": "taskId", "in": "path", "required": True, "schema": UUID}

_LETTER_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A letter's UUID (its job's, if it is about a job), or a group's id: `g-` and 16 digits.",
    "schema": {"type": "string", "pattern": f"^({UUID_PATTERN}|{SIGNATURE.pattern})$"},
}
_LETTER_PAGE: Sequence[Json] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}},
    {"name": "cursor", "in": "query", "schema": TEXT, "description": "the `nextCursor` of the previous page"},
]

_PROBLEMS = {
    400: "not JSON, or a bad Idempotency-Key",
    401: "no token, or one that is not accepted",
    403: "the token lacks the role, or a browser sent the request from another site",
    404: "no such report, report type or dead letter; or the artifact store has lost the PDF",
    408: "the body came too slowly",
    409: "not possible in this state",
    410: "past its retention",
    413: "too large",
    415: "not application/json",
    416: "no such range",
    422: "a field is not acceptable; `errors` names each",
    421: "`Host` is neither an address nor a name of this daemon",
    429: "the backlog or a share of it is full (see `limit`), or too many or too large requests are being handled",
    503: "a required part, such as the queue or the database, is unavailable; or the daemon is overloaded",
}
_LATER = (429, 503)

_COMMANDS = {
    BreakerCommand.OPEN: "Hold a report type's jobs until the breaker is closed again",
    BreakerCommand.CLOSE: "Let a report type's jobs flow",
    BreakerCommand.PROBE: "Make a report type's next job the probe, without waiting for the probe time",
}


def document(schemas: Mapping[str, Mapping[str, Any]], *, secured: bool = False) -> Json:
    """``schemas``: the parameters' JSON Schema of each report type. ``secured``: whether tokens are required."""
    openapi = _open_document(schemas)
    if secured:
        openapi["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "made by `reportd token`"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "a login at /login"},
            "renderToken": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "what the server of a page gets while an attempt runs; for the report of that attempt",
            },
        }
    for path, item in openapi["paths"].items():
        for method, call in item.items():
            if secured:
                _secure(call, method.upper(), path)
            else:
                call["responses"]["421"] = _refusal(421)
    return openapi


def _secure(call: Json, method: str, path: str) -> None:
    """Add the roles that a call accepts: any one of them is enough."""
    rule = RULES[method, path]
    call["security"] = [{scheme: [str(role)]} for role in rule.roles for scheme in ("token", "session")]
    call["security"] += [{"renderToken": []}] * rule.render_token
    if rule is not PUBLIC:
        for status in (401, 403):
            call["responses"][str(status)] = _refusal(status)


def _refusal(status: int) -> Json:
    return {"description": _PROBLEMS[status], "content": _PROBLEM}


def _open_document(schemas: Mapping[str, Mapping[str, Any]]) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {"title": "reportd", "version": "1", "description": "Reports as PDFs, asynchronously."},
        "paths": {
            "/reports/generate-async": {"post": _submit(schemas)},
            "/reports": {"get": _list()},
            "/reports/{taskId}": {"get": _get(), "delete": _cancel()},
            "/reports/{taskId}/pdf": {"get": _pdf()},
            "/reports/{taskId}/parameters": {"get": _parameters()},
            "/reports/{taskId}/retry": {"post": _retry()},
            "/breakers": {"get": _breakers()},
            **{f"/breakers/{{reportType}}/{command}": {"post": _command(command, schemas)} for command in _COMMANDS},
            "/dead-letters": {"get": _dead_letters()},
            "/dead-letters/{id}": {"get": _dead_letter(), "delete": _drop()},
            "/dead-letters/{id}/requeue": {"post": _requeue()},
            "/status": {"get": _call("getStatus", "What the status page shows", {200: _json(FREE)}, (503,))},
            "/events": {"get": _events()},
            JWKS: {"get": _jwks()},
            "/healthz": {"get": _health()},
            "/readyz": {"get": _ready()},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _call("getOpenApi", "This document", {200: _json(FREE)})},
        },
        "components": {
            "schemas": {
                "Report": report_schema(),
                "Breaker": breaker_schema(),
                "DeadLetter": letter_schema(),
                "DeadLetterGroup": letter_group_schema(),
                "Problem": problem_schema(),
                **{name: moved(schema, f"#/components/schemas/{name}") for name, schema in schemas.items()},
            }
        },
    }


# --- calls ------------------------------------------------------------------------------------------------------


def _submit(schemas: Mapping[str, Any]) -> Json:
    accepted = object_of({"message": TEXT, "taskId": UUID})
    answer = _json(accepted, "Accepted: the job is durable, and the queue has it")
    answer["headers"] = {"Location": {"schema": {"type": "string"}, "description": "the report's URL"}}
    ended = _json({"allOf": [REPORT, accepted]}, "The same key was used before, and that report has ended")
    ended["headers"] = answer["headers"]
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and user always give the same taskId.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
    problems = (400, 403, 408, 413, 415, 422, 429, 503)
    call = _call("submitReport", "Submit a report", {200: ended, 202: answer}, problems, [key])
    call["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": [_submission(name) for name in schemas]}}},
    }
    return call


def _submission(report_type: str) -> Json:
    url = {"type": "string", "format": "uri", "pattern": "^https?://[!-~]+$", "maxLength": MAX_URL_LENGTH}
    required: Json = {
        "reportType": {"type": "string", "const": report_type},
        "parameters": {
            "$ref": f"#/components/schemas/{report_type}",
            "description": f"At most {MAX_DEPTH} levels deep, and without the character NUL.",
        },
        "userId": UUID,
    }
    submission = object_of(required)
    submission["properties"]["callbackUrl"] = {
        **maybe(url),
        "description": "Called when the report is finished; its host must be in callbacks.allowed_hosts.",
    }
    submission["properties"] |= _OPTIONS
    return {**submission, "title": report_type, "additionalProperties": False}


_OPTIONS: Json = {
    "locale": {
        "type": ["string", "null"],
        "pattern": r"^[a-zA-Z]{2,3}(-[a-zA-Z]{4})?(-([a-zA-Z]{2}|[0-9]{3}))?$",
        "description": f"The language of the report, {LOCALE_ACCEPTS}; if the report type allows it.",
    },
    "timezone": {
        "type": ["string", "null"],
        "pattern": "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        "description": f"The time zone of the report, {ZONE_ACCEPTS}; if the report type allows it.",
    },
    "fileName": {
        "type": ["string", "null"],
        "pattern": r"^(?! *(\.|$)) *[^/\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
        f"{{1,{MAX_FILE_NAME}}}"
        r"(\.[Pp][Dd][Ff])? *$",
        "description": "What the download is called; `.pdf` is added. If the report type allows it.",
    },
    "pdf": {
        "type": ["object", "null"],
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": "Print options instead of the report type's, as far as it allows them: `format`, `landscape`, "
        "`margin`, `scale`, `pageRanges`, as the keys of its configuration.",
    },
}


def _list() -> Json:
    reports = {"type": "array", "items": REPORT}
    page = _json(object_of({"reports": reports, "nextCursor": {"type": ["string", "null"]}}))
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    parameters = [
        _query("state", {"type": "string", "enum": [str(state) for state in JobState]}),
        _query("reportType", {"type": "string", "pattern": r"^[^\x00]*$"}),
        _query("userId", UUID),
        _query("limit", limit),
        _query("cursor", TEXT, "the `nextCursor` of the previous page"),
    ]
    return _call("listReports", "List reports, newest first", {200: page}, (422, 503), parameters)


def _get() -> Json:
    seconds = {"type": "number", "minimum": 0, "maximum": int(MAX_WAIT_SECONDS)}
    wait = _query("wait", seconds, "how long to hold the answer until the report is finished, in seconds")
    return _call("getReport", "One report", {200: _json(REPORT)}, (404, 422, 429, 503), [_TASK, wait])


def _cancel() -> Json:
    return _call("cancelReport", "Cancel a report", {200: _json(REPORT)}, (403, 404, 409, 503), [_TASK])


def _retry() -> Json:
    summary = "Put a quarantined report back into the queue, or resend the lost message of a queued one"
    return _call("retryReport", summary, {202: _json(REPORT)}, (403, 404, 409, 503), [_TASK])


def _pdf() -> Json:
    etag = {"ETag": {"schema": TEXT, "description": "the PDF's SHA-256"}}
    whole = {"description": "the PDF", "headers": etag, "content": {"application/pdf": {}}}
    headers = [{"name": name, "in": "header", "schema": TEXT} for name in ("Range", "If-Range", "If-None-Match")]
    answers: dict[int, Json] = {
        200: whole,
        206: {**whole, "description": "the range that was asked for"},
        302: {"description": "the PDF's URL", "headers": {"Location": {"schema": TEXT}}},
        304: {"description": "the client already has it", "headers": etag},
    }
    return _call("getReportPdf", "The PDF", answers, (404, 409, 410, 416, 503), [_TASK, *headers])


def _parameters() -> Json:
    answer = _json(FREE, "Exactly the text that `parametersSha256` of a render token is the hash of")
    return _call("getReportParameters", "The parameters", {200: answer}, (401, 404, 503), [_TASK])


def _breakers() -> Json:
    breakers = {"type": "array", "items": BREAKER}
    trouble = {**maybe(TEXT), "description": "why this node does not share its breakers with the others"}
    answer = _json(object_of({"breakers": breakers, "trouble": trouble}))
    return _call("listBreakers", "The breaker of each report type", {200: answer})


def _command(command: BreakerCommand, schemas: Mapping[str, Any]) -> Json:
    report_type = {
        "name": "reportType",
        "in": "path",
        "required": True,
        "description": "the report type, or one of its aliases",
        "schema": {"type": "string", "enum": list(schemas)},
    }
    fields: Json = {"reason": {"type": "string", "maxLength": MAX_REASON, "pattern": r"^[^\x00]*$"}}
    if command == BreakerCommand.CLOSE:
        text = "keep it closed despite failures, until it is closed without this field"
        fields["hold"] = {"type": "boolean", "default": False, "description": text}
    problems = (400, 403, 404, 408, 409, 413, 415, 422, 503)
    call = _call(f"{command}Breaker", _COMMANDS[command], {200: _json(BREAKER)}, problems, [report_type])
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    call["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return call


def _events() -> Json:
    form = _query("as", {"type": "string", "enum": [str(form) for form in FeedFormat], "default": FeedFormat.JSON})
    text = "events named `status`, each with the whole snapshot as JSON, or `page`, with the changed parts of the page"
    stream: Json = {"description": text, "content": {"text/event-stream": {}}}
    return _call(
        "streamEvents", "What the status page shows, whenever it changes", {200: stream}, (422, 429, 503), [form]
    )


def _dead_letters() -> Json:
    page = _json(object_of({"groups": {"type": "array", "items": LETTER_GROUP}, "nextCursor": maybe(TEXT)}))
    summary = "Dead letters grouped by cause, last seen first, each with its last few letters"
    return _call("listDeadLetters", summary, {200: page}, (422, 503), _LETTER_PAGE)


def _dead_letter() -> Json:
    whole = {"allOf": [LETTER, object_of({"attributes": FREE, "body": TEXT})]}
    group = {"allOf": [LETTER_GROUP, object_of({"nextCursor": maybe(TEXT)})]}
    answer = _json({"anyOf": [whole, group]}, "The whole letter, or the group with a page of its letters")
    parameters = [_LETTER_ID, *_LETTER_PAGE]
    return _call("getDeadLetter", "One letter, or a group", {200: answer}, (404, 422, 503), parameters)


def _requeue() -> Json:
    summary = "Put a letter, or the letters of a group, back into the queue"
    answer = _json(object_of({"requeued": COUNT, "remaining": COUNT}), "Done; repeat the call while some remain")
    return _call("requeueDeadLetters", summary, {202: answer}, (403, 404, 503), [_LETTER_ID])


def _drop() -> Json:
    summary = "Delete a letter, or the letters of a group; their jobs stay quarantined"
    answer = _json(object_of({"dropped": COUNT, "remaining": COUNT}), "Done; repeat the call while some remain")
    return _call("dropDeadLetters", summary, {200: answer}, (403, 404, 503), [_LETTER_ID])


def _jwks() -> Json:
    key = object_of({"kty": TEXT, "crv": TEXT, "x": TEXT, "kid": TEXT, "alg": TEXT, "use": TEXT})
    answer = _json(object_of({"keys": {"type": "array", "items": key}}), "a JWK Set (RFC 7517)")
    return _call("getKeys", "The public keys of render tokens", {200: answer})


def _health() -> Json:
    alive: Json = {"description": "alive", "content": {"text/plain": {}}}
    return _call("getHealth", "Whether the event loop turns", {200: alive}, (503,))


def _ready() -> Json:
    part = object_of({"ok": {"type": "boolean"}, "detail": TEXT})
    parts = object_of({"ready": {"type": "boolean"}, "parts": {"type": "object", "additionalProperties": part}})
    answers = {
        200: _json(parts, "every part works; background work may fail"),
        503: _json(parts, "a part does not work"),
    }
    return _call("getReadiness", "Whether the node can take requests, with a reason for each part", answers)


def _metrics() -> Json:
    text: Json = {"description": "in Prometheus's text format", "content": {"text/plain": {}}}
    return _call("getMetrics", "Metrics for Prometheus", {200: text})


def _call(
    name: str,
    summary: str,
    answers: Mapping[int, Json],
    problems: Sequence[int] = (),
    parameters: Sequence[Json] = (),
) -> Json:
    responses = {str(status): answer for status, answer in answers.items()}
    for status in problems:
        problem: Json = {"description": _PROBLEMS[status], "content": _PROBLEM}
        if status in _LATER:
            problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "in seconds"}}
        responses[str(status)] = problem
    return {"operationId": name, "summary": summary, "parameters": list(parameters), "responses": responses}


def _query(name: str, schema: Json, description: str = "") -> Json:
    return {"name": name, "in": "query", "schema": schema, **({"description": description} if description else {})}


def _json(schema: Json, description: str = "Done") -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}

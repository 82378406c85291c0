"""The OpenAPI 3.1 document. Requests are parsed by hand for speed, so it is written by hand, too."""

from collections.abc import Mapping
from typing import Any

from reportd.core.transitions import State

Json = dict[str, Any]

_UUID: Json = {"type": "string", "format": "uuid"}
_TIME: Json = {"type": "string", "format": "date-time"}
_PROBLEMS = {
    400: "not JSON, or a bad header",
    403: "a browser asks on behalf of another site",
    404: "no such report",
    405: "no such method",
    409: "not possible in this state",
    410: "past its retention",
    413: "too large",
    415: "not application/json",
    416: "no such range",
    422: "a field is not acceptable; `errors` names each",
    429: "the backlog is full",
    503: "the queue or the database is away",
}


def document(schemas: Mapping[str, Mapping[str, Any]]) -> Json:
    """``schemas``: the parameters' JSON Schema of each report type."""
    task = {"name": "taskId", "in": "path", "required": True, "schema": _UUID}
    wait = _query("wait", {"type": "number", "minimum": 0, "maximum": 30})
    filters = [
        _query("state", {"type": "string", "enum": [str(state) for state in State]}),
        _query("reportType", {"type": "string"}),
        _query("userId", _UUID),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
        _query("cursor", {"type": "string"}),
    ]
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
    accepted: Json = {
        "type": "object",
        "required": ["message", "taskId"],
        "properties": {"message": {"type": "string"}, "taskId": _UUID},
    }
    page: Json = {
        "type": "object",
        "required": ["reports", "nextCursor"],
        "properties": {
            "reports": {"type": "array", "items": {"$ref": "#/components/schemas/Report"}},
            "nextCursor": {"type": ["string", "null"]},
        },
    }
    one: Json = {"$ref": "#/components/schemas/Report"}
    pdf: Json = {"description": "the PDF", "content": {"application/pdf": {}}}
    submit = _call("Submit a report", 202, accepted, (400, 403, 413, 415, 422, 429, 503), [key])
    submit["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": _submission(schemas)}},
    }
    submit["responses"]["202"]["headers"] = {"Location": {"schema": {"type": "string"}}}
    get_pdf = _call("The PDF", 200, {}, (404, 409, 410, 416, 503), [task])
    get_pdf["responses"] |= {"200": pdf, "206": pdf, "302": {"description": "where the PDF is"}}
    free: Json = {"type": "object"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "reportd", "version": "1", "description": "Reports as PDFs, asynchronously."},
        "paths": {
            "/reports/generate-async": {"post": submit},
            "/reports": {"get": _call("List reports, newest first", 200, page, (422, 503), filters)},
            "/reports/{taskId}": {
                "get": _call("One report", 200, one, (404, 422, 503), [task, wait]),
                "delete": _call("Cancel a report", 200, one, (403, 404, 409, 503), [task]),
            },
            "/reports/{taskId}/pdf": {"get": get_pdf},
            "/reports/{taskId}/retry": {
                "post": _call("Put a quarantined report back", 202, one, (403, 404, 409, 503), [task])
            },
            "/status": {"get": _call("The status page as JSON", 200, free, (503,), [])},
            "/readyz": {"get": _call("Whether every part works", 200, free, (), [])},
        },
        "components": {"schemas": {"Report": _report(), "Problem": _problem()}},
    }


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


def _call(summary: str, status: int, schema: Json, problems: tuple[int, ...], parameters: list[Json]) -> Json:
    ok = {"description": summary, "content": {"application/json": {"schema": schema}}}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    answers = {
        str(code): {"description": _PROBLEMS[code], "content": {"application/problem+json": problem}}
        for code in (*problems, 405)
    }
    if summary == "Whether every part works":
        answers["503"] = ok
    return {"summary": summary, "parameters": parameters, "responses": {str(status): ok, **answers}}


def _submission(schemas: Mapping[str, Mapping[str, Any]]) -> Json:
    def of(name: str, parameters: Mapping[str, Any]) -> Json:
        inner = {k: v for k, v in parameters.items() if k not in ("$schema", "$id")}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["reportType", "parameters", "userId"],
            "properties": {
                "reportType": {"const": name},
                "parameters": inner,
                "userId": _UUID,
                "callbackUrl": {"type": "string", "format": "uri"},
            },
        }

    return {"oneOf": [of(name, schema) for name, schema in schemas.items()]}


def _report() -> Json:
    def maybe(schema: Json) -> Json:
        return {"anyOf": [schema, {"type": "null"}]}

    text: Json = {"type": "string"}
    count: Json = {"type": "integer", "minimum": 0}
    properties: Json = {
        "taskId": _UUID,
        "reportType": text,
        "userId": _UUID,
        "state": {"type": "string", "enum": [str(state) for state in State]},
        "attempts": count,
        "deferrals": count,
        "submittedAt": _TIME,
        "startedAt": maybe(_TIME),
        "finishedAt": maybe(_TIME),
        "error": maybe(_object({"kind": text, "detail": text})),
        "pdf": maybe(_object({"url": text, "bytes": count, "sha256": text})),
    }
    return _object(properties)


def _problem() -> Json:
    text: Json = {"type": "string"}
    errors = {"type": "array", "items": _object({"pointer": text, "detail": text})}
    properties: Json = {
        "type": text,
        "title": text,
        "status": {"type": "integer"},
        "detail": text,
        "instance": text,
    }
    return {"type": "object", "required": list(properties), "properties": {**properties, "errors": errors}}


def _object(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}

"""The schemas of the answers in the OpenAPI document, and their building blocks."""

from collections.abc import Mapping
from typing import Any

from reportd.core.breaker import breaker as breaker_core
from reportd.core.jobs.transitions import JobState
from reportd.core.jobs.warnings import WarningKind
from reportd.ports import DeliveryOutcome, LetterStatus

Json = dict[str, Any]

VERDICT: Json = {"type": "string", "enum": [str(LetterStatus.WAITING), str(LetterStatus.QUARANTINED)]}
UUID: Json = {"type": "string", "format": "uuid"}
TIME: Json = {"type": "string", "format": "date-time"}
TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
FREE: Json = {"type": "object"}
REPORT: Json = {"$ref": "#/components/schemas/Report"}
BREAKER: Json = {"$ref": "#/components/schemas/Breaker"}
LETTER: Json = {"$ref": "#/components/schemas/DeadLetter"}
LETTER_GROUP: Json = {"$ref": "#/components/schemas/DeadLetterGroup"}


def report_schema() -> Json:
    # No enum: during an upgrade a node shows kinds that only newer nodes know.
    kind = {**TEXT, "examples": [str(kind) for kind in WarningKind]}
    report = object_of(
        {
            "taskId": UUID,
            "reportType": TEXT,
            "userId": UUID,
            "state": {"type": "string", "enum": [str(state) for state in JobState]},
            "attempts": COUNT,
            "deferrals": COUNT,
            "progress": {
                **maybe({"type": "number", "minimum": 0, "maximum": 1}),
                "description": "how far the running attempt is, if its page says so",
            },
            "edition": {
                **maybe({"type": "string"}),
                "description": "which edition of its template printed it: a hash of the template's files",
            },
            "submittedAt": TIME,
            "startedAt": maybe(TIME),
            "finishedAt": maybe(TIME),
            "error": maybe(object_of({"kind": TEXT, "detail": TEXT})),
            "pdf": maybe(object_of({"url": TEXT, "bytes": COUNT, "sha256": TEXT})),
            "warnings": {
                "type": "array",
                "items": object_of({"kind": kind, "what": TEXT, "why": TEXT, "count": {**COUNT, "minimum": 1}}),
                "description": "what is missing from the PDF",
            },
        }
    )
    state = {"type": "string", "enum": ["pending", *DeliveryOutcome]}
    callback = object_of({"state": state, "attempts": COUNT, "nextAt": maybe(TIME), "error": maybe(TEXT)})
    report["properties"]["options"] = {
        "type": "object",
        "properties": {"locale": TEXT, "timezone": TEXT, "fileName": TEXT, "pdf": FREE},
        "description": "What the job says for itself; only when a single report is asked for.",
    }
    report["properties"]["callback"] = {
        **maybe(callback),
        "description": "State of the callback; only when a single report is asked for.",
    }
    return report


def breaker_schema() -> Json:
    return object_of(
        {
            "reportType": TEXT,
            "state": {"type": "string", "enum": [str(state) for state in breaker_core.BreakerState]},
            "resting": {"type": "boolean", "description": "whether its jobs have to wait"},
            "since": {**maybe(TIME), "description": "when its state last changed"},
            "openSince": {**maybe(TIME), "description": "when it first opened, however many probes have failed since"},
            "failedProbes": {**COUNT, "description": "since it opened"},
            "until": {**maybe(TIME), "description": "when it allows the next probe"},
            "probeUntil": {**maybe(TIME), "description": "when the running probe times out"},
            "failures": {**COUNT, "description": "in a row"},
            "reason": TEXT,
            "faults": {"type": "array", "items": TEXT, "description": "the last ones"},
            "by": {**TEXT, "description": "the node or the operator that last changed its state"},
        }
    )


def letter_schema() -> Json:
    return object_of(
        {
            "id": UUID,
            "group": TEXT,
            "taskId": maybe(UUID),
            "reportType": maybe(TEXT),
            "kind": TEXT,
            "detail": TEXT,
            "verdict": VERDICT,
            "reason": TEXT,
            "redrives": COUNT,
            "firstSeenAt": TIME,
            "lastSeenAt": TIME,
        }
    )


def letter_group_schema() -> Json:
    return object_of(
        {
            "id": TEXT,
            "kind": TEXT,
            "cause": {**TEXT, "description": "the detail, without the parts that differ between letters"},
            "reportTypes": {"type": "array", "items": TEXT},
            "verdict": VERDICT,
            **dict.fromkeys(("count", "waiting", "quarantined"), COUNT),
            "firstSeenAt": TIME,
            "lastSeenAt": TIME,
            "letters": {"type": "array", "items": LETTER},
        }
    )


def problem_schema() -> Json:
    place = {"type": "string", "enum": ["body", "query", "header"]}
    pointer = {
        "type": "string",
        "format": "json-pointer",
        "description": "into the part that `in` names (RFC 6901)",
    }
    errors = {"type": "array", "items": object_of({"in": place, "pointer": pointer, "detail": TEXT})}
    status = {"type": "integer", "minimum": 400, "maximum": 599}
    problem = object_of({"type": TEXT, "title": TEXT, "status": status, "detail": TEXT, "instance": TEXT})
    problem["properties"]["errors"] = errors
    return problem


def object_of(properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


# The values of these keys are data or names, not schemas, even where they look like one.
_DATA = frozenset({"const", "enum", "default", "example", "examples"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def moved(schema: Any, root: str) -> Any:
    """Return a standalone schema as a part of this document: its references to itself now point below ``root``."""
    if isinstance(schema, list):
        return [moved(item, root) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            result[key] = {name: moved(inner, root) for name, inner in value.items()}
        elif key == "$ref" and (value == "#" or str(value).startswith("#/")):
            result[key] = root + value[1:]
        elif key not in ("$schema", "$id"):
            result[key] = value if key in _DATA else moved(value, root)
    return result

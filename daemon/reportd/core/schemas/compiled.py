"""Compile JSON Schemas, estimate what a check can cost, and list what is wrong with a value.

``problems`` and ``faults`` can take any time and memory, so they run in a worker process. ``is_cheap`` names the
schemas that the daemon may check small values against itself.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from reportd.core.jobs.submission import MAX_PROBLEMS, FieldProblem, escaped
from reportd.core.schemas.keywords import misspelt_keywords

MAX_DETAIL = 300

MAX_CHEAP_NODES = 500
"""JSON values in a schema, each counted once per reference to it. The shipped schemas have about a hundred."""

_KNOWN_SCHEMAS = 64

# Each of these can apply the same subschemas again at every level of a value.
_COSTLY = frozenset({"$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"})

_SIZES = frozenset({"$schema", "maxItems", "maxLength", "maxProperties"})


def compiled(schema: Mapping[str, Any]) -> Any:
    """Return a validator. Raises ValueError.

    Patterns are matched in linear time, unless one has look-around or back-references.
    """
    try:
        return _validator(schema, pattern_options=_LINEAR)
    except ValueError:
        return _validator(schema)


def _validator(schema: Mapping[str, Any], **options: Any) -> Any:
    return jsonschema_rs.validator_for(dict(schema), validate_formats=True, retriever=_refuse, **options)


def _refuse(uri: str) -> Any:
    """Refuse references to other files: the library would fetch them, without a time limit."""
    raise ValueError(f"{uri} is not in the file itself; accepted: references that begin with #")


def is_cheap(schema: Mapping[str, Any]) -> bool:
    """Return whether a check takes at most the value's size times the schema's size, and the schema is small.

    True is certain: every reference was followed, the schema is not recursive, and no pattern can backtrack.
    """
    try:
        _validator(schema, pattern_options=_LINEAR)
    except ValueError:
        return False
    return sum(1 for _ in islice(_nodes(schema, schema, ()), MAX_CHEAP_NODES + 1)) <= MAX_CHEAP_NODES


def problems(schema: bytes, parameters: bytes) -> list[FieldProblem]:
    """Return the first MAX_PROBLEMS problems of a job's parameters, with JSON pointers into the job.

    A value above a size limit is reported only as too large: each of its million rows may be wrong, too.
    """
    validator, sizes = _validators(schema)
    value = orjson.loads(parameters)
    if validator.is_valid(value):
        return []
    failing = validator if sizes.is_valid(value) else sizes
    return [_problem(error) for error in islice(failing.iter_errors(value), MAX_PROBLEMS)]


def faults(schema: bytes) -> list[str]:
    """Return why a schema is invalid, or which of its keywords are misspelt; each with what is accepted."""
    parsed = orjson.loads(schema)
    try:
        compiled(parsed)
    except ValueError as error:
        return [f"is not a JSON Schema{_fault(error)}"]
    return [
        f"has {word} at {pointer or 'its top'}, which checks nothing; did you mean {meant}? accepted: the keywords of "
        "JSON Schema; an annotation of your own begins with x-"
        for pointer, word, meant in misspelt_keywords(parsed)
    ]


def _fault(error: ValueError) -> str:
    """Return where a schema is wrong, as a JSON pointer into it, why, and what is accepted."""
    pointer = "".join("/" + escaped(str(step)) for step in getattr(error, "instance_path", ()))
    at = f" at {pointer}" if pointer else ""
    # Of these the library says only that no schema of a list of schemas accepts the value.
    if pointer.endswith("/type"):
        return f'{at}: "{_shortened(str(getattr(error, "instance", "")))}" is no type; accepted: {_TYPES}'
    return f"{at}: {_shortened(str(getattr(error, 'message', error)))}; {_ONE_FILE}"


_ONE_FILE = "accepted: one that needs no other file"
_TYPES = "array, boolean, integer, null, number, object or string"

_LINEAR = jsonschema_rs.RegexOptions()


@lru_cache(_KNOWN_SCHEMAS)
def _validators(schema: bytes) -> tuple[Any, Any]:
    parsed = orjson.loads(schema)
    return compiled(parsed), compiled(_sizes(parsed))


def _sizes(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema reduced to the size limits of its named fields."""
    sizes = {name: value for name, value in schema.items() if name in _SIZES}
    fields = schema.get("properties")
    if isinstance(fields, dict):
        sizes["properties"] = {name: _sizes(field) for name, field in fields.items() if isinstance(field, dict)}
    return sizes


def _problem(error: Any) -> FieldProblem:
    pointer = "".join("/" + escaped(str(step)) for step in ("parameters", *error.instance_path))
    return FieldProblem(pointer, _shortened(str(error.message)))


def _shortened(detail: str) -> str:
    """Cut the middle: a message begins with the value and ends with what is wrong with it."""
    return detail if len(detail) <= MAX_DETAIL else f"{detail[: MAX_DETAIL - 150]} … {detail[-147:]}"


def _nodes(value: Any, root: Mapping[str, Any], under: tuple[str, ...]) -> Iterator[None]:
    """Yield once per JSON value of a schema, following references; without end when they can't be counted."""
    yield None
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item, root, under)
    if not isinstance(value, dict):
        return
    for name, item in value.items():
        if name == "$ref" and isinstance(item, str):
            target = _target(item, root)
            if target is None or item in under:
                yield from iter(lambda: None, object())
            yield from _nodes(target, root, (*under, item))
        elif name in _COSTLY or (name in ("$id", "id") and isinstance(item, str) and value is not root):
            yield from iter(lambda: None, object())
        else:
            yield from _nodes(item, root, under)


def _target(reference: str, root: Any) -> Any:
    """Return the value at a JSON pointer within the schema; None for any other kind of reference."""
    if not reference.startswith("#/"):
        return None
    value = root
    for step in reference[2:].split("/"):
        if not isinstance(value, dict):
            return None
        value = value.get(step.replace("~1", "/").replace("~0", "~"))
    return value

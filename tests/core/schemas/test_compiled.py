"""Schemas: their faults, the problems of a value, and which of them are cheap to check."""

import json
from typing import Any

import pytest

from reportd.core.jobs.submission import MAX_PROBLEMS, FieldProblem
from reportd.core.schemas.compiled import MAX_CHEAP_NODES, MAX_DETAIL, faults, is_cheap, problems

LOOK_AROUND = {"pattern": "(?=a)b"}
RECURSIVE = {"$defs": {"node": {"items": {"$ref": "#/$defs/node"}}}, "$ref": "#/$defs/node"}


def found(schema: dict[str, Any], parameters: dict[str, Any]) -> list[FieldProblem]:
    return problems(json.dumps(schema).encode(), json.dumps(parameters).encode())


def test_problems_point_into_the_job() -> None:
    schema = {"properties": {"rows": {"items": {"properties": {"a/b": {"type": "number"}}}}}}
    assert found(schema, {"rows": [{"a/b": 1}]}) == []
    (problem,) = found(schema, {"rows": [{"a/b": 1}, {"a/b": "1"}]})
    assert problem.pointer == "/parameters/rows/1/a~1b"
    assert "number" in problem.detail


def test_the_number_and_the_length_of_problems_are_bounded() -> None:
    schema = {"properties": {"rows": {"items": {"type": "number"}}}}
    listed = found(schema, {"rows": ["x" * 1000] * 100})
    assert len(listed) == MAX_PROBLEMS
    assert max(len(problem.detail) for problem in listed) <= MAX_DETAIL


def test_a_value_that_is_too_large_is_reported_only_as_that() -> None:
    schema = {"properties": {"rows": {"maxItems": 2, "items": {"type": "number"}}}}
    (problem,) = found(schema, {"rows": ["x"] * 3})
    assert problem.pointer == "/parameters/rows"


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"type": "nothing"}, "not a JSON Schema"),
        ({"$ref": "https://app.test/schema.json"}, "references that begin with #"),
        ({"requird": ["a"]}, "required"),
    ],
)
def test_a_faulty_schema_is_named(schema: dict[str, Any], word: str) -> None:
    (fault,) = faults(json.dumps(schema).encode())
    assert word in fault
    assert "accepted: " in fault


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        (
            {"type": "numbr"},
            '/type: "numbr" is no type; accepted: array, boolean, integer, null, number, object or string',
        ),
        ({"minimum": "3"}, '/minimum: "3" is not of type "number"; accepted: one that needs no other file'),
        ({"pattern": "("}, '/pattern: "(" is not a "regex"; accepted: one that needs no other file'),
    ],
)
def test_the_place_of_a_fault_is_a_pointer(field: dict[str, Any], fault: str) -> None:
    schema = {"properties": {"a/b": {"items": field}}}
    assert faults(json.dumps(schema).encode()) == [f"is not a JSON Schema at /properties/a~1b/items{fault}"]


@pytest.mark.parametrize("schema", [{"required": ["a"]}, LOOK_AROUND, RECURSIVE])
def test_a_sound_schema_has_no_fault(schema: dict[str, Any]) -> None:
    assert faults(json.dumps(schema).encode()) == []


@pytest.mark.parametrize(
    ("schema", "cheap"),
    [
        ({"$defs": {"a/b": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a~1b"}}}, True),
        (LOOK_AROUND, False),
        (RECURSIVE, False),
        ({"$id": "https://app.test/", "$defs": {"a": {"$id": "a"}}}, False),
        ({"$anchor": "a", "properties": {"x": {"$ref": "#a"}}}, False),
        ({"allOf": [{"$ref": "#/allOf/1"}, {"type": "object"}]}, False),
        ({"unevaluatedProperties": False}, False),
        ({"enum": list(range(MAX_CHEAP_NODES))}, False),
    ],
)
def test_a_schema_is_cheap_only_when_that_is_certain(schema: dict[str, Any], *, cheap: bool) -> None:
    assert is_cheap(schema) is cheap

"""The OpenAPI document: valid, complete, and in line with the report types' schemas."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from starlette.requests import Request
from starlette.responses import Response

import reportd_web
from reportd.config.report_types import BUILT_IN
from reportd_web.api.openapi import document
from tests.web.running import PARAMETERS, USER, Running, calls, submission

REPORTS = Path(reportd_web.__file__).parent / "reports"
NOT_DESCRIBED = {
    ("GET", "/"),
    ("GET", "/jobs/{taskId}"),
    ("GET", "/jobs/{taskId}/evidence/{attempt}.jpg"),
    ("POST", "/jobs/{taskId}/cancel"),
    ("POST", "/jobs/{taskId}/retry"),
    ("POST", "/letters/{id}/requeue"),
    ("POST", "/letters/{id}/drop"),
    ("POST", "/types/{reportType}/open"),
    ("POST", "/types/{reportType}/close"),
    ("POST", "/types/{reportType}/probe"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
}
"""The pages for people; the files of /static are not calls."""


async def served(running: Running) -> dict[str, Any]:
    answer = await running.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    openapi: dict[str, Any] = answer.json()
    return openapi


def described(openapi: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in openapi["paths"].items() for method in item}


async def test_valid_3_1(running: Running) -> None:
    openapi = await served(running)
    assert openapi["openapi"] == "3.1.0"
    validate(openapi, cls=OpenAPIV31SpecValidator)


async def test_describes_every_call_and_no_other(running: Running) -> None:
    assert described(await served(running)) == calls(running.app) - NOT_DESCRIBED


async def test_call_without_a_description_is_found(running: Running) -> None:
    async def new(_: Request) -> Response:
        return Response()

    running.app.add_route("/new/{name:int}", new, methods=["GET", "POST"])
    missing = calls(running.app) - NOT_DESCRIBED - described(await served(running))
    assert missing == {("GET", "/new/{name}"), ("POST", "/new/{name}")}


async def test_each_call_has_a_name_of_its_own(running: Running) -> None:
    items = (await served(running))["paths"].values()
    names = [call["operationId"] for item in items for call in item.values()]
    assert len(set(names)) == len(names)
    assert all(call["summary"] for item in items for call in item.values())


async def test_every_way_out_says_when_to_come_again(running: Running) -> None:
    for item in (await served(running))["paths"].values():
        for call in item.values():
            for status, answer in call["responses"].items():
                if status in ("429", "503") and "application/problem+json" in answer["content"]:
                    assert "Retry-After" in answer["headers"]


# The schema of a submission


def submissions(openapi: dict[str, Any]) -> Any:
    """Whether a body is one that the document describes."""
    content = openapi["paths"]["/reports/generate-async"]["post"]["requestBody"]["content"]
    schema = {**content["application/json"]["schema"], "components": openapi["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


async def test_what_the_document_says_of_a_submission_is_what_is_accepted(running: Running) -> None:
    validator = submissions(await served(running))
    samples = {name: json.loads((REPORTS / f"{name}.sample.json").read_text()) for name in BUILT_IN}
    bodies = [
        submission(),
        *(submission(reportType=name, parameters=parameters) for name, parameters in samples.items()),
        submission(callbackUrl="https://hooks.example.com/a"),
        submission(callbackUrl=None),
        submission(reportType="user_activity"),
        submission(reportType="other"),
        submission(userId="ada"),
        submission(parameters={}),
        submission(parameters={**PARAMETERS, "more": 1}),
        submission(parameters={**PARAMETERS, "period": {"from": "x", "to": "2025-01-01"}}),
        submission(parameters={**PARAMETERS, "rows": []}),
        submission(locale="de-AT", timezone="Europe/Vienna", fileName="報告 v1.2"),
        submission(locale=None, timezone=None, fileName=None, pdf=None),
        submission(pdf={}),
        submission(locale="de_AT"),
        submission(timezone="../UTC"),
        *(submission(fileName=name) for name in ("", " ", ".a", " .a", "a/b", "a\\b", "a\nb", "a\u202eb", "x" * 151)),
        submission(fileName=f"a{' ' * 150}"),
        submission(pdf=[]),
        submission(pdf={"scale": None}),
        submission(more=1),
        submission(callbackUrl="no URL"),
        {"userId": USER},
        [],
    ]
    for body in bodies:
        answer = await running.client.post("/reports/generate-async", json=body)
        assert validator.is_valid(body) == (answer.status_code == 202), body


SCHEMAS = [
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["x"]}}},
    {"properties": {"x": {"$ref": "#"}}, "type": "object", "additionalProperties": False},
    {"properties": {"$ref": {"const": 1}, "const": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "integer"}}},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/a", "required": ["x"]},
    {"const": {"$ref": "#/$defs/a"}},
    {"enum": [{"$ref": "#/$defs/a"}, {"default": {"$ref": "#"}}]},
    {
        "allOf": [{"$ref": "#/$defs/a"}],
        "$defs": {"a": {"anyOf": [{"required": ["x"]}, {"$ref": "#/$defs/b"}]}, "b": False},
    },
    {"patternProperties": {"^x": {"items": {"$ref": "#/$defs/a"}}}, "$defs": {"a": {"type": "integer"}}},
]
VALUES: list[dict[str, Any]] = [
    {},
    {"x": 1},
    {"x": {"x": {}}},
    {"x": {"y": 1}},
    {"$ref": 1},
    {"$ref": 2},
    {"const": "x"},
    {"const": 1},
    {"$ref": "#/$defs/a"},
    {"x": ["y"]},
    {"x": [1]},
    {"default": {"$ref": "#"}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_schema_means_the_same_inside_the_document(schema: dict[str, Any]) -> None:
    openapi = document({"own": schema})
    validate(openapi, cls=OpenAPIV31SpecValidator)
    inside, alone = submissions(openapi), jsonschema_rs.Draft202012Validator(schema)
    for value in VALUES:
        body = {"reportType": "own", "userId": USER, "parameters": value}
        assert inside.is_valid(body) == alone.is_valid(value), value

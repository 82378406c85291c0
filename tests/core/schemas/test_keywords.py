"""Misspelt keywords in a JSON Schema, and words that are none."""

from typing import Any

import pytest

from reportd.core.schemas.keywords import MAX_MISSPELT, misspelt_keywords


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("requird", "required"),
        ("propertis", "properties"),
        ("minimun", "minimum"),
        ("tpye", "type"),
        ("min_length", "minLength"),
        ("additionalproperties", "additionalProperties"),
        ("max-items", "maxItems"),
        ("ref", "$ref"),
        ("Not", "not"),
        ("anyof", "anyOf"),
        ("item", "items"),
        ("enums", "enum"),
    ],
)
def test_a_misspelling_is_reported_with_its_keyword(word: str, meant: str) -> None:
    assert misspelt_keywords({word: {}}) == [("", word, meant)]


@pytest.mark.parametrize(
    "word",
    [
        "x-requird", "X-Note", "note", "unit", "label", "example", "nullable", "id", "$comment", "ui:order", "name",
        "errorMessage", "markdownDescription", "enumNames", "$defs", "definitions", "required", "if", "a", "",
    ],
)  # fmt: skip
def test_keywords_and_annotations_are_not_misspellings(word: str) -> None:
    assert misspelt_keywords({word: {}}) == []


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"properties": {"a": {"minimun": 1}}}, "/properties/a"),
        ({"$defs": {"a": {"items": {"minimun": 1}}}}, "/$defs/a/items"),
        ({"items": [{"minimun": 1}]}, "/items/0"),
        ({"anyOf": [True, {"not": {"minimun": 1}}]}, "/anyOf/1/not"),
        ({"dependencies": {"a": ["b"], "c": {"minimun": 1}}}, "/dependencies/c"),
    ],
)
def test_every_subschema_is_searched(schema: dict[str, Any], where: str) -> None:
    assert misspelt_keywords(schema) == [(where, "minimun", "minimum")]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"minimun": {}}},
        {"const": {"minimun": 1}},
        {"enum": [{"minimun": 1}]},
        {"default": {"minimun": 1}},
        {"required": ["minimun"]},
    ],
)
def test_names_and_values_are_not_searched(schema: dict[str, Any]) -> None:
    assert misspelt_keywords(schema) == []


def test_the_list_is_bounded() -> None:
    assert len(misspelt_keywords({"allOf": [{"minimun": 1}] * 100})) == MAX_MISSPELT

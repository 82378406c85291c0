"""Parameters must not hold nesting too deep for consumers, nor text that can't be stored."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.jobs.job import MAX_DEPTH, unsafe_json

unhurried = settings(deadline=None)
plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
safe_json = st.recursive(
    scalars | plain_text, lambda inner: st.lists(inner) | st.dictionaries(plain_text, inner), max_leaves=20
)
any_json = st.recursive(
    scalars | st.text() | st.integers() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def _nested(depth: int, *, lists: bool = False) -> Any:
    """That many objects one in the other; arrays below the first, if ``lists``."""
    value: Any = [] if lists else {}
    for _ in range(depth - 2):
        value = [value] if lists else {"a": value}
    return {"a": value}


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


@unhurried
@given(any_json)
def test_unsafe_json_agrees_with_its_definition(value: Any) -> None:
    unsafe = "\\u0000" in json.dumps(value).replace("\\\\", "") or _depth(value) > MAX_DEPTH
    assert bool(unsafe_json(value)) is unsafe


@unhurried
@given(safe_json)
def test_safe_values_can_be_encoded(value: Any) -> None:
    assert unsafe_json(value) == ""
    assert orjson.loads(orjson.dumps(value)) == value


@pytest.mark.parametrize("lists", [False, True])
def test_depth(*, lists: bool) -> None:
    assert _depth(_nested(MAX_DEPTH, lists=lists)) == MAX_DEPTH
    assert unsafe_json(_nested(MAX_DEPTH, lists=lists)) == ""
    problem = unsafe_json(_nested(MAX_DEPTH + 1, lists=lists))
    assert problem.endswith("is nested deeper than 32 levels")
    assert unsafe_json(_nested(100_000, lists=lists)) == problem


def test_the_deepest_level_may_hold_values() -> None:
    value: Any = ["text", 1, None]
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert unsafe_json(value) == ""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("\0", " must not hold the character NUL"),
        ({"rows": [1, {"name": "a\0b"}]}, ".rows[1].name must not hold the character NUL"),
        ([[], ["", "\0"]], "[1][1] must not hold the character NUL"),
        ({"a\0": 1}, " has a name that holds the character NUL"),
        ({"rows": [{"\0": None}]}, ".rows[0] has a name that holds the character NUL"),
        ({"x" * 100: "\0"}, f".{'x' * 40} must not hold the character NUL"),
        (None, ""),
        (True, ""),
        (7, ""),
        (1.5, ""),
        ("", ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_a_problem_names_its_path(value: Any, problem: str) -> None:
    assert unsafe_json(value) == problem


def test_a_problem_is_short_even_if_names_are_long() -> None:
    value: Any = "\0"
    for _ in range(MAX_DEPTH):
        value = {"x" * 10_000: value}
    assert len(unsafe_json(value)) < 1500

"""Identifiers: a UUID has one canonical form, and nothing else is one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.jobs.job import canonical_uuid

TASK_ID = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"


@settings(deadline=None)
@given(st.uuids())
def test_a_uuid_has_one_form(value: Any) -> None:
    assert canonical_uuid(str(value)) == canonical_uuid(str(value).upper()) == str(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        b"",
        {},
        "0b9f6c1e6a0c-4b57-9f2a-2f3c8f1f7f10-",
        "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f1g",
        "\N{FULLWIDTH DIGIT ZERO}" + TASK_ID[1:],
    ],
)
def test_invalid_uuids(value: object) -> None:
    assert canonical_uuid(value) is None

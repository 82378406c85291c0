"""The body of a POST request has all parameters."""

from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.pages.post import FORM_TYPE, JSON_TYPE, Body, form_body, json_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def test_json_is_sent_as_it_is() -> None:
    text = '{"a": [1, "é\u2028"], "__proto__": {"b": null}}'
    assert json_body(text) == Body(text.encode(), JSON_TYPE)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("text", "text"),
        ("", ""),
        ("a=b&c +%\r\n</script>", "a=b&c +%\r\n</script>"),
        ("3", "3"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([1, "é"], '[1,"é"]'),
        ({"from": "x"}, '{"from":"x"}'),
    ],
)
def test_a_field_is_a_text_or_json(value: object, field: str) -> None:
    body = form_body(orjson.dumps({"the name": value}).decode())
    assert body.media_type == FORM_TYPE
    assert parse_qs(body.content.decode(), keep_blank_values=True) == {"the name": [field]}


@given(st.dictionaries(TEXTS, TEXTS))
def test_any_texts_arrive_exactly(parameters: dict[str, str]) -> None:
    content = form_body(orjson.dumps(parameters).decode()).content
    assert content.isascii()
    found = parse_qs(content.decode(), keep_blank_values=True, strict_parsing=bool(parameters))
    assert found == {name: [value] for name, value in parameters.items()}


def test_a_body_is_in_no_log() -> None:
    assert "secret" not in repr(json_body('{"a": "secret"}'))

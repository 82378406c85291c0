"""Failures of one cause share a signature; failures of different causes do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.dead_letters.signature import MAX_CHARACTERS, SIGNATURE, normalised, signature

SAME = [
    ("the page took longer than 60 s", "the page took longer than 7.5 s"),
    (
        "https://reports.internal/render?params=%7B%22a%22%3A1%7D answered 503",
        "https://Reports.Internal:8443/render?params=%7B%7D#top answered 500",
    ),
    ("https://user:secret@a.test/x answered 503", "https://a.test/x answered 503"),
    ("https://a.test/render/%7B%22a%22%7D answered 503", "https://a.test/render/%7B%7D answered 503"),
    ("https://a.test/r/4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e failed", "https://a.test/r/" + "a" * 32 + " failed"),
    ("db.internal:5432 refused the connection", "db.internal:5433 refused the connection"),
    ("10.0.0.7:3000 refused the connection", "10.0.0.8:3001 refused the connection"),
    ("TypeError: can't read \"rows\" of 'undefined'", "TypeError: can't read \"days\" of 'null'"),
    ("expected `a`, got “b”", "expected `c d`, got “”"),
    ("at 2025-01-01T10:00:00.123Z", "at 2026-12-31 23:59:59+02:00"),
    ("heap at 0xdeadbeef", "heap at 0x1234"),
    ("etag 0123456789abcdef0123", "etag fedcba98765432100000"),
    ("/parameters/rows/0/quantity: is no number", "/parameters/rows/4711/quantity: is no number"),
    ("a  b\n c", "a b c"),
    ("1,024 of 2,048", "7 of -9"),
    (
        "not done within 60 s, while waiting for the page to load",
        "not done within 60 s, while waiting for the page to load; pending: https://a.test/b.png, https://a.test/c.png",
    ),
    ("not done, while waiting; last value: a", "not done, while waiting; last value: b; pending: https://a.test/"),
]
SAME += [
    ("a.html, line 2: 'x' is undefined", "a.html, line 2: 'x' is undefined; accepted: y, z and 3 more"),
    ("'dict object' has no attribute 'x'; accepted: y", "'dict object' has no attribute 'x'"),
]
DIFFERENT = [
    ("https://a.test/render answered 503", "https://b.test/render answered 503"),
    ("https://a.test/render answered 503", "https://a.test/print answered 503"),
    ("x is not defined", "y is not defined"),
    ("it isn't there and can't be", "it isn't here and can't be"),
    ("/parameters/rows/0/quantity: is no number", "/parameters/rows/0/revenue: is no number"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_details_that_differ_only_in_numbers_and_names_share_a_signature(first: str, second: str) -> None:
    assert normalised(first) == normalised(second)
    assert signature("timeout", first) == signature("timeout", second)
    assert signature("timeout", first) != signature("unreachable", first)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_causes_differ(first: str, second: str) -> None:
    assert signature("timeout", first) != signature("timeout", second)


def test_a_signature_is_the_same_in_every_version() -> None:
    """Databases keep it."""
    assert signature("timeout", "the page took longer than 60 s") == "g-9ffcf986c6c1e36d"
    assert normalised('host a:80 said "no" 3 times') == "host a said {value} {n} times"


@given(kind=st.text(), detail=st.text(st.characters(codec=None)))
def test_every_text_has_a_signature(kind: str, detail: str) -> None:
    assert SIGNATURE.fullmatch(signature(kind, detail))
    assert len(normalised(detail)) <= MAX_CHARACTERS


def test_a_long_detail_takes_no_time() -> None:
    assert len(normalised("'1:" * 100_000 + "9" * 100_000)) <= MAX_CHARACTERS

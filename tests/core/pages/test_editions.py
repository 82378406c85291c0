"""Editions: their hash, and files that are saved only in part."""

import pytest

from reportd.core.pages.editions import Edition, has_end

PNG = b"\x89PNG...IEND\xaeB`\x82"
WHOLE = {
    "a.html": b"<html><p>x</p></html>\n",
    "a.css": b"/* { */ p { content: '}' } @media print { q { color: red } }",
    "a.svg": b"<svg></svg>\n",
    "a.png": PNG,
    "a.jpg": b"\xff\xd8\xff\xd9",
    "a.webp": b"RIFF\x04\x00\x00\x00WEBP",
    "a.woff2": b"wOF2....\x00\x00\x00\x0c",
    "a.ttf": b"x",
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_off_has_no_end(name: str) -> None:
    assert has_end(name, WHOLE[name])
    assert not has_end(name, WHOLE[name][:-8])


@pytest.mark.parametrize("css", [b"", b" \n", b"p { ", b"/* p {}", b"p { content: 'x", b'p { content: "x'])
def test_a_style_sheet_that_is_not_closed_has_no_end(css: bytes) -> None:
    assert not has_end("a.css", css)


def test_what_had_an_end_and_has_none_is_half_saved() -> None:
    before = Edition.of("a.html", {"a.html": "<html></html>"}, {"a.png": PNG})
    assert "a.html is cut off" in Edition.of("a.html", {"a.html": "<html>"}, {"a.png": PNG}).half_saved(before)
    assert "a.png is cut off" in Edition.of("a.html", before.sources, {"a.png": PNG[:9]}).half_saved(before)
    assert Edition.of("a.html", {"a.html": "<html>x</html>"}, {"a.png": PNG, "b.png": b""}).half_saved(before) == ""


def test_what_now_extends_another_has_its_end() -> None:
    before = Edition.of("a.html", {"a.html": "<html></html>"}, {})
    child = Edition.of("a.html", {"a.html": "{# a #}\n{%-  extends 'b.html' %}{% block c %}{% endblock %}"}, {})
    assert child.half_saved(before) == ""


def test_an_empty_file_that_was_not_empty_is_half_saved() -> None:
    before = Edition.of("a.html", {"a.html": "x", "b.html": ""}, {})
    assert "a.html is cut off" in Edition.of("a.html", {"a.html": "\n", "b.html": ""}, {}).half_saved(before)
    assert Edition.of("a.html", {"a.html": "x", "b.html": " "}, {}).half_saved(before) == ""


@pytest.mark.parametrize(
    ("old", "new", "goes_on"),
    [
        ("one two", "one ", True),
        ("one two", "one two", False),
        ("one two\n\n", "one two\n", False),
        ("one two", "one three", False),
        ("one two", "", True),
        ("one", "one two", False),
    ],
)
def test_the_beginning_of_what_was_before_may_go_on(old: str, new: str, goes_on: bool) -> None:
    before, after = (Edition.of("a.html", {"a.html": text}, {"a.js": b"x"}) for text in (old, new))
    assert after.may_go_on(before) is goes_on
    before, after = (Edition.of("a.html", {}, {"a.js": text.encode()}) for text in (old, new))
    assert after.may_go_on(before) is goes_on


def test_what_never_had_an_end_needs_none() -> None:
    before = Edition.of("a.html", {"a.html": "<p>x"}, {"a.png": b"x"})
    assert Edition.of("a.html", {"a.html": "<p>y", "b.html": ""}, {"a.png": b"y"}).half_saved(before) == ""


def test_the_hash_is_that_of_all_files() -> None:
    one = Edition.of("a.html", {"a.html": "x", "b.html": "y"}, {"a.png": PNG})
    assert Edition.of("a.html", {"b.html": "y", "a.html": "x"}, {"a.png": PNG}).hash == one.hash
    others = [
        Edition.of("b.html", one.sources, one.assets),
        Edition.of("a.html", {"a.html": "x"}, one.assets),
        Edition.of("a.html", one.sources, {}),
        Edition.of("a.html", one.sources, {"b.png": PNG}),
        Edition.of("a.html", one.sources, {"a.png": PNG + b"x"}),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == 6
    assert "IEND" not in repr(one)

"""Names of files that a template may use, and the addresses that lead to them."""

import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.pages.assets import (
    ORIGIN,
    AssetNameError,
    base_url,
    checked_name,
    may_refer,
    media_type,
    name_in,
    resolved,
    with_base,
)

BASE = base_url("0123456789ab")


@pytest.mark.parametrize(
    ("reference", "within", "name"),
    [
        ("logo.png", "", "logo.png"),
        (" img/logo.PNG?v=3#x ", "", "img/logo.PNG"),
        ("a%20b.svg", "", "a b.svg"),
        ("./a/../logo.png", "", "logo.png"),
        ("../fonts/inter.woff2", "css/print.css", "fonts/inter.woff2"),
        ("inter.woff2", "css/print.css", "css/inter.woff2"),
        ("img\\logo.png", "", "img/logo.png"),
        ("lo\ngo.png", "", "logo.png"),
    ],
)
def test_a_relative_address_is_a_file(reference: str, within: str, name: str) -> None:
    assert resolved(reference, within) == name


@pytest.mark.parametrize(
    "reference",
    ["", "#part", "?x", "//cdn.test/a.png", "https://cdn.test/a.png", "DATA:image/png;base64,AA==", "mailto:a"],
)
def test_another_address_is_none(reference: str) -> None:
    assert resolved(reference) is None


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("../logo.png", "leads out"),
        ("a/../../logo.png", "leads out"),
        ("%2e%2e/logo.png", "leads out"),
        ("..%2flogo.png", "leads out"),
        ("..\\logo.png", "leads out"),
        ("/logo.png", "absolute path; accepted: a relative one, such as logo.png"),
        ("/", "such as logo.png"),
        ("%2flogo.png", "absolute path"),
        (".env.png", "is hidden"),
        (".git/logo.png", "is hidden"),
        ("a%00.png", "no name of a file"),
        ("a%5c..%5cb.png", "no name of a file"),
        ("%ff.png", "no UTF-8"),
        ("a" * 600 + ".png", "no name of a file"),
        ("invoice.html", "is of a kind that is not served"),
        ("invoice.sample.json", "is of a kind that is not served"),
        ("reportd.toml", "is of a kind that is not served"),
        ("png", "is of a kind that is not served"),
        ("logo.png%2fx", "is of a kind that is not served"),
    ],
)
def test_what_is_no_file_of_the_template_is_refused(reference: str, says: str) -> None:
    with pytest.raises(AssetNameError, match=says):
        resolved(reference)


def test_a_name_is_plain() -> None:
    for name in ("a//b.png", "./a.png", "a/./b.png"):
        with pytest.raises(AssetNameError, match="plain name"):
            checked_name(name)


def test_an_address_of_the_origin_leads_to_its_file() -> None:
    assert name_in(f"{BASE}img/a%20b.png?x#y", BASE) == "img/a b.png"
    assert name_in(f"{BASE}img//a.png", BASE) == resolved("img//a.png") == "img/a.png"
    for url in (f"{ORIGIN}/logo.png", f"{ORIGIN}/0123456789abc/logo.png", "https://else.test/logo.png"):
        with pytest.raises(AssetNameError, match="leads out"):
            name_in(url, BASE)
    for path in (
        "%2e%2e/logo.png",
        "..%2f..%2fetc/logo.png",
        "%2fetc/logo.png",
        "",
        ".hidden.png",
        "a%00.png",
        "%ff.png",
    ):
        with pytest.raises(AssetNameError):
            name_in(BASE + path, BASE)


@given(st.text())
def test_no_address_leads_out(text: str) -> None:
    for read in (partial(name_in, BASE + text, BASE), partial(resolved, text)):
        try:
            name = read()
        except AssetNameError:
            continue
        if name is not None:
            assert not name.startswith("/")
            assert not any(part.startswith(".") for part in name.split("/"))
            assert media_type(name) is not None
            assert "\0" not in name


REFERRING = [
    '<img src="logo.png">',
    "<IMG SRC = logo.png>",
    "<img src='a/b.png'>",
    "<img srcset='a.png 2x'>",
    '<link rel=stylesheet href="a.css">',
    "<style>p { background: url(a.png) }</style>",
    "<style>p { background: URL( 'a.png' ) }</style>",
    '<style>@import "a.css";</style>',
    '<style>@import"a.css";</style>',
    "<style>@import/**/'a.css';</style>",
    '<style>p { background: image-set("a.png" 1x) }</style>',
    '<style>p { background: image-set("data:," 1x, "a.png" 2x) }</style>',
    '<img srcset="https://cdn.test/a.png 1x, a.png 2x">',
    '<video poster="a.png">',
    '<img src="&#x6c;ogo.png">',
]
SILENT = [
    "",
    "<p>src of it, href or not",
    '<a href="https://example.test/">x</a> <a href="#part">y</a> <a href="mailto:a@b.test">z</a>',
    '<img src="data:image/png;base64,AA=="><use href="#a"/>',
    "<style>p { fill: url(#a); background: url( 'data:,' ) }</style>",
    '<img src="//cdn.test/a.png">',
    '<img src="">',
]


@pytest.mark.parametrize("html", REFERRING)
def test_a_page_that_may_ask_for_a_file(html: str) -> None:
    assert may_refer(html)


def test_a_long_page_is_judged_in_no_time() -> None:
    begun = time.thread_time()
    for piece in (
        "<tr><td>12</td></tr>",
        '<a href="https://a.test/">',
        "url(#a) ",
        "src",
        "data ",
        "src" + " " * 99,
        "@import ",
        "<base ",
    ):
        may_refer(piece * (3_000_000 // len(piece)))
        with_base(piece * (3_000_000 // len(piece)), "B")
    assert time.thread_time() - begun < 3


@pytest.mark.parametrize("html", SILENT)
def test_a_page_that_asks_for_none(html: str) -> None:
    assert not may_refer(html)


@pytest.mark.parametrize(
    ("html", "changed"),
    [
        ("<p>x", '<base href="B"><p>x'),
        ("<!doctype html><html lang=de>", '<!doctype html><base href="B"><html lang=de>'),
        (" <!-- a > b --> \n<!DOCTYPE html>\n<p>", ' <!-- a > b --> \n<!DOCTYPE html><base href="B">\n<p>'),
        ("<base target=_blank><p>", '<base href="B"><base target=_blank><p>'),
        ('<base href="https://own.test/"><p>', '<base href="https://own.test/"><p>'),
        ('<BASE\n target="_blank" href = "https://own.test/">', '<BASE\n target="_blank" href = "https://own.test/">'),
        ("<!-- never closed", '<base href="B"><!-- never closed'),
    ],
)
def test_the_base_stands_behind_the_document_type(html: str, changed: str) -> None:
    assert with_base(html, "B") == changed

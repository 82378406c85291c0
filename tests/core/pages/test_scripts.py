"""The names of scripts, and the texts that name characters."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.pages.scripts import MAX_NAMED, described, script_of

SCRIPTS = {
    "A": "Latin",
    "é": "Latin",
    "Ж": "Cyrillic",
    "ω": "Greek",
    "灯": "CJK",
    "\uf900": "CJK",
    "あ": "Hiragana",
    "램": "Hangul",
    "\u1105": "Hangul",
    "م": "Arabic",
    "\u0661": "Arabic Indic",
    "א": "Hebrew",
    "ก": "Thai",
    "\u0e31": "Thai",
    "क": "Devanagari",
    "\U00010000": "Linear B",
    "\U00013000": "Egyptian",
    "\U00010380": "Ugaritic",
    "\u1980": "New Tai Lue",
    "\u1401": "Canadian",
    "\u02ba": "Modifier",
    "☐": "Symbols",
    "①": "Symbols",
    "€": "Symbols",
    "—": "Symbols",
    "😀": "Emoji",
    "\U0001f1e9": "Emoji",
    "\U0001f3fd": "Emoji",
    "\ue000": "Private use",
    "\u0007": "Control characters",
    "\ud800": "Surrogates",
    "\u0378": "Unassigned",
    "\u00a0": "Spaces",
    "\U00017000": "Tangut",
}


@pytest.mark.parametrize(("character", "script"), SCRIPTS.items())
def test_a_character_has_a_script(character: str, script: str) -> None:
    assert script_of(character) == script or (script == "Tangut" and script_of(character) == "Unknown")


@given(st.integers(0, sys.maxunicode).map(chr))
def test_every_character_has_one_that_can_be_printed(character: str) -> None:
    script = script_of(character)
    assert script.isprintable()
    assert script.isascii()
    assert 2 <= len(script) < 60


def test_characters_are_named_by_script_with_their_code_points() -> None:
    assert described("ข☐ก😀") == "Thai: ก U+0E01, ข U+0E02; Symbols: ☐ U+2610; Emoji: 😀 U+1F600"
    assert described("\u0301\u0007\ue000") == "Control characters: U+0007; Combining: U+0301; Private use: U+E000"


@given(st.sets(st.characters(min_codepoint=0x100), min_size=1))
def test_a_text_names_ten_at_most_and_shows_nothing_that_joins_or_hides(characters: set[str]) -> None:
    text = described(characters)
    assert text.count("U+") == min(len(characters), MAX_NAMED)
    assert text.endswith(f" and {len(characters) - MAX_NAMED} more") is (len(characters) > MAX_NAMED)
    assert not [one for one in text if one != " " and unicodedata.category(one)[0] in "CMZ"]

"""Texts of bounded length."""

from hypothesis import given
from hypothesis import strategies as st

from reportd.core.text import cut


@given(st.text(), st.integers(1, 20))
def test_a_text_is_cut_only_when_it_is_too_long(text: str, chars: int) -> None:
    shown = cut(text, chars)
    assert len(shown) <= chars
    assert shown == text if len(text) <= chars else shown == text[: chars - 1] + "…"

"""How long a page's URL becomes, without making it, and from which length on it can't be opened."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.pages.url_length import MAX_URL_CHARS, quoted_length, too_long, url_length

ID = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"


@given(st.text())
def test_the_length_of_what_is_escaped_is_that_of_the_escaped(text: str) -> None:
    assert quoted_length(text) == len(quote(text, safe=""))


@pytest.mark.parametrize(
    "url",
    [
        "https://reports.internal/render",
        "https://reports.internal/render?params={params}",
        "https://reports.internal/{taskId}/{userId}/{userId}?a={params}#{params}",
    ],
)
def test_the_length_of_a_url_is_that_of_the_filled_one(url: str) -> None:
    text = '{"name":"智能 lamp"}'
    filled = url.replace("{params}", quote(text, safe="")).replace("{taskId}", ID).replace("{userId}", ID)
    assert url_length(url, text) == len(filled)


def test_a_url_as_long_as_the_browser_takes_is_no_problem_and_one_character_more_is() -> None:
    assert too_long(MAX_URL_CHARS) == ""
    assert too_long(MAX_URL_CHARS + 1) == (
        "the page's URL would have 2097153 characters; the browser opens at most 2097152"
    )

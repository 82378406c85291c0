"""The parser of a submission: well-formed bodies, and the problems of the others."""

from typing import Any

import orjson
import pytest

from reportd.core.jobs.submission import InvalidSubmissionError, NotJsonError, escaped, parse
from reportd.core.pages.inert import Html, is_inert

USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
GOOD: dict[str, Any] = {"reportType": "sales_summary", "parameters": {"a": 1}, "userId": USER}


def pointers(**changes: Any) -> list[str]:
    with pytest.raises(InvalidSubmissionError) as caught:
        parse(orjson.dumps(GOOD | changes))
    return [problem.pointer for problem in caught.value.problems]


@pytest.mark.parametrize("url", [None, "https://app.test/done", "http://[::1]:8080/x?y=z"])
def test_a_well_formed_body_is_parsed(url: str | None) -> None:
    submission = parse(orjson.dumps(GOOD | {"callbackUrl": url}))
    assert (submission.report_type, submission.parameters, submission.user_id) == ("sales_summary", {"a": 1}, USER)
    assert submission.callback_url == url


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_a_body_that_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        parse(body)


def test_a_body_that_is_not_an_object() -> None:
    with pytest.raises(InvalidSubmissionError, match="must be an object, not"):
        parse(b"[1]")


def test_every_invalid_field_is_named() -> None:
    assert pointers(reportType=1, userId="x", parameters=[], callbackUrl="ftp://x") == [
        "/reportType",
        "/userId",
        "/parameters",
        "/callbackUrl",
    ]
    assert pointers(**{"a/b": 1}) == ["/a~1b"]
    assert pointers(parameters={"a": "\x00"}) == ["/parameters"]
    with pytest.raises(InvalidSubmissionError, match="and is missing"):
        parse(b"{}")


@pytest.mark.parametrize("url", [1, "x" * 3000, "https://\u00fc.test", "https://", "https://x:0/", "https://x:99999/"])
def test_invalid_callback_urls(url: object) -> None:
    assert pointers(callbackUrl=url) == ["/callbackUrl"]


def test_a_step_of_a_pointer_is_escaped_and_cut() -> None:
    assert escaped("~/" * 100) == "~0~1" * 40


@pytest.mark.parametrize(
    ("text", "inert"), [("<p>text", True), ("<script>1</script>", False), ("<p ONclick=x>", False)]
)
def test_whether_a_document_is_inert(text: str, *, inert: bool) -> None:
    assert Html(text, is_inert(text)) == Html(text, inert)

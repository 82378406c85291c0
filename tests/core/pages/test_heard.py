"""What a page may say, and what is made of it."""

import time

import pytest

from reportd.core.faults import Blame, Fault, FaultKind
from reportd.core.pages.heard import MAX_REASON, NO_REASON, heard


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("the orders could not be loaded", "the orders could not be loaded"),
        ("line 1\r\n\tline 2\x1b[31m\x00\x85red", "line 1 line 2 [31m red"),
        (
            "https://user:secret@api.internal/orders?token=abc#x answered 500",
            "https://api.internal/orders answered 500",
        ),
        ("failed: no data", "failed: no data"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("", NO_REASON),
        (" \n ", NO_REASON),
        ("x" * 10_000, "x" * (MAX_REASON - 1) + "…"),
        ("half a pair \ud800", "half a pair \ud800"),
    ],
)
def test_the_reason_of_a_page_is_one_short_line_without_secrets(reason: str, detail: str) -> None:
    assert heard(f"failed:{reason}") == Fault(FaultKind.PAGE_FAILED, detail)


@pytest.mark.parametrize("text", ["http://a ", "a ", "\x01 ", "x"])
def test_a_page_that_says_megabytes_holds_nobody_up(text: str) -> None:
    before = time.thread_time()
    assert heard("failed:" + text * (3_900_000 // len(text))) is not None
    assert heard("progress:" + text * (3_900_000 // len(text))) is None
    assert time.thread_time() - before < 0.05


@pytest.mark.parametrize(
    ("said", "progress"),
    [("0", 0.0), ("0.4", 0.4), ("1", 1.0), ("-3", 0.0), ("17", 1.0), ("1e-400", 0.0), ("1e308", 1.0)],
)
def test_progress_is_from_0_to_1(said: str, progress: float) -> None:
    assert heard(f"progress:{said}") == progress


@pytest.mark.parametrize("said", ["progress:", "progress:NaN", "progress:-Infinity", "progress:half", "ready", "", "4"])
def test_anything_else_says_nothing(said: str) -> None:
    assert heard(said) is None


def test_the_failure_of_a_page_counts_for_its_breaker_and_is_tried_again() -> None:
    nature = Fault(FaultKind.PAGE_FAILED, "no data").nature
    assert (nature.blame, nature.counts_for_breaker, nature.retry, nature.transient) == (Blame.PAGE, True, True, True)

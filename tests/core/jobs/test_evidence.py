"""Evidence of a failed attempt: the end of what a page says, and never more than there is room for."""

import pytest

from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import (
    MAX_ACTIVITY,
    MAX_LINES,
    MAX_SCREENSHOT_BYTES,
    MAX_TEXT,
    Console,
    Evidence,
)


def test_the_last_lines_of_a_console_are_kept_in_their_order() -> None:
    console = Console()
    for number in range(MAX_LINES + 7):
        console.add("log", [str(number), "rows"])
    lines = console.lines()
    assert (len(lines), lines[0], lines[-1]) == (MAX_LINES, "log: 7 rows", f"log: {MAX_LINES + 6} rows")


def test_a_line_is_one_line_and_cut() -> None:
    console = Console()
    console.add("error", ["one\n two\tthree", "x" * 10_000, "never seen"])
    (line,) = console.lines()
    assert line.startswith("error: one two three xxx")
    assert len(line) == MAX_TEXT
    assert line.endswith("x…")


@pytest.mark.parametrize("size", [MAX_SCREENSHOT_BYTES, MAX_SCREENSHOT_BYTES + 1])
def test_a_screenshot_that_is_too_large_is_left_out(size: int) -> None:
    kept = Evidence(bytes(size), ("log: a",), ("/x answered 404",), "printing").within_bounds()
    fits = size <= MAX_SCREENSHOT_BYTES
    assert kept == Evidence(bytes(size) if fits else b"", ("log: a",), ("/x answered 404",), "printing")


def test_a_long_activity_is_cut() -> None:
    assert len(Evidence(activity="x" * 5000).within_bounds().activity) == MAX_ACTIVITY


def test_evidence_is_not_in_the_text_of_a_fault() -> None:
    error = FaultError(FaultKind.TIMEOUT, "late", Evidence(b"jpeg", ("log: a name",), (), "printing"))
    assert str(error) == "timeout: late"
    assert repr(error.evidence) == "Evidence(requests=(), activity='printing')"
    assert FaultError(FaultKind.TIMEOUT, "late").evidence is None

"""Pages and templates as people print them, each with what has to come out (I14; ``corpus/``, read by ``cases``).

Each case takes the whole way from the table ``[reports.NAME]`` to the PDF, in one browser for all of them.
"""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from reportd.core.faults import Fault
from reportd.ports import Pdf
from tests.documents.cases import Case, ExpectedSheet, Opened, cases
from tests.documents.opening import filled, render
from tests.documents.sheets import Drawing, Sheet, drawings_of, plain, sheets_of
from tests.servers.chromium import Stage, open_stage

pytestmark = pytest.mark.browser

CLOSE_MM = 1.2
"""How far a word or an edge may be from where it is expected: fonts differ a little from machine to machine."""

PAPER_MM = 0.6
"""Papers are whole points, and Chromium rounds up."""

CLOSE_COLOUR = 14
"""How far a colour may be, of 255: JPEG and colour profiles change it a little."""

LEAST_CASES = 60
COLOURS = {
    "white": "#ffffff",
    "black": "#000000",
    "red": "#ff0000",
    "lime": "#00ff00",
    "green": "#008000",
    "blue": "#0000ff",
    "yellow": "#ffff00",
    "grey": "#808080",
    "orange": "#ffa500",
}

CASES = cases()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def parametrized(opened: Opened) -> object:
    marks = [pytest.mark.xfail(reason=opened.case.xfail)] if opened.case.xfail else []
    return pytest.param(opened, id=str(opened), marks=marks)


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({opened.name for opened in CASES}) >= LEAST_CASES


def test_no_two_cases_prove_the_same() -> None:
    said = {opened.name: opened.case.says for opened in CASES}
    assert len(set(said.values())) == len(said)


@pytest.mark.parametrize("opened", [parametrized(opened) for opened in CASES])
def test_it_comes_out_as_expected(opened: Opened, stage: Stage, tmp_path: Path) -> None:
    """``says`` of the case is what it proves."""
    case = opened.case
    for font in case.fonts:
        if not has_font(font):
            pytest.skip(f"no font is here for {font}")
    stage.guard.forget()
    outcome, seconds, names = stage.portal.call(render, opened, stage, tmp_path)
    stage.guard.check()

    if case.fault is not None:
        assert isinstance(outcome, Fault), f"printed, with {outcome.warnings}"
        assert outcome.kind == case.fault.kind, outcome.detail
        assert filled(case.fault.says, names) in outcome.detail
    else:
        assert isinstance(outcome, Pdf), outcome
        assert outcome.data is not None
        expected = [(w.kind, filled(w.what, names), filled(w.why, names), w.count) for w in case.warnings]
        assert sorted((w.kind, w.what, w.why, w.count) for w in outcome.warnings) == sorted(expected)
        check_sheets(case, outcome.data)
    assert seconds < case.within_seconds


@cache
def has_font(pattern: str) -> bool:
    """Whether fontconfig knows a font for ``:lang=ar`` or ``:charset=1f600``."""
    return subprocess.run(["fc-list", pattern], capture_output=True, check=True).stdout.strip() != b""


# --- checking ---------------------------------------------------------------------------------------------------


def check_sheets(case: Case, pdf: bytes) -> None:
    sheets = sheets_of(pdf)
    assert len(sheets) == (case.pages or len(case.sheets)), [sheet.text[:80] for sheet in sheets]
    number = 0
    for expected in case.sheets:
        number = expected.page or number + 1
        sheet = sheets[number - 1]
        check_text(expected, sheet)
        if expected.painted is not None or expected.points:
            (drawing,) = drawings_of(pdf, first=number, last=number)
            check_drawing(expected, drawing)


def check_text(expected: ExpectedSheet, sheet: Sheet) -> None:
    assert (sheet.width, sheet.height) == pytest.approx(expected.paper, abs=PAPER_MM)
    if expected.text is not None:
        assert sheet.text == plain(expected.text)
    for part in expected.has:
        assert f" {plain(part)} " in f" {sheet.text} "
    for part in expected.lacks:
        assert plain(part) not in sheet.text
    for word, corner in expected.words.items():
        [(left, top, _, _)] = sheet.boxes_of(word)
        assert (left, top) == pytest.approx(corner, abs=CLOSE_MM), word


def check_drawing(expected: ExpectedSheet, drawing: Drawing) -> None:
    if expected.painted is not None:
        assert drawing.painted() == pytest.approx(expected.painted, abs=CLOSE_MM)
    for point in expected.points:
        name = COLOURS.get(point.colour, point.colour)
        colour = tuple(bytes.fromhex(name.removeprefix("#")))
        assert drawing.colour(*point.at) == pytest.approx(colour, abs=CLOSE_COLOUR), f"at {point.at}, {name} expected"

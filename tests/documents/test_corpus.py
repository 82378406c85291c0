"""Pages and templates as people print them, each with what has to come out (``corpus/``, read by ``cases``).

Each case takes the whole way from the table ``[reports.NAME]`` to the PDF, in one browser for all of them.
"""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import trio

from reportd.config import Config
from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.ports import Pdf
from tests.daemon.node import job
from tests.documents.cases import Answer, Case, ExpectedSheet, Opened, cases, media_type, report_type
from tests.documents.sheets import Drawing, Sheet, drawings_of, plain, sheets_of
from tests.fakes.checking import catalogue_of
from tests.servers.chromium import Stage, open_stage
from tests.servers.site import Content, Handler, Reply, Request, Site, open_site

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


# --- opening ----------------------------------------------------------------------------------------------------


async def render(opened: Opened, stage: Stage, folder: Path) -> tuple[Pdf | Fault, float, Mapping[str, str]]:
    """What comes out, how long it took, and the addresses that ``$SITE`` and ``$CDN`` stand for."""
    case = opened.case
    with trio.fail_after(60):
        async with open_site() as site, open_site(host="127.0.0.2") as cdn, stage.page() as page:
            names = {"$SITE": site.url(""), "$CDN": cdn.url("")}
            site.pages |= {"/report": of_page(case, names)}
            fill(site, cdn, case, names)
            (folder / "page.html").write_text(filled(case.page, names))
            config = Config(reports={"corpus": report_type(case, opened.way, site.url(case.path))})
            wanted = await catalogue_of(config, [folder]).request(
                replace(job(report_type="corpus"), parameters=case.parameters)
            )
            begun = trio.current_time()
            try:
                with trio.fail_after(wanted.timeout_seconds):
                    outcome: Pdf | Fault = await page.render(wanted)
            except FaultError as error:
                outcome = error.fault
            except trio.TooSlowError:  # as the pool does
                outcome = Fault(FaultKind.TIMEOUT, f"not done within its time, while {page.activity}")
            return outcome, trio.current_time() - begun, names


def fill(site: Site, cdn: Site, case: Case, names: Mapping[str, str]) -> None:
    for path, given in case.answers.items():
        answers = given if isinstance(given, list) else [given]
        where, local = (cdn, path.removeprefix("cdn")) if path.startswith("cdn") else (site, path)
        replies = [reply(each, local, case, names) for each in answers]
        plain = len(replies) == 1 and not answers[0].seconds
        where.pages[local] = replies[0] if plain else one_after_the_other(replies, [each.seconds for each in answers])


def one_after_the_other(replies: list[Reply], seconds: list[float]) -> Handler:
    asked = 0

    async def handle(request: Request, stream: trio.SocketStream) -> None:
        nonlocal asked
        number, asked = min(asked, len(replies) - 1), asked + 1
        await trio.sleep(seconds[number])
        await stream.send_all(replies[number].encoded(request.method))

    return handle


def of_page(case: Case, names: Mapping[str, str]) -> Content:
    return Reply(filled(case.page, names), content_type=case.type or media_type(".html"))


def reply(answer: Answer, path: str, case: Case, names: Mapping[str, str]) -> Reply:
    headers = {name: filled(value, names) for name, value in answer.headers.items()}
    if answer.redirect:
        headers["Location"] = filled(answer.redirect, names)
    kind = answer.type or media_type(path)
    status = 302 if answer.redirect and answer.status == 200 else answer.status
    return Reply(filled(case.page if answer.page else answer.body, names), status, kind, headers)


def filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


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

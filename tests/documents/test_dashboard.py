"""The built-in dashboard as it is printed: one sheet, whatever it holds."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from reportd.adapters.templates.templates import Templates
from tests.documents.built_in import LANGUAGES, REPORTS, is_valid, printed, sample
from tests.documents.sheets import drawings_of, sheets_of
from tests.servers.chromium import Stage, open_stage

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates([REPORTS])


PARTS = ("trend", "share", "ranking", "stack", "table")
MOST = 999_999_999_999.99


def fullest(text: str) -> dict[str, Any]:
    """The largest parameters that the schema allows, made of a text."""

    def name(length: int, number: int = 0) -> str:
        return f"{(text * length)[: length - 1]}{number}"

    head = {"unit": "EUR", "title": name(60)}
    tile = {"label": name(40), "note": name(40), "unit": "EUR", "value": -MOST, "change": -9999.9}
    row = {"name": name(60), "value": -MOST, "change": 9999.9, "history": [MOST, -MOST] * 30}
    columns = [[name(11, n), MOST * (n - 6) / 6] for n in range(12)]
    months = [f"{year}-{month:02}" for year in range(1990, 2023) for month in range(1, 13)]
    return {
        "title": name(60),
        "company": name(80),
        "customer": name(60),
        "currency": "EUR",
        "period": {"from": "2024-12-31", "to": "2025-12-30"},
        "tiles": [tile] * 6,
        "trend": head | {"series": {name(24, n): [[month, n * MOST / 3] for month in months] for n in range(4)}},
        "share": head | {"parts": [[name(60, n), MOST / (n + 1)] for n in range(8)]},
        "ranking": head | {"bars": [[name(60, n), MOST * (n - 4) / 4] for n in range(8)]},
        "stack": head | {"series": dict.fromkeys((name(24, n) for n in range(5)), columns)},
        "table": head | {"rows": [row] * 8},
    }


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_dashboard_is_one_landscape_sheet_in_its_language(stage: Stage, templates: Templates, locale: str) -> None:
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", sample("dashboard"), locale))
    assert [sheet.width, sheet.height] == pytest.approx([297, 210], abs=0.6)
    words = {"en": "Change", "de": "Änderung", "zh": "变化", "ar": "القيمة"}
    assert words[locale] in sheet.text


def test_a_name_in_the_other_direction_is_cut_at_its_own_end(stage: Stage, templates: Templates) -> None:
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", sample("dashboard"), "ar"))
    assert "Wool blanket, grey" in sheet.text


@pytest.mark.parametrize("text", ["W", "Wort ", "中", "كلمة "])
@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_fullest_dashboard_is_one_sheet(stage: Stage, templates: Templates, locale: str, text: str) -> None:
    parameters = fullest(text)
    assert is_valid("dashboard", parameters)
    pdf = printed(stage, templates, "dashboard", parameters, locale)
    (drawing,) = drawings_of(pdf)
    painted = drawing.painted()
    assert painted is not None
    assert painted[0] > 13
    assert painted[2] < 297 - 13
    # The last part of the last row, above the page number.
    (sheet,) = sheets_of(pdf)
    assert max(word.box[3] for word in sheet.words if word.box[1] < 195) < 197


@pytest.mark.parametrize("locale", LANGUAGES)
def test_each_part_of_a_whole_has_its_line_in_its_card(stage: Stage, templates: Templates, locale: str) -> None:
    parameters = fullest("كلمة ")
    parameters["share"]["unit"] = "AED"
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", parameters, locale))
    for share in ("36.8%", "18.4%", "12.3%", "9.2%", "7.4%", "6.1%", "5.3%", "4.6%"):
        written = share.replace(".", ",").removesuffix("%") if locale == "de" else share
        # The second row of cards begins at 130 mm.
        assert any(box[3] < 129 for box in sheet.boxes_of(written)), share


def test_a_long_legend_takes_its_room_from_its_chart(stage: Stage, templates: Templates) -> None:
    parameters = fullest("W")
    months = [[f"2025-{month:02}", month] for month in range(1, 4)]
    parameters["stack"]["series"] = dict.fromkeys(parameters["stack"]["series"], months)
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", parameters))
    for month in ("Jan", "Feb", "Mar"):
        # The cards end at 194.5 mm.
        assert any(140 < box[1] < box[3] < 196 for box in sheet.boxes_of(month)), month


def test_whatever_is_left_out_a_dashboard_is_one_sheet(stage: Stage, templates: Templates) -> None:
    whole = fullest("Wort ")
    for count in range(len(PARTS) + 1):
        for left_out in combinations(PARTS, count):
            parameters = {key: value for key, value in whole.items() if key not in left_out}
            assert len(sheets_of(printed(stage, templates, "dashboard", parameters))) == 1, left_out


def test_a_dashboard_of_one_figure_is_one_sheet(stage: Stage, templates: Templates) -> None:
    parameters = {"period": {"from": "2025-01-01", "to": "2025-01-31"}, "tiles": [{"label": "Orders", "value": 0}]}
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", parameters))
    assert "Overview" in sheet.text

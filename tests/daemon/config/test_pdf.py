"""From ``[reports.NAME.pdf]`` to the parameters of Chromium's Page.printToPDF."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reportd.config import ConfigError, PdfOptions, load
from tests.wording import mentions


def printed(**keys: Any) -> dict[str, Any]:
    return PdfOptions(**keys).print_parameters()


def conflicts(**keys: Any) -> list[str]:
    return [conflict.message for conflict in PdfOptions(**keys).conflicts()]


def test_the_defaults() -> None:
    """Tagging costs a third of the throughput, so it is off. A template's own @page rules win."""
    assert printed() == {
        "landscape": False,
        "displayHeaderFooter": False,
        "headerTemplate": "<span></span>",
        "footerTemplate": "<span></span>",
        "printBackground": True,
        "scale": 1.0,
        "paperWidth": 8.2677,
        "paperHeight": 11.6929,
        "marginTop": pytest.approx(10 / 25.4),
        "marginRight": pytest.approx(10 / 25.4),
        "marginBottom": pytest.approx(10 / 25.4),
        "marginLeft": pytest.approx(10 / 25.4),
        "pageRanges": "",
        "preferCSSPageSize": True,
        "generateTaggedPDF": False,
        "generateDocumentOutline": False,
    }


def test_every_key_reaches_chromium() -> None:
    assert printed(
        format="Letter",
        landscape=True,
        margin="1in 2in 0.5in 96px",
        scale=0.5,
        page_ranges="1-5, 8",
        prefer_css_page_size=False,
        print_background=False,
        header_template="<b>head</b>",
        footer_template="<b>foot</b>",
        tagged=True,
        outline=True,
    ) == {
        "landscape": True,
        "displayHeaderFooter": True,
        "headerTemplate": "<b>head</b>",
        "footerTemplate": "<b>foot</b>",
        "printBackground": False,
        "scale": 0.5,
        "paperWidth": 8.5,
        "paperHeight": 11.0,
        "marginTop": 1.0,
        "marginRight": 2.0,
        "marginBottom": 0.5,
        "marginLeft": 1.0,
        "pageRanges": "1-5, 8",
        "preferCSSPageSize": False,
        "generateTaggedPDF": True,
        "generateDocumentOutline": True,
    }


@pytest.mark.parametrize(("header", "footer"), [("<b></b>", ""), ("", "<b></b>")])
def test_a_header_alone_leaves_the_footer_blank(header: str, footer: str) -> None:
    parameters = printed(header_template=header, footer_template=footer, margin="20mm")
    assert parameters["displayHeaderFooter"] is True
    assert parameters["headerTemplate"] == (header or "<span></span>")
    assert parameters["footerTemplate"] == (footer or "<span></span>")


@pytest.mark.parametrize(
    ("name", "millimetres"),
    [
        ("A0", (841, 1189)),
        ("a1", (594, 841)),
        ("A2", (420, 594)),
        ("A3", (297, 420)),
        ("A4", (210, 297)),
        ("A5", (148, 210)),
        ("A6", (105, 148)),
        ("Letter", (215.9, 279.4)),
        ("LEGAL", (215.9, 355.6)),
        ("tabloid", (279.4, 431.8)),
        ("Ledger", (431.8, 279.4)),
    ],
)
def test_the_papers(name: str, millimetres: tuple[float, float]) -> None:
    parameters = printed(format=name)
    size = parameters["paperWidth"] * 25.4, parameters["paperHeight"] * 25.4
    assert size == pytest.approx(millimetres, abs=0.2)


@pytest.mark.parametrize(
    ("length", "inches"), [("254mm", 10), ("2.54cm", 1), ("2in", 2), ("96px", 1), ("12.7 mm", 0.5), ("200in", 200)]
)
def test_lengths_have_a_unit(length: str, inches: float) -> None:
    assert printed(width=length)["paperWidth"] == pytest.approx(inches)
    assert printed(height=length)["paperHeight"] == pytest.approx(inches)


def test_width_and_height_go_before_the_format_one_by_one() -> None:
    parameters = printed(width="4in", format="A4")
    assert (parameters["paperWidth"], parameters["paperHeight"]) == (4.0, 11.6929)


@pytest.mark.parametrize(
    ("margin", "sides"),
    [
        ("1in", (1, 1, 1, 1)),
        ("1in 2in", (1, 2, 1, 2)),
        ("1in 2in 3in", (1, 2, 3, 2)),
        ("1in  2in 3in 0", (1, 2, 3, 0)),
        ("0", (0, 0, 0, 0)),
    ],
)
def test_margins_are_given_as_in_css(margin: str, sides: tuple[int, ...]) -> None:
    parameters = printed(margin=margin)
    assert tuple(parameters[f"margin{side}"] for side in ("Top", "Right", "Bottom", "Left")) == sides


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"width": "210"}, "is not a length"),
        ({"width": "0"}, "is 0"),
        ({"height": "0mm"}, "is 0"),
        ({"height": "-1mm"}, "is not a length"),
        ({"height": "201in"}, "is longer than 200in"),
        ({"margin": ""}, "is not one to four lengths"),
        ({"margin": "1mm 1mm 1mm 1mm 1mm"}, "is not one to four lengths"),
        ({"margin": "1pt"}, "is not a length"),
        ({"page_ranges": "0"}, "is not a list of pages"),
        ({"page_ranges": "1-"}, "is not a list of pages"),
        ({"page_ranges": "1,,2"}, "is not a list of pages"),
        ({"page_ranges": " "}, "is not a list of pages"),
        ({"page_ranges": "5-2"}, "has a range whose end is below its start"),
        ({"format": "A7"}, "Letter"),
        ({"header_template": "../head.html"}, "leads out of the folder"),
        ({"footer_template": "/etc/foot.html"}, "leads out of the folder"),
        ({"header_template": "<link rel=stylesheet href=a.css>"}, "has <link href=a.css>, which Chromium can't load"),
        ({"footer_template": "<b style='background:url(a.png)'></b>"}, r"has url\(a.png\), which Chromium can't load"),
        ({"scale": 0.09}, "greater than or equal"),
        ({"scale": 2.1}, "less than or equal"),
    ],
)
def test_a_wrong_value_is_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        PdfOptions(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"margin": "0 105mm"},
        {"margin": "149mm 0"},
        {"margin": "0 50mm", "width": "100mm"},
        {"margin": "0 149mm", "landscape": True},
        {"margin": "105mm 0", "landscape": True},
    ],
)
def test_margins_leave_room(keys: dict[str, Any]) -> None:
    (said,) = conflicts(**keys)
    assert mentions(said, "page", "accepted: ", "smaller than the paper")


def test_margins_that_fit_the_turned_page_are_fine() -> None:
    assert conflicts(margin="0 140mm", landscape=True) == []


def test_header_and_footer_need_room() -> None:
    assert conflicts(header_template="<b></b>", footer_template="<b></b>", margin="1mm 0") == []
    (problem,) = conflicts(header_template="<b></b>", margin="0 1mm 1mm")
    assert mentions(problem, "top", "header_template", "accepted: ", "20mm")
    (problem,) = conflicts(footer_template="<b></b>", margin="1mm 1mm 0")
    assert mentions(problem, "bottom", "footer_template", "accepted: ", "20mm")


def test_an_outline_needs_tags(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text("[reports.sales_summary.pdf]\noutline = true")
    with pytest.raises(ConfigError) as caught:
        load(file, {"HOME": "/home/ada"})
    line = str(caught.value)
    assert mentions(line, f"{file}: reports.sales_summary.pdf.outline: ", "accepted: ", "tagged = true")
    assert conflicts(outline=True, tagged=True) == []


def test_a_sheet_as_high_as_its_content_has_no_pages_to_choose() -> None:
    (problem,) = conflicts(page_ranges="1-2", height="content")
    assert mentions(problem, 'height = "content"', "accepted: one of")
    assert conflicts(page_ranges="1-2", height="200mm") == conflicts(height="content") == []

"""Charts of templates: what they draw, in which place, and what they say about data that they can't draw."""

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.adapters.templates.charts.bars import bars
from reportd.adapters.templates.charts.canvas import PALETTE
from reportd.adapters.templates.charts.donut import donut
from reportd.adapters.templates.charts.figures import figures
from reportd.adapters.templates.charts.lines import lines
from reportd.adapters.templates.charts.series import LARGEST
from reportd.adapters.templates.charts.series import series as series_of
from reportd.adapters.templates.charts.sparkline import sparkline
from reportd.adapters.templates.charts.stacked import stacked
from reportd.adapters.templates.charts.text import SIZE, fitted, text_width, wrapped
from reportd.adapters.templates.region import rendering_in
from reportd.core.pages.inert import is_inert

Chart = Callable[..., str]
KINDS: list[Chart] = [bars, lines, stacked, donut]
PLOTS: list[Chart] = [lines, stacked]

finite = st.floats(-1e15, 1e15) | st.integers(-(10**15), 10**15) | st.none()
names = st.text(st.characters(categories=["L", "N", "P", "Zs", "Mn"]), max_size=60)
series = st.lists(st.tuples(names, finite), max_size=12)
data = series | st.dictionaries(names, series, min_size=1, max_size=4)


def tree(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314 - our own text


def texts(chart: str) -> list[str]:
    return [text.strip() for text in tree(chart).itertext() if text.strip() and "unicode-bidi" not in text]


def rects(chart: str) -> list[dict[str, float]]:
    return [
        {key: float(rect.attrib[key]) for key in ("x", "y", "width", "height")}
        for rect in tree(chart).iter("rect")
        if "x" in rect.attrib
    ]


def drawn(chart: str) -> list[list[tuple[float, float]]]:
    """The lines of the data."""
    paths = [path.attrib for path in tree(chart).iter("path") if path.attrib.get("stroke-linejoin")]
    return [[(float(x), float(y)) for x, y in (at.split() for at in path["d"][1:].split("L"))] for path in paths]


def boxes(chart: str) -> Iterator[tuple[float, float, float, float]]:
    """Left, right, top and bottom of each text of the plot."""
    (svg,) = tree(chart).iter("svg")
    for text in svg.iter("text"):
        x, y, width = float(text.attrib["x"]), float(text.attrib["y"]), text_width(text.text or "")
        left = x - {"start": 0, "middle": width / 2, "end": width}[text.attrib["text-anchor"]]
        yield left, left + width, y - SIZE * 0.75, y


# --- any data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", PLOTS)
@given(data, st.floats(150, 700), st.floats(80, 400), st.sampled_from(["", "EUR", "%", "kg"]))
def test_a_plot_stays_within_its_sheet(chart: Chart, data: Any, width: float, height: float, unit: str) -> None:
    made = chart(data, width=width, height=height, unit=unit)
    for word in ("nan", "inf"):
        assert f'"{word}' not in made
        assert f" {word}" not in made.replace(" inf,", "")
    for rect in rects(made):
        assert min(rect["width"], rect["height"]) >= 0
        assert -0.1 <= rect["x"] <= rect["x"] + rect["width"] <= width + 0.2
        assert -0.1 <= rect["y"] <= rect["y"] + rect["height"] <= height + 0.2
    for line in drawn(made):
        assert all(-0.1 <= x <= width + 0.1 and -0.1 <= y <= height + 0.1 for x, y in line)


@pytest.mark.parametrize("chart", [bars, donut])
@given(series)
def test_a_chart_of_html_is_well_formed_and_has_each_label(chart: Chart, data: Any) -> None:
    made = chart(data, title="Title")
    said = "".join(tree(made).itertext())
    if any(value is not None for _, value in data):
        assert all(label in said for label, _ in data)
    else:
        assert "No data" in said
    assert not re.search(r"\b(nan|inf)[%p]", made)


@pytest.mark.parametrize("chart", PLOTS)
@given(series.filter(len), st.floats(200, 700))
def test_no_label_of_a_plot_overlaps_another(chart: Chart, data: Any, width: float) -> None:
    made = chart(data, width=width, y_label="How much", x_label="Of what")
    placed = list(boxes(made)) if "<svg" in made else []
    for index, (left, right, top, bottom) in enumerate(placed):
        for other in placed[index + 1 :]:
            assert right <= other[0] + 0.2 or other[1] <= left + 0.2 or bottom <= other[2] or other[3] <= top


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_bars_are_as_long_as_their_values() -> None:
    made = bars([("a", 300), ("b", -150), ("c", 0), ("d", None)])
    found = [float(width) for width in re.findall(r";width:([\d.]+)%", made)]
    assert found == pytest.approx([100 * 2 / 3, 100 / 3], abs=0.01)
    assert texts(made) == ["a", "300", "b", "−150", "c", "0", "d", "–"]  # noqa: RUF001


def test_series_are_below_one_another_with_a_legend() -> None:
    both: dict[str, Any] = {"2024": [("a", 1), ("b", 2)], "2025": {"b": 4, "a": 3}}
    made = bars(both)
    assert texts(made) == ["2024", "2025", "a", "1", "3", "b", "2", "4"]


def test_parts_stand_on_one_another_and_negative_ones_hang_below() -> None:
    made = stacked({"A": [("x", 30)], "B": [("x", 10)], "C": [("x", -20)]}, height=300)
    up, on_top, down = rects(made)
    assert up["height"] == pytest.approx(3 * (on_top["height"] + 1), abs=0.2)
    assert on_top["y"] + on_top["height"] == pytest.approx(up["y"] - 1, abs=0.2)
    assert down["y"] == pytest.approx(up["y"] + up["height"], abs=0.2)
    assert down["height"] == pytest.approx(2 * (on_top["height"] + 1), abs=0.2)


def test_totals_stand_on_columns_where_all_have_room_and_mean_something() -> None:
    two = {"A": [("x", 31), ("y", 4)], "B": [("x", 12), ("y", 5)]}
    assert {"43", "9"} <= set(texts(stacked(two)))
    assert "42" not in texts(stacked(two | {"C": [("x", -1)]}))
    many = [(str(index), 1000 + index) for index in range(60)]
    assert "1,007" not in texts(stacked(many))


def test_a_ring_is_divided_by_shares_and_leaves_out_what_is_not_positive() -> None:
    made = donut([("a", 60), ("b", 30), ("c", 10), ("d", -5)], total="Sum")
    parts = [re.findall(r"-?[\d.]+", part.attrib["stroke-dasharray"])[0] for part in tree(made).iter("circle")]
    assert [float(part) for part in parts] == pytest.approx([59.3, 29.3, 9.3])
    assert texts(made)[:2] == ["95", "Sum"]
    assert texts(made)[2:] == ["a", "60", "60.0%", "b", "30", "30.0%", "c", "10", "10.0%", "d", "−5", "–"]  # noqa: RUF001


def test_days_have_their_place_in_time_in_any_order() -> None:
    ((first, second, third),) = drawn(lines([("2025-01-05", 1), ("2025-01-01", 1), ("2025-01-02", 1)]))
    assert third[0] - second[0] == pytest.approx(3 * (second[0] - first[0]), abs=0.3)


def test_months_are_written_as_months_and_each_has_a_label_where_there_is_room() -> None:
    months = [(f"2025-{month:02}", month) for month in range(1, 7)]
    wanted = ["Jan 2025", "Feb 2025", "Mar 2025", "Apr 2025", "May 2025", "Jun 2025"]
    assert [text for text in texts(lines(months)) if "2025" in text] == wanted
    assert [text for text in texts(lines(months, width=200)) if "2025" in text] == ["Jan 2025", "Mar 2025", "May 2025"]
    assert texts(bars(months))[::2] == wanted


def test_a_missing_value_leaves_a_gap_and_a_lone_point_is_a_dot() -> None:
    made = lines([("a", 1), ("b", None), ("c", 2), ("d", 3)])
    assert [len(line) for line in drawn(made)] == [2]
    assert len(list(tree(made).iter("circle"))) == 1


def test_a_lone_day_stands_in_the_middle_with_its_label() -> None:
    made = lines([("2025-03-01", 5)], width=400)
    (dot,) = tree(made).iter("circle")
    (label,) = [text for text in tree(made).iter("text") if text.text == "1 Mar"]
    assert dot.attrib["cx"] == label.attrib["x"]
    assert 200 < float(label.attrib["x"]) < 220


def test_two_hundred_labels_are_thinned_and_two_hundred_columns_drawn() -> None:
    many = [(f"Product {index}", index % 7 - 1) for index in range(200)]
    made = stacked(many)
    assert len(rects(made)) == sum(value != 0 for _, value in many)
    shown = [text for text in texts(made) if text.startswith("Product")]
    assert 4 <= len(shown) <= 12
    assert shown[0] == "Product 0"


def test_a_label_that_comes_twice_has_two_places() -> None:
    assert texts(bars([("a", 1), ("a", 2)])) == ["a", "1", "a", "2"]


def test_a_sparkline_spans_its_values_and_ends_in_a_dot() -> None:
    made = sparkline([3, None, ("x", 1), 2.0], width=80, height=16)
    assert drawn(made) == [[(2.0, 2.0), (40.0, 14.0), (78.0, 8.0)]]
    (dot,) = tree(made).iter("circle")
    assert (dot.attrib["cx"], dot.attrib["cy"]) == ("78.0", "8.0")
    assert sparkline([]) == "–"  # noqa: RUF001
    assert drawn(sparkline([5])) == []
    assert drawn(sparkline({"a": 5, "b": 5})) == [[(2.0, 8.0), (78.0, 8.0)]]


def test_rows_become_series_by_two_of_their_columns() -> None:
    rows = [
        {"month": "2025-01", "region": "North", "revenue": 1},
        {"month": "2025-02", "region": "South", "revenue": 5.5},
        {"month": "2025-01", "region": "South", "revenue": 0.1},
        {"month": "2025-01", "region": "South", "revenue": 0.2},
    ]
    made = series_of(rows, "month", "region", "revenue")
    assert made == {"South": [("2025-02", Decimal("5.5")), ("2025-01", Decimal("0.3"))], "North": [("2025-01", 1)]}
    assert list(made) == ["South", "North"]


# --- right to left ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chart", PLOTS)
def test_a_plot_is_mirrored_in_a_language_from_right_to_left(chart: Chart) -> None:
    data = [("a", 1), ("b", 3), ("c", 2)]
    ours = chart(data, width=400)
    mirrored = chart(data, width=400, rtl=True)
    if chart is lines:
        places: Any = [(pytest.approx(400 - x), y) for x, y in drawn(ours)[0]]
        assert drawn(mirrored)[0] == places
    else:
        assert [rect["x"] for rect in rects(mirrored)] == [
            pytest.approx(400 - rect["x"] - rect["width"], abs=0.11) for rect in rects(ours)
        ]
    with rendering_in("he", ""):
        assert 'dir="rtl"' in chart(data)
        assert 'dir="ltr"' in chart(data, rtl=False)
    assert 'dir="ltr"' in ours


# --- figures and texts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "unit", "locale", "expected"),
    [
        ([0, 2.5, 5], "", "", ["0.0", "2.5", "5.0"]),
        ([0.002, 0.0005], "", "", ["0.0020", "0.0005"]),
        ([1 / 3, 12], "", "", ["0.33", "12.00"]),
        ([1500, 20.4], "kg", "de", ["1.500 kg", "20 kg"]),
        ([1500, -20], "EUR", "", ["€1,500", "−€20"]),  # noqa: RUF001
        ([1500, 20], "EUR", "de", ["1.500 €", "20 €"]),
        ([2.5, 5], "EUR", "de", ["2,50 €", "5,00 €"]),
        ([25e6, 0], "EUR", "", ["€25 m", "€0"]),
        ([25e6, 0], "EUR", "de", ["25 Mio. €", "0 €"]),
        ([12.5, 100], "%", "", ["12.5%", "100.0%"]),
        ([12.5, -3], "%", "fr", ["12,5 %", "-3,0 %"]),
        ([], "EUR", "de", []),
    ],
)
def test_figures_have_their_unit_as_the_language_writes_it(
    values: list[float], unit: str, locale: str, expected: list[str]
) -> None:
    with rendering_in(locale, ""):
        assert [re.sub(r"[\u00a0\u202f]", " ", text) for text in figures(values, unit)] == expected


@given(names, st.floats(0, 200))
def test_a_text_is_cut_to_its_width(text: str, width: float) -> None:
    assert text_width(fitted(text, width)) <= max(width, 0)
    made = wrapped(text, width)
    assert len(made) <= 2
    if width > 3 * SIZE:
        assert all(text_width(line) <= width + 1e-6 for line in made)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Research and development", ["Resear-", "ch and…"]),
        ("New research and", ["New", "resear…"]),
        ("智能手表与耳机", ["智能手表", "与耳机"]),
        ("Donaudampfschiff", ["Donaud-", "ampfs…"]),
        ("mmmiiiiiiiiiiii", ["mmmii-", "iiiiiiiiii"]),
        ("", []),
    ],
)
def test_a_text_is_wrapped_where_a_reader_expects_it(text: str, expected: list[str]) -> None:
    assert wrapped(text, 4.6 * SIZE) == expected


def test_colours_are_told_apart_without_colour() -> None:
    def lightness(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance: float = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return 116 * math.cbrt(luminance) - 16

    found = [lightness(colour) for colour in PALETTE]
    assert min(b - a for a, b in pairwise(sorted(found))) >= 6
    assert min(abs(b - a) for a, b in pairwise(found)) >= 15


@pytest.mark.parametrize("chart", KINDS)
def test_without_data_a_chart_says_so_in_the_author_s_words(chart: Chart) -> None:
    every: list[Any] = [[], {}, [("a", None)]]
    for nothing in every:
        assert texts(chart(nothing, title="Sales")) == ["Sales", "No data"]
        assert texts(chart(nothing, empty="Keine <Daten>")) == ["Keine <Daten>"]


@pytest.mark.parametrize("chart", KINDS)
def test_a_chart_leaves_its_page_inert_and_is_lean_whatever_its_labels(chart: Chart) -> None:
    made = chart([("function onload conversion" + " x" * 10**6, 1), ("b", -2)], title="Conversion: on", unit="EUR")
    assert is_inert(made)
    assert len(made) < 6000


@pytest.mark.parametrize("chart", KINDS)
def test_texts_of_a_chart_are_escaped(chart: Chart) -> None:
    attack = '</svg><script>"&'
    made = chart([(attack, 1), ("b", 2)], title=attack, unit=attack)
    assert "<script" not in made
    assert "&lt;script&gt;" in made


@pytest.mark.parametrize("chart", [*KINDS, sparkline])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "finite"),
        (math.inf, "finite"),
        (Decimal("NaN"), "finite"),
        ("5", "not '5'"),
        (True, "not True"),
        # The difference of two such numbers is infinite: it drew lines to nowhere.
        (-1.7e308, "can't show -1.7e\\+308; accepted: numbers of at most 1e\\+21"),
    ],
)
def test_what_is_no_number_is_an_error_that_shows_it(chart: Chart, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        chart([("a", value)])


@pytest.mark.parametrize("locale", ["", "de", "ar-EG"])
@pytest.mark.parametrize("chart", [*KINDS, sparkline])
def test_the_largest_numbers_are_drawn(chart: Chart, locale: str) -> None:
    with rendering_in(locale, ""):
        drawn = chart([("a", LARGEST), ("b", LARGEST), ("c", -LARGEST)])
    assert not re.search(r"\b(nan|inf)\b", drawn)


@pytest.mark.parametrize(
    "labels",
    [("4711-42", "4711-01"), ("2025-02-30", "2025-02-28"), ("0000-01",), ("\u0662\u0660\u0662\u0665-\u0660\u0661",)],
)
@pytest.mark.parametrize("chart", KINDS)
def test_a_label_that_only_looks_like_a_date_is_a_label(chart: Chart, labels: tuple[str, ...]) -> None:
    drawn = chart([(label, index) for index, label in enumerate(labels)])
    assert [label for label in labels if label in drawn] == list(labels)


@pytest.mark.parametrize("data", [["abc"], [{"a": 1}], [(1, 2, 3)], [5]])
def test_what_are_no_pairs_is_an_error_that_says_what_is_accepted(data: Any) -> None:
    with pytest.raises(ValueError, match="accepted: pairs of label and number, or a mapping of names to such pairs"):
        bars(data)


def test_a_donut_of_several_series_is_an_error() -> None:
    with pytest.raises(ValueError, match="a donut has one series"):
        donut({"A": [("x", 1)], "B": [("x", 1)]})

"""Report templates: their output, what they refuse, and their error texts."""

import math
import os
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reportd_web
from reportd.adapters.templates import filters
from reportd.adapters.templates.charts.bar_and_line import bar_chart, line_chart
from reportd.adapters.templates.charts.scale import ticks
from reportd.adapters.templates.templates import TemplateFault, Templates

REPORTS = Path(reportd_web.__file__).parent / "reports"
ATTACK = "</style></title></text><script>alert('x')</script>\"&{{ 'ab' * 3 }}"

SALES = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "Tea", "quantity": 3, "revenue": 12.5}],
}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates([REPORTS])


def rendered(folder: Path, text: str, parameters: dict[str, Any] | None = None) -> str:
    (folder / "own.html").write_text(text)
    return Templates([folder, REPORTS]).render("own.html", parameters or {})


# Templates of one's own


def test_a_folder_in_front_hides_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text("mine: {% block content %}{% endblock %}")
    page = Templates([tmp_path, REPORTS]).render("sales_summary.html", SALES)
    assert page.startswith("mine: ")
    assert "12.50" in page


def test_an_undefined_name_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TemplateFault, match=r"^own\.html, line 2: 'customer' is undefined$"):
        rendered(tmp_path, "{{ 1 }}\n{{ customer }}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ custmer }}", "'custmer' is undefined; accepted: customer, Customers"),
        ("{{ taskId }}", "'taskId' is undefined; accepted: task_id"),
        ("{{ x }}", "'x' is undefined; accepted: Customers, a0, a1, a2, a3, a4, a5, a6 and 4 more"),
        ("{{ period.form }}", "'dict object' has no attribute 'form'; accepted: from"),
        ("{{ period['x'] }}", "'dict object' has no attribute 'x'; accepted: from, to"),
        ("{{ period.nothing.x }}", "'dict object' has no attribute 'nothing'; accepted: from, to"),
        ("{{ none.x }}", "'None' has no attribute 'x'"),
    ],
)
def test_what_there_is_stands_beside_an_undefined_name(tmp_path: Path, text: str, says: str) -> None:
    parameters = {f"a{index}": index for index in range(9)} | {"customer": 1, "Customers": 2}
    with pytest.raises(TemplateFault) as caught:
        rendered(tmp_path, text, parameters | {"period": {"from": 1, "to": 2}})
    assert str(caught.value) == f"own.html, line 1: {says}"


def test_an_undefined_attribute_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TemplateFault, match=r"^own\.html, line 3: .*no attribute 'form'; accepted: from$"):
        rendered(tmp_path, "\n\n{{ period.form }}", {"period": {"from": "2025-01-01"}})


def test_a_fault_in_the_base_names_the_base(templates: Templates) -> None:
    with pytest.raises(TemplateFault, match=r"^base\.html, line \d+: 'period' is undefined; accepted: rows$"):
        templates.render("sales_summary.html", {"rows": SALES["rows"]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n{% for %}", r"^own\.html, line 2: Expected"),
        ("\n{{ 1 | nosuch }}", r"^own\.html, line 2: No filter named 'nosuch'"),
        ("{{ 1 / 0 }}", r"^own\.html, line 1: ZeroDivisionError: division by zero$"),
        ("\n{{ '2025-02-30' | day }}", r"^own\.html, line 2: ValueError: day is out of range"),
        ("{{ [] | line_chart }}", r"^own\.html, line 1: ValueError: a line chart needs"),
        ("{% extends 'gone.html' %}", r"^own\.html: gone\.html: no such template in /"),
    ],
)
def test_other_faults_say_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TemplateFault, match=says):
        rendered(tmp_path, text)


@pytest.mark.parametrize("name", ["nosuch.html", "../conftest.py", "/etc/passwd", ""])
def test_only_what_is_in_the_folders_can_be_rendered(templates: Templates, name: str) -> None:
    with pytest.raises(TemplateFault, match="no such template"):
        templates.render(name, {})


@pytest.mark.parametrize(
    "trick",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ rows.append(1) }}",
    ],
)
def test_the_sandbox_refuses_tricks(tmp_path: Path, trick: str) -> None:
    rows: list[int] = []
    with pytest.raises(TemplateFault, match=r"unsafe|not safely callable"):
        rendered(tmp_path, trick, {"rows": rows})
    assert rows == []


@pytest.mark.parametrize("name", ["reportd.toml", ".env", ".git/config", "sub/reportd.toml"])
def test_a_name_that_a_job_chooses_prints_no_configuration(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("s3cret")
    with pytest.raises(TemplateFault, match="no such template"):
        rendered(tmp_path, "{% include part %}", {"part": name})


def test_an_edited_template_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "own.html"
    own.write_text("one")
    templates = Templates([tmp_path])
    assert templates.render("own.html", {}) == "one"
    own.write_text("two")
    later = own.stat().st_mtime + 10
    os.utime(own, (later, later))
    assert templates.render("own.html", {}) == "two"


# Charts

finite = st.floats(-1e15, 1e15) | st.integers(-(10**15), 10**15)


@given(st.lists(finite))
def test_ticks_cover_zero_and_the_data(values: list[float]) -> None:
    scale = ticks(values)
    slack = 1e-6 * max(1.0, *map(abs, scale))
    assert 2 <= len(scale) <= 9
    assert scale == sorted(set(scale))
    assert 0.0 in scale
    assert all(scale[0] - slack <= value <= scale[-1] + slack for value in values)
    steps = [after - before for before, after in pairwise(scale)]
    assert max(steps) - min(steps) <= slack


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], [0, 1]),
        ([0, 0], [0, 1]),
        ([1], [0, 1]),
        ([3], [0, 1, 2, 3]),
        ([0.5], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ([940], [0, 200, 400, 600, 800, 1000]),
        ([-7, 3], [-8, -6, -4, -2, 0, 2, 4]),
    ],
)
def test_ticks_are_round(values: list[float], expected: list[float]) -> None:
    assert ticks(values) == pytest.approx(expected)


@given(st.lists(st.tuples(st.text(max_size=80), finite), max_size=12), st.floats(200, 700))
def test_bars_stay_on_the_chart(pairs: list[tuple[str, float]], width: float) -> None:
    pairs = [(re.sub(r"[^\w <>&'\"-]", "", label), value) for label, value in pairs]
    chart = ET.fromstring(bar_chart(pairs, width))  # noqa: S314
    bars = chart.findall("rect")
    assert len(bars) == len(pairs)
    for bar in bars:
        left, length = float(bar.attrib["x"]), float(bar.attrib["width"])
        assert length >= 0
        assert 0 <= left <= left + length <= width + 0.2


def test_bars_are_as_long_as_their_values() -> None:
    chart = ET.fromstring(bar_chart([("a", 300), ("b", -150), ("c", 0)], 400))  # noqa: S314
    up, down, none = (float(bar.attrib["width"]) for bar in chart.findall("rect"))
    assert up == pytest.approx(2 * down, abs=0.2)
    assert none == 0
    starts = [float(bar.attrib["x"]) for bar in chart.findall("rect")]
    assert starts[1] + down == pytest.approx(starts[0], abs=0.2)


@given(st.dictionaries(st.dates(), finite, min_size=1, max_size=40))
def test_lines_stay_on_the_chart(points: dict[Any, float]) -> None:
    svg = line_chart([(at.isoformat(), value) for at, value in points.items()], 500, 200)
    assert "nan" not in svg
    assert "inf" not in svg
    line = ET.fromstring(svg).findall("path")[-1].attrib["d"]  # noqa: S314
    places = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
    assert len(places) == len(points)
    assert all(0 <= x <= 500 and 0 <= y <= 200 for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)


def test_a_missing_day_leaves_its_room() -> None:
    svg = line_chart([("2025-01-01", 1), ("2025-01-02", 1), ("2025-01-05", 1)], 500)
    line = ET.fromstring(svg).findall("path")[-1].attrib["d"]  # noqa: S314
    first, second, third = (float(pair.split()[0]) for pair in line[1:].split("L"))
    assert third - second == pytest.approx(3 * (second - first), abs=0.3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_charts_refuse_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        bar_chart([("a", value)])
    with pytest.raises(ValueError, match="finite"):
        line_chart([("2025-01-01", value)])


def test_chart_labels_are_escaped_and_cut() -> None:
    svg = bar_chart([("<b>" + "超长" * 60, 1)], 300)
    assert "<b>" not in svg
    assert "&lt;b&gt;" in svg
    assert "…" in svg


# Formats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (filters.number(1234567), "1,234,567"),
        (filters.number(-2.50), "\N{MINUS SIGN}2.5"),
        (filters.number(-0.001), "0"),
        (filters.number(100.0), "100"),
        (filters.number(3, 2), "3.00"),
        (filters.amount(-0.001, "EUR"), "0.00"),
        (filters.amount(1234.5, "JPY"), "1,234"),
        (filters.amount(1, "KWD"), "1.000"),
        (filters.money(-3, "USD"), "\N{MINUS SIGN}$3.00"),
        (filters.money(3, "CHF"), "CHF\u00a03.00"),
        (filters.short_money(99_999.99, "EUR"), "€99,999.99"),
        (filters.short_money(1_234_567.89, "EUR"), "€1,234,568"),
        (filters.short_money(-12_345_678_901, "EUR"), "\N{MINUS SIGN}€12.35\u202fbn"),
        (filters.short_number(2058.57), "2,059"),
        (filters.short_number(5.25), "5.25"),
        (filters.percent(1, 8), "12.5%"),
        (filters.percent(1, 0), "\N{EN DASH}"),
        (filters.span({"from": "2025-01-05", "to": "2025-01-05"}), "5 Jan 2025"),
        (filters.span({"from": "2025-01-05", "to": "2025-01-31"}), "5 \N{EN DASH} 31 Jan 2025"),
        (filters.span({"from": "2025-01-05", "to": "2025-03-31"}), "5 Jan \N{EN DASH} 31 Mar 2025"),
        (filters.span({"from": "2024-12-05", "to": "2025-12-31"}), "5 Dec 2024 \N{EN DASH} 31 Dec 2025"),
        (filters.weekday("2025-03-18"), "Tue"),
    ],
)
def test_formats(text: str, expected: str) -> None:
    assert text == expected


def test_figures_read_side_by_side_are_alike() -> None:
    assert filters.alike([1234, 5]) == ["1,234", "5"]
    assert filters.alike([2.5, 1]) == ["2.50", "1.00"]
    assert filters.alike([12_300_000, 4_000_000]) == ["12.30\u202fm", "4.00\u202fm"]
    assert filters.alike([5e9, 12]) == ["5\u202fbn", "12"]


def test_the_rest_is_one_pair() -> None:
    pairs = [(name, Decimal(9 - at)) for at, name in enumerate("abcd")]
    assert filters.top(pairs, 4) == pairs
    assert filters.top(pairs, 3) == [*pairs[:2], ("2 others", Decimal(13))]

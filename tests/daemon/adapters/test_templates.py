"""Report templates: their output, what they refuse, and their error texts."""

import copy
import json
import math
import os
import re
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reportd_web
from reportd.adapters.templates import filters
from reportd.adapters.templates.charts.bar_and_line import bar_chart, line_chart
from reportd.adapters.templates.charts.scale import ticks
from reportd.adapters.templates.templates import TemplateFault, Templates
from reportd.core.pages.template_context import TemplateContext

REPORTS = Path(reportd_web.__file__).parent / "reports"
ATTACK = "</style></title></text><script>alert('x')</script>\"&{{ 'ab' * 3 }}"

SMALLEST: dict[str, dict[str, Any]] = {
    "sales_summary": {
        "period": {"from": "2025-01-01", "to": "2025-03-31"},
        "rows": [{"product": "Tea", "quantity": 3, "revenue": 12.5}],
    },
    "user_activity": {
        "period": {"from": "2025-01-01", "to": "2025-01-31"},
        "days": [{"date": "2025-01-01", "activeUsers": 5}],
    },
    "invoice": {
        "number": "1",
        "date": "2025-01-31",
        "currency": "EUR",
        "seller": {"name": "Nordlicht Handel GmbH", "address": ["24103 Kiel"]},
        "customer": {"name": "Ada", "address": ["London"]},
        "lines": [{"description": "Tea", "quantity": 3, "unitPrice": 12.5, "vatRate": 7}],
    },
    "account_ledger": {
        "account": {"number": "1"},
        "currency": "EUR",
        "period": {"from": "2025-01-01", "to": "2025-01-31"},
        "openingBalance": 0,
        "rows": [],
    },
    "dashboard": {
        "period": {"from": "2025-01-01", "to": "2025-01-31"},
        "tiles": [{"label": "Orders", "value": 0}],
    },
}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates([REPORTS])


def sample(report: str) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads((REPORTS / f"{report}.sample.json").read_text())
    return parameters


def is_valid(report: str, parameters: object) -> bool:
    schema = json.loads((REPORTS / f"{report}.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    return bool(validator.is_valid(parameters))


def rendered(folder: Path, text: str, parameters: dict[str, Any] | None = None) -> str:
    (folder / "own.html").write_text(text)
    return Templates([folder, REPORTS]).render("own.html", parameters or {})


def last_row(page: str) -> list[str]:
    row = page[page.rindex("<tr") : page.rindex("</tr>")]
    return re.findall(r"<td>(.*?)</td>", row)


def every_text(value: Any) -> list[tuple[Any, Any]]:
    """The free texts of the parameters: (container, key)."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in pairs:
        if isinstance(item, dict | list):
            found += every_text(item)
        elif isinstance(item, str) and key not in {"from", "to", "date", "dueDate", "iban"}:
            found.append((value, key))
    return found


# The built-in reports


@pytest.mark.parametrize("report", SMALLEST)
def test_samples_and_smallest_requests_are_valid_and_render(templates: Templates, report: str) -> None:
    for parameters in (sample(report), SMALLEST[report]):
        assert is_valid(report, parameters)
        page = templates.render(f"{report}.html", parameters)
        assert page.startswith("<!doctype html>")
        assert page.endswith("</html>")


@pytest.mark.parametrize(
    ("report", "change"),
    [
        ("sales_summary", {"rows": []}),
        ("sales_summary", {"rwos": []}),
        ("sales_summary", {"currency": "euro"}),
        ("sales_summary", {"rows": [{"product": "Tea", "quantity": "3", "revenue": 1}]}),
        ("sales_summary", {"rows": [{"product": "Tea", "quantity": 3, "revenue": 1, "colour": "red"}]}),
        ("sales_summary", {"rows": [{"product": "Tea", "quantity": 3, "revenue": 1e300}]}),
        ("sales_summary", {"period": {"from": "2025-02-30", "to": "2025-03-31"}}),
        ("user_activity", {"days": []}),
        ("user_activity", {"days": [{"date": "2025-01-01", "activeUsers": -1}]}),
        ("user_activity", {"days": [{"date": "1.1.2025", "activeUsers": 1}]}),
        ("invoice", {"lines": []}),
        ("invoice", {"lines": [{"description": "Tea", "quantity": 1, "unitPrice": 1, "vatRate": 7.25}]}),
        ("invoice", {"lines": [{"description": "Tea", "quantity": 1, "unitPrice": 1e7, "vatRate": 7}]}),
        ("invoice", {"prepaid": 0.005}),
        ("invoice", {"currency": "JPY", "prepaid": 0.5}),
        ("invoice", {"payment": {"bank": "A bank without an account"}}),
        ("invoice", {"payment": {"iban": "12 34"}}),
        ("invoice", {"payment": {"iban": "DE00123456789012345678", "reference": "Übertrag"}}),
        ("invoice", {"seller": {"name": "A", "address": ["B"], "logo": "https://example.com/logo.png"}}),
        ("invoice", {"labels": {"nosuch": "Word"}}),
        ("dashboard", {"tiles": []}),
        ("dashboard", {"tiles": [{"label": "a", "value": 1}] * 7}),
        ("dashboard", {"trend": {"title": "a", "series": {"b": [["2025-02-30", 1]]}}}),
        ("dashboard", {"trend": {"title": "a", "series": {"b": [["2025-13", 1]]}}}),
        ("dashboard", {"trend": {"title": "a", "series": {"b": [["2025-01", 1, 2]]}}}),
        ("dashboard", {"stack": {"title": "a", "series": {"b": [["2025-13", 1]]}}}),
        ("dashboard", {"share": {"title": "a", "parts": [["b", -1]]}}),
        ("dashboard", {"ranking": {"title": "a", "bars": [["b", 1]] * 9}}),
        ("dashboard", {"table": {"title": "a", "rows": [{"name": "b", "value": 1, "history": [1] * 61}]}}),
        ("account_ledger", {"rows": [{"date": "2025-01-01", "text": "neither"}]}),
        ("account_ledger", {"rows": [{"date": "2025-01-01", "text": "both", "debit": 1, "credit": 1}]}),
        ("account_ledger", {"rows": [{"date": "2025-01-01", "text": "negative", "debit": -1}]}),
        ("account_ledger", {"rows": [{"date": "2025-01-01", "text": "decimals", "debit": 0.001}]}),
        ("account_ledger", {"currency": "JPY", "openingBalance": 0.5}),
        ("account_ledger", {"rows": [{"date": "2025-01-01", "text": "a", "debit": 1}] * 5001}),
    ],
)
def test_schemas_refuse(report: str, change: dict[str, Any]) -> None:
    assert not is_valid(report, SMALLEST[report] | change)


@pytest.mark.parametrize("report", SMALLEST)
def test_every_text_parameter_is_escaped(templates: Templates, report: str) -> None:
    places = len(every_text(sample(report)))
    assert places > 10
    plain = templates.render(f"{report}.html", sample(report))
    ends = [plain.count(end) for end in ("</style", "</title")]
    for index in range(places):
        parameters = sample(report)
        container, key = every_text(parameters)[index]
        container[key] = ATTACK
        page = templates.render(f"{report}.html", parameters)
        assert "<script" not in page, key
        assert [page.count(end) for end in ("</style", "</title")] == ends, key
        assert "ababab" not in page, key
        if report == "dashboard" and key in ("currency", 0):
            continue  # it only says which units are money; a chart leaves out the dates that have no room
        # Chart labels are cut short: this much of it stands everywhere, be it in the margin of the page.
        assert "&lt;/style&gt;" in page or r"\3c \2f style\3e" in page, key


WORD = re.compile(r"(?<![\w.])(?:_words\.)?w\.(\w+)")


@pytest.mark.parametrize("report", SMALLEST)
def test_every_word_of_a_report_can_be_replaced_and_is_there_in_each_language(report: str) -> None:
    text = (REPORTS / f"{report}.html").read_text()
    if "{% extends" in text:
        text += (REPORTS / "base.html").read_text()
    used = set(WORD.findall(text)) | ({"page"} if "page_number" in text else set())
    schema = json.loads((REPORTS / f"{report}.schema.json").read_text())
    assert set(schema["properties"]["labels"]["propertyNames"]["enum"]) == used
    tables = re.findall(
        r'^  "\w\w": \{\n(.*?)\n  \}', (REPORTS / "base_words.html").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(tables) == 4
    for table in tables:
        assert used <= set(re.findall(r'"(\w+)": "[^"]', table))


@pytest.mark.parametrize(
    ("locale", "attributes"),
    [
        ("", 'lang="en" dir="ltr"'),
        ("de-AT", 'lang="de-AT" dir="ltr"'),
        ("ar-EG", 'lang="ar-EG" dir="rtl"'),
        ("zh-Hans-CN", 'lang="zh-Hans-CN" dir="ltr"'),
        ("he", 'lang="en" dir="ltr"'),
    ],
)
def test_a_report_is_in_a_language_that_it_has_words_of(templates: Templates, locale: str, attributes: str) -> None:
    page = templates.render("account_ledger.html", SMALLEST["account_ledger"], TemplateContext(locale=locale))
    assert f"<html {attributes}>" in page


def test_words_of_ones_own_make_a_report_that_of_their_language(templates: Templates) -> None:
    parameters = SMALLEST["account_ledger"] | {"labels": {"closing_balance": "יתרת סגירה"}}
    page = templates.render("account_ledger.html", parameters, TemplateContext(locale="he"))
    assert '<html lang="he" dir="rtl">' in page
    assert "יתרת סגירה" in page


def test_a_base_of_older_parameters_is_untouched_by_words(tmp_path: Path) -> None:
    """`labels`, `words` and `locale` may be names of a template of one's own that extends the base."""
    text = "{% extends 'base.html' %}{% block content %}{{ labels[0] }} {{ w }} {{ words }}{% endblock %}"
    period = {"from": "2025-01-01", "to": "2025-01-31"}
    own = {"title": "T", "period": period, "labels": ["mine"], "w": "w!", "words": "words!", "locale": {"a": 1}}
    assert "mine w! words!" in rendered(tmp_path, text, own)


def test_the_currency_decides_the_decimals_of_amounts() -> None:
    for currency, step in (("JPY", 1), ("EUR", 0.01), ("KWD", 0.001)):
        for cents in (1, 7, 29, 333, 123_456_789):
            parameters = SMALLEST["account_ledger"] | {"currency": currency, "openingBalance": round(cents * step, 3)}
            assert is_valid("account_ledger", parameters), parameters


def test_a_title_cannot_leave_its_css_string(templates: Templates) -> None:
    parameters = SMALLEST["sales_summary"] | {"title": '"; } body { display: none } /* \\'}
    page = templates.render("sales_summary.html", parameters)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "display: none" not in style
    assert r'content: "\22 \3b  \7d  body \7b  display\3a  none \7d  \2f \2a  \5c "' in style


def test_sales_totals_are_exact(templates: Templates) -> None:
    rows = [{"product": "智能手表", "quantity": 1, "revenue": 0.1} for _ in range(10)]
    rows.append({"product": "Kaffeemaschine", "quantity": 999_999_999, "revenue": 987_654_321_012.34})
    page = templates.render("sales_summary.html", SMALLEST["sales_summary"] | {"rows": rows})
    assert last_row(page) == ["Total", "1,000,000,009", "987,654,321,013.34"]


def test_the_sales_sample_adds_up(templates: Templates) -> None:
    parameters = sample("sales_summary")
    revenue = sum(Decimal(str(row["revenue"])) for row in parameters["rows"])
    quantity = sum(row["quantity"] for row in parameters["rows"])
    page = templates.render("sales_summary.html", parameters)
    assert last_row(page) == ["Total", "", f"{quantity:,}", f"{revenue:,.2f}"]
    assert page.count("<tr>") == len(parameters["rows"]) + 1
    assert f"<b>{quantity:,}</b>" in page
    assert "智能手表" in page
    assert "Kaffeemaschine" in page


def test_the_activity_sample_adds_up(templates: Templates) -> None:
    parameters = sample("user_activity")
    days = parameters["days"]
    page = templates.render("user_activity.html", parameters)
    newcomers, actions = (sum(day[key] for day in days) for key in ("newUsers", "actions"))
    assert last_row(page) == ["Total", "", "", f"{newcomers:,}", f"{actions:,}", ""]
    busiest = max(days, key=lambda day: day["activeUsers"])
    assert f"<b>{busiest['activeUsers']:,}</b><span>Tue, 18 Mar 2025</span>" in page
    assert f"<b>{sum(day['activeUsers'] for day in days) / len(days):,.0f}</b><span>average" in page


def test_days_are_put_in_order(templates: Templates) -> None:
    days = [{"date": f"2025-01-0{day}", "activeUsers": day} for day in (3, 1, 2)]
    page = templates.render("user_activity.html", SMALLEST["user_activity"] | {"days": days})
    assert re.findall(r"<tr><td>(\d) Jan 2025", page) == ["1", "2", "3"]


def test_a_column_nobody_fills_is_left_out(templates: Templates) -> None:
    without = templates.render("sales_summary.html", SMALLEST["sales_summary"])
    assert "Region" not in without
    rows = [
        *SMALLEST["sales_summary"]["rows"],
        {"product": "Tee", "region": "Wien", "quantity": 1, "revenue": 2},
    ]
    page = templates.render("sales_summary.html", SMALLEST["sales_summary"] | {"rows": rows})
    assert "<td>Tea</td><td>–</td>" in page  # noqa: RUF001
    assert "<td>Tee</td><td>Wien</td>" in page


@pytest.mark.parametrize("scale", [-1, 0, 1e9])
def test_refunds_nothing_and_fortunes_render(templates: Templates, scale: float) -> None:
    parameters = sample("sales_summary")
    for row in parameters["rows"]:
        row["revenue"] *= scale
        row["quantity"] *= int(math.copysign(bool(scale), scale))
    page = templates.render("sales_summary.html", parameters)
    assert not re.search(r"\b(nan|inf|infinity)\b", page, re.IGNORECASE)
    assert len(last_row(page)) == 4
    if scale == 0:
        assert last_row(page)[2:] == ["0", "0.00"]


def test_pages_are_closed_to_the_world(templates: Templates) -> None:
    for report in SMALLEST:
        page = templates.render(f"{report}.html", sample(report))
        assert not re.search(r"<script|<link|<img|https?:|url\(|@import|@font-face|file:", page)


def test_five_thousand_rows_are_quick_and_lean(templates: Templates) -> None:
    parameters = sample("sales_summary")
    parameters["rows"] = [copy.copy(parameters["rows"][index % 40]) for index in range(5000)]
    templates.render("sales_summary.html", SMALLEST["sales_summary"])
    before = time.process_time()
    page = templates.render("sales_summary.html", parameters)
    # Some 40 ms on the slowest machine known: the rest is room for a busy one.
    assert time.process_time() - before < 0.5
    assert len(page) < 5000 * 100


# Templates of one's own


def test_a_folder_in_front_hides_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text("mine: {% block content %}{% endblock %}")
    page = Templates([tmp_path, REPORTS]).render("sales_summary.html", SMALLEST["sales_summary"])
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
        templates.render("sales_summary.html", {"rows": SMALLEST["sales_summary"]["rows"]})


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

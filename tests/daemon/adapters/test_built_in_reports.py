"""The built-in reports: their HTML, their words, and what their schemas refuse."""

import copy
import json
import math
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from reportd.adapters.templates.templates import Templates
from reportd.core.pages.template_context import TemplateContext
from tests.documents.built_in import REPORTS, sample

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
        ("account_ledger", {"period": {"from": "0000-01-01", "to": "2025-01-31"}}),
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

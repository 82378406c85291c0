"""The invoice, the ledger and the dashboard as they are printed, in their four languages."""

import copy
import json
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import trio

import reportd_web
from reportd.adapters.templates.templates import Templates
from reportd.config.pdf import PdfOptions
from reportd.config.report_types import BUILT_IN
from reportd.core.pages.template_context import TemplateContext
from reportd.core.schemas.compiled import problems
from tests.documents.sheets import Sheet, drawings_of, sheets_of
from tests.servers.chromium import Stage, open_stage, request

pytestmark = pytest.mark.browser

REPORTS = Path(reportd_web.__file__).parent / "reports"
LANGUAGES = ("en", "de", "zh", "ar")
FOOT_MM = 297 - 24
"""Where the content of an invoice's page ends: below it stands the page number."""

ITEM = "Thing"
"""The first word of each line's description."""

DUE = {"en": "Amount due", "de": "Zahlbetrag", "zh": "应付金额", "ar": "المبلغ المستحق"}
PAGE = {"en": "Page {} of {}", "de": "Seite {} von {}", "zh": "第 {} 页,共 {} 页", "ar": "صفحة"}
CLOSING = {"en": "Closing balance", "de": "Endsaldo", "zh": "期末余额", "ar": "الرصيد الختامي"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates([REPORTS])


def sample(report: str) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads((REPORTS / f"{report}.sample.json").read_text())
    return parameters


def invoice(count: int, **more: Any) -> dict[str, Any]:
    one = {"description": ITEM, "details": "A line below it", "quantity": 3, "unitPrice": 12.5, "vatRate": 19}
    parameters = sample("invoice") | {"lines": [one] * count, "prepaid": 0} | more
    del parameters["note"]
    return parameters


def printed(stage: Stage, templates: Templates, report: str, parameters: dict[str, Any], locale: str = "") -> bytes:
    """Return the PDF. The page must be inert, and nothing may be missing from it."""
    html = templates.render(f"{report}.html", parameters, TemplateContext(locale=locale))
    asked = request(html=html, print_parameters=PdfOptions().print_parameters())
    assert asked.inert

    async def render() -> bytes:
        async with stage.page() as page:
            pdf = await page.render(asked)
        assert pdf.warnings == ()
        data = pdf.data if pdf.data is not None else await trio.Path(pdf.path or "").read_bytes()
        pdf.discard()
        return data

    return stage.portal.call(render)


def rows_on(sheet: Sheet) -> int:
    return len(sheet.boxes_of(ITEM))


# The invoice


@pytest.mark.parametrize("locale", LANGUAGES)
def test_an_invoice_is_whole_and_counts_its_pages_in_its_language(
    stage: Stage, templates: Templates, locale: str
) -> None:
    first, last = sheets_of(printed(stage, templates, "invoice", invoice(17), locale))
    for number, sheet in enumerate((first, last), 1):
        assert PAGE[locale].format(number, 2) in sheet.text
    assert "上海晨光贸易有限公司" in first.text
    assert DUE[locale] in last.text
    assert "DE00 1234 5678 9012 3456 78" in last.text


def test_totals_never_stand_alone_and_a_slip_is_never_cut(stage: Stage, templates: Templates) -> None:
    pages = set()
    for lines in range(2, 36):
        sheets = sheets_of(printed(stage, templates, "invoice", invoice(lines)))
        pages.add(len(sheets))
        (totals,) = [sheet for sheet in sheets if "Total net" in sheet.text]
        assert rows_on(totals) >= 2, lines
        assert sum(map(rows_on, sheets)) == lines
        assert all("Unit price" in sheet.text for sheet in sheets if rows_on(sheet)), lines
        (slip,) = [sheet for sheet in sheets if "Payment slip" in sheet.text]
        assert slip is sheets[-1]
        for words in ("Detach before paying", "Scan to pay", "IBAN", "Payable by"):
            assert words in slip.text, lines
    assert pages == {1, 2, 3}


@pytest.mark.parametrize("lines", [2, 14, 27])
def test_a_slip_stands_at_the_foot_of_the_last_page(stage: Stage, templates: Templates, lines: int) -> None:
    *_, last = sheets_of(printed(stage, templates, "invoice", invoice(lines)))
    ((_, top, _, _),) = last.boxes_of("Detach")
    assert top == pytest.approx(FOOT_MM - 64, abs=2)


def test_an_address_shows_in_the_window_of_an_envelope(stage: Stage, templates: Templates) -> None:
    """DIN 5008, form B: 20 mm from the left edge, 45 mm from the top, 85 by 45 mm."""
    customer = {"name": "Anna", "address": ["Kreditorenbuchhaltung", "Marktstraße", "26384", "Wilhelmshaven", "Land"]}
    first, *_ = sheets_of(printed(stage, templates, "invoice", invoice(2, customer=customer)))
    for word in (customer["name"], *customer["address"]):
        left, top, right, bottom = first.boxes_of(str(word))[0]
        assert 20 < left < right < 105, word
        assert 45 < top < bottom < 90, word


def test_nothing_to_pay_needs_no_slip(stage: Stage, templates: Templates) -> None:
    back = invoice(3)["lines"][0] | {"quantity": -3}
    for parameters in (invoice(3, prepaid=133.88), invoice(1, lines=[back])):
        (sheet,) = sheets_of(printed(stage, templates, "invoice", parameters))
        assert "Payment slip" not in sheet.text


def test_long_texts_and_fortunes_stay_within_the_paper(stage: Stage, templates: Templates) -> None:
    line = {
        "description": "W" * 200,
        "details": "Wort " * 100,
        "quantity": -1e6,
        "unit": "Kubikmeter/h",
        "unitPrice": 999_999.1234,
        "discount": 0.1,
        "vatRate": 99.9,
    }
    seller = {
        "name": "Mmmmmmmmm " * 8,
        "web": "M" * 50,
        "email": "M" * 50,
        "address": ["M" * 50] * 4,
        "registration": "Mmmmmmmmm " * 8,
    }
    long = invoice(1, lines=[line] * 3, title="Tttttttttt " * 5, number="9" * 40, seller=seller, terms="Wort " * 400)
    long["customer"] = {"name": "M" * 80, "address": ["M" * 70] * 5, "number": "M" * 40, "vatNumber": "M" * 40}
    for locale in LANGUAGES:
        pdf = printed(stage, templates, "invoice", long, locale)
        for sheet, drawing in zip(sheets_of(pdf), drawings_of(pdf), strict=True):
            painted = drawing.painted()
            assert painted is not None
            assert painted[0] > 19.5, locale
            assert painted[2] < sheet.width - 19.5, locale


# The ledger


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_ledger_is_whole_in_its_language(stage: Stage, templates: Templates, locale: str) -> None:
    parameters = sample("account_ledger")
    sheets = sheets_of(printed(stage, templates, "account_ledger", parameters, locale))
    assert len(sheets) == 3
    assert CLOSING[locale] in sheets[-1].text
    balance = parameters["openingBalance"] + sum(
        row.get("credit", 0) - row.get("debit", 0) for row in parameters["rows"]
    )
    figures = f"{balance:,.2f}" if locale != "de" else f"{balance:,.2f}".translate(str.maketrans(",.", ".,"))
    assert sheets[-1].boxes_of(figures)


@pytest.mark.parametrize("locale", LANGUAGES)
def test_figures_of_a_ledger_line_up(stage: Stage, templates: Templates, locale: str) -> None:
    amounts = [5, 40, 300, 2000, 10000]
    rows = [{"date": "2025-01-01", "text": "a", "credit": amount} for amount in amounts]
    parameters = sample("account_ledger") | {"rows": rows, "openingBalance": -1e9}
    (sheet,) = sheets_of(printed(stage, templates, "account_ledger", parameters, locale))
    group, point = (".", ",") if locale == "de" else (",", ".")
    written = [f"{amount:,}".replace(",", group) + f"{point}00" for amount in amounts]
    edges = [sheet.boxes_of(figures)[0][2] for figures in written]
    assert max(edges) - min(edges) < 0.2


@pytest.mark.parametrize("locale", LANGUAGES)
def test_an_empty_ledger_says_so(stage: Stage, templates: Templates, locale: str) -> None:
    (sheet,) = sheets_of(printed(stage, templates, "account_ledger", sample("account_ledger") | {"rows": []}, locale))
    words = {"en": "No entries in this period", "de": "Keine Buchungen", "zh": "本期无交易", "ar": "في هذه الفترة"}
    assert words[locale] in sheet.text


def test_no_month_ends_or_begins_alone_at_an_edge_of_a_page(stage: Stage, templates: Templates) -> None:
    for days in range(20, 56):
        rows = [{"date": f"2025-{2 - (n < days):02}-01", "text": "Entry", "debit": 1} for n in range(days + 12)]
        sheets = sheets_of(printed(stage, templates, "account_ledger", sample("account_ledger") | {"rows": rows}))
        for sheet in sheets:
            assert "Date" in sheet.text
            assert len(sheet.boxes_of("Entry")) >= 2, days
        (head,) = [sheet for sheet in sheets if "February" in sheet.text and sheet.boxes_of("Brought")][:1]
        begins = head.boxes_of("Brought")[-1][3]
        assert sum(box[1] > begins - 2 for box in head.boxes_of("Entry")) >= 2, days


def test_a_ledger_of_5000_rows_takes_about_as_long_as_a_sales_table_of_5000(stage: Stage, templates: Templates) -> None:
    rows = [
        {"date": f"2025-{1 + n // 420:02}-{1 + n // 15 % 28:02}", "text": f"Entry {n}", "debit": n / 100}
        for n in range(5000)
    ]
    ledger = sample("account_ledger") | {"rows": rows}
    sales = sample("sales_summary")
    sales["rows"] = [copy.copy(sales["rows"][n % 40]) for n in range(5000)]
    seconds: dict[str, list[float]] = {"account_ledger": [], "sales_summary": []}
    # 1.4 on an idle machine: a row has a column more, and a month has rows of its own. Other work disturbs one run.
    for _ in range(4):
        for report, parameters in (("sales_summary", sales), ("account_ledger", ledger)):
            before = time.perf_counter()
            pdf = printed(stage, templates, report, parameters)
            seconds[report].append(time.perf_counter() - before)
            assert len(sheets_of(pdf)) > 100
        ratio = min(seconds["account_ledger"]) / min(seconds["sales_summary"])
        if ratio < 2:
            return
    pytest.fail(f"{ratio:.1f} times as long")


# The dashboard

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


def is_valid(report: str, parameters: object) -> bool:
    return not problems((REPORTS / f"{report}.schema.json").read_bytes(), json.dumps(parameters).encode())


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_dashboard_is_one_landscape_sheet_in_its_language(stage: Stage, templates: Templates, locale: str) -> None:
    (sheet,) = sheets_of(printed(stage, templates, "dashboard", sample("dashboard"), locale))
    assert [sheet.width, sheet.height] == pytest.approx([297, 210], abs=0.6)
    words = {"en": "Change", "de": "Änderung", "zh": "变化", "ar": "القيمة"}
    assert words[locale] in sheet.text


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


# What all of them have


@pytest.mark.parametrize("report", ["invoice", "account_ledger", "dashboard"])
def test_words_of_ones_own_take_the_place_of_the_shipped_ones(stage: Stage, templates: Templates, report: str) -> None:
    keys = {"invoice": "amount_due", "account_ledger": "closing_balance", "dashboard": "change"}
    parameters = sample(report) | {"labels": {keys[report]: "Bespoke"}}
    assert is_valid(report, parameters)
    assert "Bespoke" in sheets_of(printed(stage, templates, report, parameters, "fr"))[-1].text


@pytest.mark.parametrize("report", sorted(BUILT_IN))
@pytest.mark.parametrize("locale", ["", *LANGUAGES, "ar-EG"])
def test_every_sample_is_printed_whole_in_each_language(
    stage: Stage, templates: Templates, report: str, locale: str
) -> None:
    first, *_ = sheets_of(printed(stage, templates, report, sample(report), locale))
    assert len(first.words) > 50

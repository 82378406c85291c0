"""The arithmetic of invoices and ledgers, and the QR code of a payment."""

import re
import xml.etree.ElementTree as ET
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.adapters.templates.accounts import by_month, priced, vat_table
from reportd.adapters.templates.qr import qr

CENTS = st.integers(-(10**11), 10**11).map(lambda cents: cents / 100)


def line(quantity: float, price: float, rate: float = 19, **more: Any) -> dict[str, Any]:
    return {"quantity": quantity, "unitPrice": price, "vatRate": rate, **more}


def entry(date: str, **amount: float) -> dict[str, Any]:
    return {"date": date, **amount}


@pytest.mark.parametrize(
    ("given_line", "currency", "amount"),
    [
        (line(3, 12.5), "EUR", "37.50"),
        (line(1000, 0.3275), "EUR", "327.50"),
        (line(1, 0.005), "EUR", "0.01"),  # a half is rounded away from zero,
        (line(-1, 0.005), "EUR", "-0.01"),  # on either side
        (line(1, 1.005), "EUR", "1.01"),  # as written, not as the nearest binary fraction
        (line(1, 0.5), "JPY", "1"),
        (line(3, 0.1111), "KWD", "0.333"),
        (line(8, 249, discount=12.5), "EUR", "1743.00"),
        (line(8, 249, discount=100), "EUR", "0.00"),
        (line(1_000_000, 1_000_000), "EUR", "1000000000000.00"),
    ],
)
def test_an_amount_is_exact_and_has_the_decimals_of_its_currency(
    given_line: dict[str, Any], currency: str, amount: str
) -> None:
    (found,) = priced([given_line], currency)
    assert str(found["amount"]) == amount
    assert "amount" not in given_line


def test_the_tax_of_a_rate_is_that_of_its_sum() -> None:
    # Line by line it would be 3 x 0.00.
    rows = vat_table(priced([line(1, 0.02), line(1, 0.02), line(1, 0.02), line(1, 10, 7), line(2, 5, 0)], "EUR"), "EUR")
    assert [tuple(map(str, row.values())) for row in rows] == [
        ("19", "0.06", "0.01", "0.07"),
        ("7", "10.00", "0.70", "10.70"),
        ("0", "10.00", "0.00", "10.00"),
    ]


def test_a_rate_is_one_row_however_it_is_written() -> None:
    assert len(vat_table(priced([line(1, 1, 7), line(1, 1, 7.0)], "EUR"), "EUR")) == 1


@given(st.lists(st.tuples(st.integers(-999, 999), CENTS, st.sampled_from([0, 5.5, 7, 19])), min_size=1, max_size=20))
def test_what_is_printed_of_an_invoice_adds_up(lines: list[tuple[int, float, float]]) -> None:
    found = priced([line(*values) for values in lines], "EUR")
    rows = vat_table(found, "EUR")
    assert sum(row["net"] for row in rows) == sum(one["amount"] for one in found)
    assert all(row["net"] + row["vat"] == row["gross"] for row in rows)
    assert all(value.as_tuple().exponent == -2 for row in rows for key, value in row.items() if key != "rate")


def test_a_ledger_is_put_in_the_order_of_its_days_and_has_a_balance_after_each_row() -> None:
    rows = [
        entry("2025-02-01", debit=0.1),
        entry("2025-01-31", credit=100),
        entry("2025-02-01", debit=0.2),
        entry("2024-12-31", debit=50),
    ]
    december, january, february = by_month(rows, 10)
    assert [month.first for month in (december, january, february)] == ["2024-12-01", "2025-01-01", "2025-02-01"]
    assert [december.opening, december.closing] == [10, -40]
    assert [january.opening, january.credit, january.debit, january.closing] == [-40, 100, 0, 60]
    assert [str(row["balance"]) for row in february.rows] == ["59.9", "59.7"]
    assert [row["debit"] for row in february.rows] == [0.1, 0.2]
    assert february.debit == Decimal("0.3")


def test_a_ledger_without_rows_has_no_months() -> None:
    assert by_month([], 5) == []


@given(st.lists(st.tuples(st.dates(), st.sampled_from(["debit", "credit"]), CENTS), max_size=40), CENTS)
def test_months_hand_their_balance_on(rows: list[tuple[Any, str, float]], opening: float) -> None:
    months = by_month([entry(day.isoformat(), **{kind: amount}) for day, kind, amount in rows], opening)
    balance = Decimal(str(opening))
    for month in months:
        assert month.opening == balance
        balance += month.credit - month.debit
        assert month.closing == month.rows[-1]["balance"] == balance
    assert sum(len(month.rows) for month in months) == len(rows)


def test_a_code_is_a_picture_of_its_modules_only() -> None:
    drawn = ET.fromstring(qr("Grüße <&>", "38mm"))  # noqa: S314
    assert "width:38mm" in drawn.attrib["style"]
    size = int(drawn.attrib["viewBox"].split()[-1])
    (path,) = drawn
    modules = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.attrib["d"])}
    assert max(x for x, _ in modules) == max(y for _, y in modules) == size - 1
    # The finder pattern of the top left corner, seven modules wide.
    assert {(x, 0) for x in range(7)} <= modules
    assert (1, 1) not in modules


def test_a_size_cannot_leave_its_attribute() -> None:
    assert "<script" not in qr("a", '"><script>')


def test_a_text_that_no_code_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        qr("x" * 3000)

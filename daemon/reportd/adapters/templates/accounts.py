"""The arithmetic of invoices and ledgers, for report templates: exact decimals, halves rounded away from zero.

Filters take rows as the parameters have them and return new ones; they change nothing. Amounts of money have the
currency's number of decimals, so that what is printed adds up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Any

from reportd.adapters.templates.filters import minor_units, total
from reportd.adapters.templates.region import Number

Row = Mapping[str, Any]


def priced(lines: Iterable[Row], currency: str) -> list[dict[str, Any]]:
    """The lines of an invoice, each with its net ``amount``: `quantity` times `unitPrice`, less `discount` percent."""
    return [{**line, "amount": _line_amount(line, currency)} for line in lines]


def vat_table(priced_lines: Sequence[Row], currency: str) -> list[dict[str, Decimal]]:
    """One row ``{rate, net, vat, gross}`` for each ``vatRate``, highest first. The tax is that of the rate's sum."""
    rows = []
    for rate in sorted({_exact(line["vatRate"]) for line in priced_lines}, reverse=True):
        net = total([line for line in priced_lines if _exact(line["vatRate"]) == rate], "amount")
        vat = _rounded(net * rate / 100, currency)
        rows.append({"rate": rate, "net": net, "vat": vat, "gross": net + vat})
    return rows


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a ledger. ``first`` is its first day, ``opening`` is brought forward, ``rows`` have a ``balance``."""

    first: str
    rows: Sequence[Row]
    debit: Decimal
    credit: Decimal
    opening: Decimal
    closing: Decimal


def by_month(rows: Sequence[Row], opening: Number) -> list[Month]:
    """The rows of a ledger by months, in the order of their dates, each with the ``balance`` after it.

    A `credit` adds to the balance and a `debit` takes from it. Rows of one day keep their order.
    """
    months: list[Month] = []
    balance = _exact(opening)
    for month, group in groupby(sorted(rows, key=_date), key=lambda row: _date(row)[:7]):
        before, booked = balance, []
        for row in group:
            balance += _exact(row.get("credit", 0)) - _exact(row.get("debit", 0))
            booked.append({**row, "balance": balance})
        months.append(
            Month(f"{month}-01", booked, total(booked, "debit"), total(booked, "credit"), before, balance),
        )
    return months


def _date(row: Row) -> str:
    return str(row["date"])


def _line_amount(line: Row, currency: str) -> Decimal:
    full = _exact(line["quantity"]) * _exact(line["unitPrice"])
    return _rounded(full * (100 - _exact(line.get("discount", 0))) / 100, currency)


def _rounded(value: Decimal, currency: str) -> Decimal:
    # Adding zero turns minus zero into zero.
    return value.quantize(Decimal(1).scaleb(-minor_units(currency)), ROUND_HALF_UP) + 0


def _exact(value: Number) -> Decimal:
    """Return the number as it is written: 0.1 is a tenth."""
    return Decimal(str(value))

"""Filters for report templates: they format a value, or sum a column.

A job with a locale has its numbers and dates written in that language (``region``), any other job in English.
Only the Jinja environment of this package and the charts call them. All are pure and cheap, as some run once per row of
a 10,000-row table. Amounts are summed as decimals, so totals are exact to the cent at any size.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from reportd.adapters.templates.region import Number, Region, current

Pair = tuple[str, Decimal]

EN_DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

# English CLDR symbols; a currency without one is printed with its code.
_SYMBOLS = {
    "AUD": "A$",
    "BRL": "R$",
    "CAD": "CA$",
    "CNY": "CN¥",
    "EUR": "€",
    "GBP": "£",
    "HKD": "HK$",
    "INR": "₹",
    "JPY": "¥",
    "KRW": "₩",
    "TWD": "NT$",
    "USD": "$",
    "VND": "₫",
}
# ISO 4217 minor units other than two.
_WHOLE = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())  # noqa: SIM905
_THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})

_SCALES = ((10**12, "tn"), (10**9, "bn"), (10**6, "m"))
EXACT_BELOW = 10_000_000

_DATE_LENGTH = len("2025-03-01")

# Not strftime, which follows the machine's locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def number(value: Number, places: int | None = None, most: int | None = None) -> str:
    """`1234567` → `1,234,567`, with `places` decimals; without `places` up to two, and no trailing zeros.

    With `most`, as many decimals as the value has, from `places` (or none) up to `most`: `0.0325`.
    """
    if most is not None:
        exact = -int(Decimal(str(value)).normalize().as_tuple().exponent)
        places = min(max(places or 0, exact), most)
    if region := foreign():
        least, most = (places, places) if places is not None else (0, 0 if isinstance(value, int) else 2)
        return region.number(value, least, most)
    if places is not None:
        text = f"{value:z,.{places}f}"
    elif isinstance(value, int):
        text = f"{value:,}"
    else:
        text = f"{value:z,.2f}".rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def places(rows: Iterable[Mapping[str, Any]], key: str) -> int:
    """Return the decimals that align a column: 0 if all its numbers are whole, else 2."""
    return 2 if any(row.get(key, 0) % 1 for row in rows) else 0


def amount(value: Number, currency: str) -> str:
    """Money without its symbol, with the currency's number of decimals: for table columns."""
    return number(value, minor_units(currency))


def price(value: Number, currency: str) -> str:
    """A price per unit: the currency's number of decimals, and up to four more where it has them: `0.0325`."""
    least = minor_units(currency)
    return number(value, least, least + 4)


def money(value: Number, currency: str) -> str:
    """Money with its symbol, exact: `€1,234.50`, `CHF 1,234.50`."""
    if region := foreign():
        return region.money(value, currency, minor_units(currency))
    return signed(amount(value, currency), currency)


def short_money(value: Number, currency: str) -> str:
    """Money for a tile: exact while it fits, then whole, then `€1.23 bn`."""
    if abs(float(value)) < EXACT_BELOW // 100:
        return money(value, currency)
    if region := foreign():
        whole = abs(float(value)) < EXACT_BELOW
        return region.money(value, currency, 0) if whole else region.compact_money(value, currency)
    if abs(float(value)) < EXACT_BELOW:
        return signed(number(value, 0), currency)
    return signed(compact(value), currency)


def short_number(value: Number) -> str:
    """A count or an average for a tile: exact while it is small, then whole, then `1.23 bn`."""
    if abs(float(value)) < 100:  # noqa: PLR2004
        return number(value)
    return number(value, 0) if abs(float(value)) < EXACT_BELOW else compact(value)


def compact(value: Number) -> str:
    """A number of ten million or more, with two decimals of its scale: `12.35 m`, `3 bn`."""
    return alike([value])[0]


def alike(values: Sequence[Number]) -> list[str]:
    """Format numbers that are read side by side, all with the decimals of the largest.

    In English all have its scale, too; other languages change their words from scale to scale.
    """
    largest = max((abs(float(value)) for value in values), default=0.0)
    if largest < EXACT_BELOW:
        decimals = 2 if largest < 100 and any(float(value) % 1 for value in values) else 0  # noqa: PLR2004
        return [number(value, decimals) for value in values]
    if region := foreign():
        return [region.compact(value) if value else region.number(0, 0, 0) for value in values]
    scale, name = next(pair for pair in _SCALES if largest >= pair[0])
    scaled = [float(value) / scale for value in values]
    if any(0 < abs(value) < 0.01 for value in scaled):  # noqa: PLR2004
        # On one scale the small ones would show as zero.
        return [short_number(value) for value in values]
    decimals = 0 if all(value.is_integer() for value in scaled) else 2
    return [f"{number(value, decimals)}\u202f{name}" if value else "0" for value in scaled]


def percent(part: Number, whole: Number, places: int = 1) -> str:
    """The share of a part in a positive whole, `12.5%`; a dash if the whole is not positive."""
    if whole <= 0:
        return EN_DASH
    share = Decimal(str(part)) / Decimal(str(whole))
    if region := foreign():
        return region.percent(share, places)
    return f"{share:z.{places}%}".replace("-", MINUS)


def day(value: str | date) -> str:
    """`2025-03-01` → `1 Mar 2025`. A datetime: its day in the job's zone. Raises ValueError."""
    at = _day(value)
    if region := foreign():
        return region.format_date(at, "medium")
    return f"{at.day} {_month(at)} {at.year}"


def weekday(value: str | date) -> str:
    """`2025-03-01` → `Sat`; as ``day``."""
    at = _day(value)
    if region := foreign():
        return region.format_date(at, "ccc")
    return _WEEKDAYS[at.weekday()]


def day_and_month(at: date) -> str:
    """`1 Mar`."""
    if region := foreign():
        return region.date_of("MMMd", at)
    return f"{at.day} {_month(at)}"


def month_and_year(at: date) -> str:
    """`Mar 2025`."""
    if region := foreign():
        return region.date_of("yMMM", at)
    return f"{_month(at)} {at.year}"


def month(value: str | date) -> str:
    """`2025-03-01` → `March 2025`. Raises ValueError when it is not a date."""
    return current().date_of("yMMMM", _day(value))


def date_in_zone(value: str | float | date, form: str = "medium") -> str:
    """`2025-03-01T23:30:00Z` → the date of that moment in the job's zone, in the job's language.

    ``value``: an ISO 8601 date, a date, or a moment as for ``datetime_in_zone``. ``form``: short, medium, long,
    full, or a pattern of CLDR. Raises ValueError when it is neither.
    """
    if isinstance(value, str) and len(value) != _DATE_LENGTH:
        value = _moment(value)
    at = _day(_moment(value) if isinstance(value, int | float) else value)
    return current().format_date(at, form)


def datetime_in_zone(value: str | float | datetime, form: str = "medium") -> str:
    """`2025-03-01T23:30:00Z` → date and time of that moment in the job's zone, in the job's language.

    ``value``: an ISO 8601 time or a datetime, in UTC unless it has an offset, or milliseconds since the epoch.
    ``form``: short, medium, long, full, or a pattern of CLDR. Raises ValueError when it is neither.
    """
    return current().format_datetime(_moment(value), form)


def span(period: Mapping[str, str]) -> str:
    """A period `{from, to}` without repetition: `1 Jan` to `31 Mar 2025`."""
    start, end = date.fromisoformat(period["from"]), date.fromisoformat(period["to"])
    if start == end:
        return day(period["to"])
    if region := foreign():
        return region.span(start, end)
    first = f"{start.day}"
    if (start.year, start.month) != (end.year, end.month):
        first += f" {_month(start)}"
    if start.year != end.year:
        first += f" {start.year}"
    return f"{first} {EN_DASH} {day(period['to'])}"


def total(rows: Iterable[Mapping[str, Any]], key: str) -> Decimal:
    """The exact sum of a column; a row without it adds nothing."""
    return sum((Decimal(str(row[key])) for row in rows if key in row), Decimal())


def totals_by(rows: Iterable[Mapping[str, Any]], group: str, key: str) -> list[Pair]:
    """The sums of column `key` for each value of column `group`, largest first."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        name = row.get(group, EN_DASH)
        sums[name] = sums.get(name, Decimal()) + Decimal(str(row[key]))
    return sorted(sums.items(), key=lambda pair: -pair[1])


def column(rows: Iterable[Mapping[str, Any]], name: str, key: str) -> list[Pair]:
    """Two columns as pairs, in the order of the rows."""
    return [(row[name], Decimal(str(row[key]))) for row in rows]


def top(pairs: Sequence[Pair], count: int, others: str = "others") -> list[Pair]:
    """The first pairs unchanged, all others as one `12 others`."""
    if len(pairs) <= count:
        return list(pairs)
    rest = pairs[count - 1 :]
    return [*pairs[: count - 1], (f"{len(rest)} {others}", sum((value for _, value in rest), Decimal()))]


def has(rows: Iterable[Mapping[str, Any]], key: str) -> bool:
    """Whether any row has that column."""
    return any(key in row for row in rows)


def css_string(text: str) -> Markup:
    """A CSS string literal. HTML escapes have no effect inside `<style>`, so all but letters, digits and spaces
    becomes a CSS escape (CSS Syntax 4.3.7): neither `"` nor `</style>` can end the string.
    """
    body = "".join(char if char.isalnum() or char == " " else f"\\{ord(char):x} " for char in text)
    return Markup(f'"{body}"')  # noqa: S704


def foreign() -> Region | None:
    """Return the job's region if it has a locale."""
    region = current()
    return region if region.locale is not None else None


def minor_units(currency: str) -> int:
    return 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2


def _month(at: date) -> str:
    return _MONTHS[at.month - 1]


def _day(value: str | date) -> date:
    if isinstance(value, datetime):
        return _moment(value).astimezone(current().zone).date()
    return date.fromisoformat(value) if isinstance(value, str) else value


def _moment(value: str | float | datetime) -> datetime:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def signed(figures: str, currency: str) -> str:
    symbol = _SYMBOLS.get(currency, f"{currency}\u00a0")
    return f"{MINUS}{symbol}{figures[1:]}" if figures.startswith(MINUS) else f"{symbol}{figures}"

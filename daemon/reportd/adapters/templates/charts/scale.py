"""The numbers and dates that stand at an axis."""

import math
from collections.abc import Sequence
from datetime import date, timedelta

from reportd.adapters.templates.filters import day_and_month, month_and_year

SMALLEST_SPAN = 1e-6
_LONGEST_IN_DAYS = 92


def ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Return about `count` round steps, at least two, that cover zero and every value.

    Steps are 1, 2, 2.5 or 5 times a power of ten. They are whole numbers if all values are.
    """
    low, high = min([0.0, *values]), max([0.0, *values])
    if high - low < SMALLEST_SPAN:
        return [0.0, 1.0]
    step = _step((high - low) / count)
    if step < 1 and all(float(value).is_integer() for value in values):
        step = 1.0
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def date_labels(first: date, last: date, *, with_first: bool = False) -> list[tuple[date, str]]:
    """Return at most a dozen dates to label: one or two days apart, then weeks, then starts of months.

    ``with_first``: also that of the first month, if it is there.
    """
    days = (last - first).days
    if days <= _LONGEST_IN_DAYS:
        step = next((size for size in (1, 2) if days <= 10 * size), 7 * math.ceil(days / 70))
        ats = [first + timedelta(days=index) for index in range(0, days + 1, step)]
        return [(at, day_and_month(at)) for at in ats]
    begun = 0 if with_first and first.day == 1 else 1
    months = range(first.year * 12 + first.month - 1 + begun, last.year * 12 + last.month)
    every = next((size for size in (1, 2, 3, 6, 12) if len(months) <= size * 8), 24)
    starts = [date(index // 12, index % 12 + 1, 1) for index in months]
    return [(at, month_and_year(at)) for at in starts[::every]]


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= rough * (1 - 1e-9))

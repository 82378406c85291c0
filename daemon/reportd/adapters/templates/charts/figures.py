"""The figures of a chart, in its unit and in the language of the job."""

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from babel.numbers import list_currencies

from reportd.adapters.templates.charts.scale import SMALLEST_SPAN
from reportd.adapters.templates.filters import EXACT_BELOW, alike, foreign, minor_units, number, percent, signed


def figures(values: Sequence[float], unit: str = "") -> list[str]:
    """Write figures that are read side by side. ``unit``: a currency's code, ``%``, or what stands after a number."""
    if unit == "%":
        places = int(any(abs(value - round(value)) > SMALLEST_SPAN for value in values))
        return [percent(Decimal(str(value)), 100, places) for value in values]
    if unit in _currencies():
        return _money(values, unit)
    texts = alike(values) if _is_large(values) else [number(value, _places(values)) for value in values]
    return [f"{text}\u00a0{unit}" if unit else text for text in texts]


def _money(values: Sequence[float], currency: str) -> list[str]:
    region = foreign()
    if _is_large(values):
        if region is None:
            return [signed(text, currency) for text in alike(values)]
        return [region.compact_money(value, currency) if value else region.money(0, currency, 0) for value in values]
    places = minor_units(currency) if _places(values) else 0
    if region is None:
        return [signed(number(value, places), currency) for value in values]
    return [region.money(value, currency, places) for value in values]


def _is_large(values: Sequence[float]) -> bool:
    return max(map(abs, values), default=0.0) >= EXACT_BELOW


def _places(values: Sequence[float]) -> int:
    """Return the decimals that show the values: none from 100 on, else two, or two digits of a largest below 1."""
    largest = max(map(abs, values), default=0.0)
    if largest >= 100 or largest < SMALLEST_SPAN:  # noqa: PLR2004
        return 0
    most = max(2, 1 - math.floor(math.log10(largest)))
    return next((n for n in range(most) if all(abs(round(v, n) - v) < largest * 1e-9 for v in values)), most)


@lru_cache(1)
def _currencies() -> frozenset[str]:
    return frozenset(list_currencies())

"""What a chart draws, read from what a template has: pairs, or several series of them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from reportd.adapters.templates.filters import day_and_month, month_and_year
from reportd.adapters.templates.region import Number
from reportd.core.text import cut

Pairs = Iterable[tuple[Any, Number | None]] | Mapping[Any, Number | None]
Data = Pairs | Mapping[str, Pairs]

_ACCEPTED = "accepted: pairs of label and number, or a mapping of names to such pairs"
_LONGEST = 200
"""Characters of a label: more have no room in any chart, and each costs time to measure."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")

LARGEST = 1e21
"""Sums and steps of numbers up to this stay finite, and exact enough to be written to the cent."""


@dataclass(frozen=True, slots=True)
class Series:
    """``values``: one for each label of the table; None where there is none. A lone series has no name."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Table:
    """``dates``: those that the labels are, where all of them are dates or months; else empty."""

    labels: Sequence[str]
    series: Sequence[Series]
    dates: Sequence[date]

    @property
    def monthly(self) -> bool:
        """Whether all labels are months."""
        return bool(self.dates) and all(len(label) == len("2025-01") for label in self.labels)

    @property
    def is_empty(self) -> bool:
        return not self.values()

    def values(self) -> list[float]:
        return [value for one in self.series for value in one.values if value is not None]

    def names(self) -> list[str]:
        """Return the labels as they are written: dates and months in the language of the job."""
        if not self.dates:
            return list(self.labels)
        return [month_and_year(at) if self.monthly else day_and_month(at) for at in self.dates]


def table(data: Data) -> Table:
    """Read the data of a chart; ISO dates and months are put in order.

    Raises ValueError when it is something else, or a number is not finite.
    """
    named = [(name, _pairs(pairs)) for name, pairs in _named(data)]
    # A label that a series has twice stands for two places.
    places = {place: None for _, pairs in named for place in pairs}
    labels = [label for label, _ in places]
    dates = _dates(labels)
    if dates:
        order = sorted(range(len(labels)), key=dates.__getitem__)
        keys = list(places)
        places = {keys[index]: None for index in order}
        labels, dates = [labels[index] for index in order], [dates[index] for index in order]
    return Table(labels, [Series(name, [pairs.get(place) for place in places]) for name, pairs in named], dates)


def series(rows: Iterable[Mapping[str, Any]], label: str, group: str, key: str) -> dict[str, list[tuple[str, Decimal]]]:
    """The sums of column `key` for each value of column `label`, one series for each value of column `group`.

    The series with the largest sum comes first.
    """
    sums: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        one = sums.setdefault(str(row[group]), {})
        place = str(row[label])
        one[place] = one.get(place, Decimal()) + Decimal(str(row[key]))
    largest_first = sorted(sums.items(), key=lambda one: -sum(one[1].values()))
    return {name: list(one.items()) for name, one in largest_first}


def number(value: object) -> float:
    """Return a number of a chart. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"a chart can only show numbers, not {value!r:.40}; {_ACCEPTED}")  # noqa: TRY004 - the data's
    if not math.isfinite(value):
        raise ValueError("a chart can only show finite numbers")
    if abs(float(value)) > LARGEST:
        raise ValueError(f"a chart can't show {value!r:.40}; accepted: numbers of at most {LARGEST:g}")
    return float(value)


def _named(data: Any) -> list[tuple[str, Any]]:
    if isinstance(data, Mapping):
        series = data.values()
        if data and not any(value is None or isinstance(value, int | float | Decimal) for value in series):
            return [(cut(str(name), _LONGEST), pairs) for name, pairs in data.items()]
    return [("", data)]


def _pairs(pairs: Any) -> dict[tuple[str, int], float | None]:
    seen: dict[str, int] = {}
    found: dict[tuple[str, int], float | None] = {}
    for pair in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if isinstance(pair, str | Mapping) or not isinstance(pair, Sequence) or len(pair) != 2:  # noqa: PLR2004
            raise ValueError(f"a chart can't show {pair!r:.40}; {_ACCEPTED}")
        label = cut(str(pair[0]), _LONGEST)
        seen[label] = seen.get(label, 0) + 1
        found[label, seen[label]] = None if pair[1] is None else number(pair[1])
    return found


def _dates(labels: Sequence[str]) -> list[date]:
    """Return the dates that the labels are; none unless all are dates: the number of an article may look like one."""
    if not all(_DATE.fullmatch(label) for label in labels):
        return []
    try:
        return [date.fromisoformat(label if label.count("-") > 1 else f"{label}-01") for label in labels]
    except ValueError:
        return []

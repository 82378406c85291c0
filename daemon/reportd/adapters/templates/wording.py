"""Filters that put words together as the job's language does; without a locale in English."""

from collections.abc import Iterable
from datetime import timedelta

from reportd.adapters.templates.filters import MINUS, foreign
from reportd.adapters.templates.region import Number, current

_UNITS = ((86400, "day", "d"), (3600, "hour", "h"), (60, "minute", "min"), (1, "second", "s"))
_LISTS = {"and": "standard", "or": "or"}


def duration(value: Number | timedelta) -> str:
    """Seconds, or a difference of two times, in its two largest units: `7500` → `2 h 5 min`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    total = abs(seconds)
    # A unit is the largest if the time comes to one when it is rounded to the next smaller unit.
    finest = [size for size, _, _ in _UNITS[1:]] + [1]
    index = next(
        (n for n, (size, _, _) in enumerate(_UNITS) if round(total / finest[n]) * finest[n] >= size), len(_UNITS) - 1
    )
    rounded = round(total / finest[index]) * finest[index]
    first, rest = divmod(rounded, _UNITS[index][0])
    counts = [first] if index == len(_UNITS) - 1 else [first, rest // finest[index]]
    parts = [(count, *_UNITS[index + place][1:]) for place, count in enumerate(counts) if count or place == 0]
    if region := foreign():
        written = [region.unit(count, f"duration-{name}") for count, name, _ in parts]
        sign = region.minus if seconds < 0 and rounded else ""
    else:
        written = [f"{count}\u202f{symbol}" for count, _, symbol in parts]
        sign = MINUS if seconds < 0 and rounded else ""
    return sign + " ".join(written)


def joined(values: Iterable[object], word: str = "and") -> str:
    """Texts as a list in a sentence: `A, B and C`; ``word``: and, or. Raises ValueError."""
    if word not in _LISTS:
        raise ValueError(f"joined has no {word!r}; accepted: and, or")
    return current().listed([str(value) for value in values], _LISTS[word])


def plural(
    count: Number,
    other: str,
    *,
    one: str | None = None,
    zero: str | None = None,
    two: str | None = None,
    few: str | None = None,
    many: str | None = None,
) -> str:
    """The word for so many, of those that are given for the plural categories of CLDR; ``other`` for all the rest."""
    words = {"zero": zero, "one": one, "two": two, "few": few, "many": many}
    return words.get(current().plural_category(count)) or other

"""How numbers, money and times are written in the language and the zone of the job that is being rendered.

``templates`` sets the region around each render; ``filters`` asks for it. CLDR has the rules, and Babel applies them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, dates, lists, numbers, units
from babel.core import UnknownLocaleError

Number = int | float | Decimal

_ZEROS = {"arab": 0x660, "arabext": 0x6F0, "beng": 0x9E6, "deva": 0x966, "mymr": 0x1040, "tibt": 0xF20}
"""The digits of numbering systems, as browsers write them: Babel takes only their separators from CLDR."""

_NO_LOCALE = Locale.parse("en_GB")
"""What new filters write without a locale: `1 Mar 2025`, as the older ones do."""


@dataclass(frozen=True, slots=True)
class Region:
    """``locale`` is None when the job has none: then the filters write the English that they have always written."""

    locale: Locale | None
    zone: tzinfo

    @property
    def _locale(self) -> Locale:
        return self.locale or _NO_LOCALE

    @property
    def _digits(self) -> str:
        system = self._locale.default_numbering_system
        return system if system in _ZEROS else "latn"

    def number(self, value: Number, least: int, most: int) -> str:
        """Return a number with ``least`` to ``most`` decimals."""
        return self._applied(self._locale.decimal_formats[None], _exact(value, most), (least, most))

    def money(self, value: Number, currency: str, places: int) -> str:
        pattern = self._locale.currency_formats["standard"]
        return self._applied(pattern, _exact(value, places), (places, places), currency)

    def percent(self, share: Decimal, places: int) -> str:
        """Return a share of 1 as a percentage with so many decimals."""
        return self._applied(self._locale.percent_formats[None], _exact(share, places + 2), (places, places))

    def compact(self, value: Number) -> str:
        """Return a large number with at most two decimals of its scale: `12,35 Mio.`."""
        like: Any = {"locale": self._locale, "fraction_digits": 2, "numbering_system": self._digits}
        return self._written(numbers.format_compact_decimal(Decimal(str(value)), **like))

    def compact_money(self, value: Number, currency: str) -> str:
        like: Any = {"locale": self._locale, "fraction_digits": 2, "numbering_system": self._digits}
        return self._written(numbers.format_compact_currency(Decimal(str(value)), currency, **like))

    def format_date(self, at: date, form: str) -> str:
        """``form``: short, medium, long, full, or a pattern of CLDR such as ``EEE``."""
        return self._written(dates.format_date(at, form, self._locale))

    def format_datetime(self, at: datetime, form: str) -> str:
        return self._written(dates.format_datetime(at, form, self.zone, self._locale))

    def date_of(self, skeleton: str, at: date) -> str:
        """Return parts of a date in the order of the language; ``skeleton`` names them: ``MMMd``, ``yMMM``."""
        return self._written(dates.format_skeleton(skeleton, at, locale=self._locale))

    def span(self, first: date, last: date) -> str:
        return self._written(dates.format_interval(first, last, "yMMMd", locale=self._locale))

    def unit(self, count: int, name: str) -> str:
        """Return a count of a unit of CLDR, such as ``duration-hour``: `2 Std.`."""
        return self._written(units.format_unit(count, name, "short", locale=self._locale))

    @property
    def minus(self) -> str:
        return numbers.get_minus_sign_symbol(self._locale, numbering_system=self._digits)

    def listed(self, texts: Sequence[str], style: str) -> str:
        """Return a list in words; ``style``: standard (and), or."""
        return lists.format_list(texts, style, locale=self._locale)  # type: ignore[arg-type]

    def plural_category(self, count: Number) -> str:
        """Return zero, one, two, few, many or other: CLDR's plural rules."""
        return self._locale.plural_form(count)

    def _applied(
        self, pattern: numbers.NumberPattern, value: Decimal, decimals: tuple[int, int], currency: str | None = None
    ) -> str:
        pattern = copy(pattern)
        pattern.frac_prec = decimals
        like: Any = {"currency": currency, "currency_digits": False, "numbering_system": self._digits}
        # Babel writes every minus as "-". Without the mark of CLDR's, it stands on the wrong side in Arabic.
        minus = numbers.get_minus_sign_symbol(self._locale, numbering_system=self._digits)
        return self._written(pattern.apply(value, self._locale, **like).replace("-", minus))

    def _written(self, text: str) -> str:
        zero = _ZEROS.get(self._digits)
        return text if zero is None else text.translate({ord(str(digit)): zero + digit for digit in range(10)})


NOWHERE = Region(None, UTC)

_current: ContextVar[Region] = ContextVar("region", default=NOWHERE)


def current() -> Region:
    """Return the region of the render that this is called in."""
    return _current.get()


@contextmanager
def rendering_in(locale: str, timezone: str) -> Iterator[None]:
    """Render in a region. ``locale``: a BCP 47 tag, ``timezone``: an IANA name; each may be empty.

    Raises ZoneInfoNotFoundError for a name that is no accepted time zone.
    """
    token = _current.set(_region(locale, timezone))
    try:
        yield
    finally:
        _current.reset(token)


@lru_cache(64)
def _region(locale: str, timezone: str) -> Region:
    return Region(_known_locale(locale) if locale else None, ZoneInfo(timezone) if timezone else UTC)


def direction(tag: str) -> str:
    """`ar` → `rtl`, `de` → `ltr`: how the language is written. Raises ValueError for a tag of no known language."""
    try:
        return _known_locale(tag).text_direction
    except (UnknownLocaleError, ValueError):
        raise ValueError(f"{tag!r} is no language; accepted: a BCP 47 tag, e.g. de or zh-Hant-TW") from None


def _known_locale(tag: str) -> Locale:
    """Return the locale of a tag; where CLDR has no such region or script of the language, the language's own."""
    while True:
        try:
            return Locale.parse(tag, sep="-")
        except UnknownLocaleError:
            tag, dash, _ = tag.rpartition("-")
            if not dash:
                raise


def _exact(value: Number, places: int) -> Decimal:
    """Return the value rounded, so that none is written as minus zero."""
    rounded = round(Decimal(str(value)), places)
    return rounded or Decimal()

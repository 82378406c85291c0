"""What a job may say about its own language, zone, name and print.

The fields are read by ``submission`` and ``job`` at the door, and by ``config`` for the defaults of a report type.
Whether a report type allows a field, and whether a print option has a valid value, is the configuration's to say.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from babel import Locale
from babel.core import UnknownLocaleError, get_global

LOCALE_ACCEPTS = "a BCP 47 language tag: language, script and region, e.g. de, pt-BR or zh-Hant-TW"
ZONE_ACCEPTS = "the name of an IANA time zone, e.g. Europe/Berlin or UTC"
MAX_FILE_NAME = 150
MAX_PDF_BYTES = 2000
_SUFFIX = ".pdf"

_FILE_NAME_ACCEPTS = (
    f"a file's name of 1 to {MAX_FILE_NAME} characters before .pdf, without / and \\, without control characters, "
    "and without a dot at its beginning"
)
_TAG = re.compile(r"([a-z]{2,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|[0-9]{3}))?", re.ASCII | re.IGNORECASE)
_NOT_PRINTED = ("Cc", "Zl", "Zp")
# They would show a name from right to left, so that its end looks like another: UAX 9, explicit formatting.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Names of the tz database that stand for no zone, and two that it has withdrawn.
_NO_ZONES = frozenset({"Etc/Unknown", "Factory", "Canada/East-Saskatchewan", "US/Pacific-New"})


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Fields of a job that override the defaults of its report type; an empty one overrides nothing.

    ``locale``: a canonical BCP 47 tag. ``timezone``: an IANA name. ``file_name``: ends in ``.pdf``. ``pdf``: print
    options, in the names of the wire.
    """

    locale: str = ""
    timezone: str = ""
    file_name: str = ""
    pdf: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return the fields as on the wire, without the empty ones; ``options_of`` reads them."""
        given = {name: getattr(self, attribute) for name, (attribute, _, _) in OPTIONS.items()}
        return {name: value for name, value in given.items() if value}


NO_OPTIONS = JobOptions()


def options_of(fields: Mapping[str, Any]) -> JobOptions:
    """Return the options that ``fields`` were made of. They are not checked again; unknown ones are left out."""
    return JobOptions(**{OPTIONS[name][0]: value for name, value in fields.items() if name in OPTIONS})


def read_options(document: Mapping[str, Any]) -> tuple[JobOptions, dict[str, str]]:
    """Return the options in a submission or message, and for each field that is not valid what it must be.

    A field that is null is absent.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, (attribute, read, accepts) in OPTIONS.items():
        value = document.get(name)
        if value is None:
            continue
        try:
            values[attribute] = read(value)
        except ValueError:
            problems[name] = f"must be {accepts}"
    return (JobOptions(**values) if values else NO_OPTIONS), problems


def canonical_locale(value: object) -> str:
    """Return a BCP 47 tag in its canonical form (RFC 5646 section 4.5). Raises ValueError if no locale is known.

    The region need not fit the language: ``de-US`` is German for the United States.
    """
    match = _TAG.fullmatch(value) if isinstance(value, str) else None
    if match is None or not _is_language(match[1].lower()):
        raise ValueError("is no known locale")
    language, script, region = match.groups("")
    return "-".join(part for part in (language.lower(), script.title(), region.upper()) if part)


def canonical_zone(value: object) -> str:
    """Return the name of a time zone. Raises ValueError if CLDR, from which browsers have their zones, has none.

    ``zoneinfo`` has each of these zones: what the machine lacks comes from the package tzdata.
    """
    if not isinstance(value, str) or value not in _zones():
        raise ValueError("is no known time zone")
    return value


def canonical_file_name(value: object) -> str:
    """Return a file's name with ``.pdf`` at its end, which does not count for its length. Raises ValueError.

    The result is valid, too: the submission and its message are both read with this.
    """
    if not isinstance(value, str):
        raise ValueError("is no text")  # noqa: TRY004 - one error for all
    name = value.strip(" ")
    if (
        not name
        or len(name) > MAX_FILE_NAME + (len(_SUFFIX) if name.lower().endswith(_SUFFIX) else 0)
        or name.startswith(".")
        or any(char in "/\\" or char in _BIDI_CONTROLS or unicodedata.category(char) in _NOT_PRINTED for char in name)
    ):
        raise ValueError("is no name of a file")
    return name if name.lower().endswith(_SUFFIX) else f"{name}{_SUFFIX}"


def _pdf(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(item, str | int | float) for item in value.values()):
        raise ValueError("is no object of print options")
    text = orjson.dumps(value)
    if len(text) > MAX_PDF_BYTES or b"\\u0000" in text:
        raise ValueError("is too large")
    return value


@lru_cache(512)
def _is_language(language: str) -> bool:
    try:
        Locale.parse(language)
    except UnknownLocaleError:
        return False
    return language != "und"


@lru_cache(1)
def _zones() -> frozenset[str]:
    return frozenset({*get_global("zone_territories"), *get_global("zone_aliases")} - _NO_ZONES)


OPTIONS: Mapping[str, tuple[str, Callable[[object], Any], str]] = {
    "locale": ("locale", canonical_locale, LOCALE_ACCEPTS),
    "timezone": ("timezone", canonical_zone, ZONE_ACCEPTS),
    "fileName": ("file_name", canonical_file_name, _FILE_NAME_ACCEPTS),
    "pdf": (
        "pdf",
        _pdf,
        f"an object of print options, each a text, number or boolean; {MAX_PDF_BYTES} bytes of JSON at most",
    ),
}
"""For each field of the wire: the attribute of JobOptions, what reads it, and what it accepts."""

"""The ``[render_tokens]`` table, and where the page of a report type gets its token.

Called by ``models`` and ``report_types``. Keys are checked here, so that a faulty one is found before anything starts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reportd.config.section import Accepts, Conflict, Secret, Section
from reportd.config.values import Number, is_browsers_own
from reportd.core.render_keys import ALGORITHMS, RenderKey
from reportd.ports import TokenPlace

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HTTP_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")

_TAKEN = frozenset({"connection", "content-type", "cookie", "origin", "referer"})
"""Headers that the browser or the daemon writes, besides those that the browser takes from nobody."""


class KeyEntry(Section):
    """One of ``render_tokens.keys``."""

    kid: str
    algorithm: str
    key: Annotated[str, Secret]

    def parsed(self) -> RenderKey:
        return RenderKey(self.kid, self.algorithm, self.key)


def _entries(value: Any) -> tuple[KeyEntry, ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise ValueError("is not a list")  # noqa: TRY004 - pydantic reports ValueError
    entries = tuple(_entry(number, item) for number, item in enumerate(value, 1))
    names = [entry.kid for entry in entries]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise ValueError(f"entry {number} has the kid {name}, which an earlier one has")
    return entries


def _entry(number: int, item: Any) -> KeyEntry:
    where, names = f"entry {number}", KeyEntry.model_fields
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} is not a table")  # noqa: TRY004 - pydantic reports ValueError
    if unknown := set(item) - set(names):
        raise ValueError(f"{where} has the unknown name {min(unknown)[:40]}")
    for name in names:
        if not isinstance(item.get(name), str):
            problem = f"a {name} that is no text" if name in item else f"no {name}"
            raise ValueError(f"{where} has {problem}")  # noqa: TRY004 - pydantic reports ValueError
    if not _NAME.fullmatch(item["kid"]):
        raise ValueError(f"{where} has a kid that is not 1 to 64 letters, digits, dots, hyphens or underscores")
    algorithm = item["algorithm"]
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{where} ({item['kid']}) has an algorithm that is not one of {', '.join(ALGORITHMS)}")
    entry = KeyEntry(**item)
    try:
        entry.parsed().material()
    except ValueError as error:
        problem = f"{where} ({entry.kid}) has a key that {error}, but {algorithm} takes {ALGORITHMS[algorithm]}"
        raise ValueError(problem) from None
    return entry


def _place(value: Any) -> TokenPlace | None:
    if value is None or isinstance(value, TokenPlace):
        return value
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("is neither true nor false, nor a text")  # noqa: TRY004 - pydantic reports ValueError
    if text.lower() in ("false", ""):
        return None
    if text.lower() == "true":
        return TokenPlace(header="Authorization")
    kind, _, name = text.partition(":")
    if kind not in ("header", "cookie"):
        raise ValueError("is no such place")
    if not _HTTP_TOKEN.fullmatch(name):
        raise ValueError(f"names no {kind}")
    if kind == "cookie":
        return TokenPlace(cookie=name)
    if name.lower() in _TAKEN or is_browsers_own(name):
        raise ValueError(f"names {name}, which the browser writes itself")
    return TokenPlace(header=name)


def place_text(place: TokenPlace | None) -> bool | str:
    """Return a place in the file's form."""
    if place is None:
        return False
    if place.cookie:
        return f"cookie:{place.cookie}"
    return place.header.lower() == "authorization" or f"header:{place.header}"


def place_conflicts(
    place: TokenPlace | None, url: str, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> Iterator[Conflict]:
    """Yield what is wrong with a token in this place, for a report type with these keys."""
    if place is None:
        return
    if not url:
        text = "is set, but a template's page has no server to show it to; accepted: a token for a url"
        yield Conflict(("token", "url"), text)
    name = (place.cookie or place.header).lower()
    given, key = (cookies, "cookies") if place.cookie else (headers, "headers")
    if name in map(str.lower, given):
        yield Conflict(("token", key), f"is in the place of one of its {key}; accepted: a name of its own")
    if place.cookie and "cookie" in map(str.lower, headers):
        text = "is a cookie, but headers has all cookies of the page; accepted: cookies instead of that header"
        yield Conflict(("token", "headers"), text)


TokenWhere = Annotated[
    TokenPlace | None,
    Accepts("true (Authorization: Bearer), false, header:NAME or cookie:NAME"),
    BeforeValidator(_place),
]


class RenderTokens(Section):
    """How render tokens are signed: the first key signs, all verify."""

    issuer: Annotated[str, Accepts("a text of 1 to 200 characters")] = Field("reportd", min_length=1, max_length=200)
    margin_seconds: Number = Field(10.0, ge=0, le=3600)
    keys: Annotated[
        tuple[KeyEntry, ...],
        Accepts('a list of {kid = "NAME", algorithm = "EdDSA" or "HS256", key = {file = "PATH"}}, each kid once'),
        BeforeValidator(_entries),
    ] = ()

    def parsed(self) -> tuple[RenderKey, ...]:
        return tuple(entry.parsed() for entry in self.keys)

"""Reads keys from environment variables: ``REPORTD_HTTP__BIND`` sets the key ``bind`` of ``[http]``.

Called by ``load``.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin

import orjson
from pydantic.fields import FieldInfo

from reportd.config.keys import Path, accepted, field_at, fields_at, is_section, leaves
from reportd.config.section import takes_file
from reportd.core.jobs.job import REPORT_TYPE

PREFIX = "REPORTD_"

_NOT_KEYS = frozenset({"REPORTD_CONFIG", "REPORTD_URL", "REPORTD_TOKEN"})
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Variable(NamedTuple):
    """One variable: the key it sets and the value, or the problem with it.

    ``path`` is empty when there is no such key; ``meant`` is then the most similar key, if any.
    """

    name: str
    path: Path
    value: Any = None
    problem: str = ""
    meant: Path = ()


def read(environ: Mapping[str, str]) -> Iterator[Variable]:
    """Yield every variable of the configuration, sorted by name."""
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in _NOT_KEYS:
            yield _variable(name, environ[name])


def name_of(path: Path) -> str:
    """Return the name of the variable that sets the key at that path."""
    return PREFIX + "__".join(path).upper()


def _variable(name: str, text: str) -> Variable:
    path = _path(name)
    if path[0] == "reports" and len(path) > 1 and not REPORT_TYPE.fullmatch(path[1]):
        text = "names no report type; accepted: REPORTD_REPORTS__NAME__KEY, NAME of letters, digits and underscores"
        return Variable(name, (), problem=text)
    field = field_at(path) if name == name_of(path) else None
    if field is None or is_section(field) or path == ("reports",):
        return _unknown(name, path)
    try:
        return Variable(name, path, _value(text, field))
    except ValueError as error:
        return Variable(name, path, problem=f"{error}; accepted: {accepted(field)}{_form(field)}")


def _path(name: str) -> Path:
    lower = name.removeprefix(PREFIX).lower()
    if lower.startswith("reports__"):
        # A report type's name may itself contain two underscores, so the key is matched at the end.
        for _, _, *key in leaves(("reports", "NAME")):
            suffix = "__".join(("", *key))
            if lower.endswith(suffix) and len(lower) > len("reports__" + suffix):
                return ("reports", lower.removeprefix("reports__").removesuffix(suffix), *key)
    return tuple(lower.split("__"))


def _unknown(name: str, path: Path) -> Variable:
    if fields_at(path) or path == ("reports",):
        example = ("reports", "NAME", "url") if path == ("reports",) else next(leaves(path))
        text = f"is a section; accepted: a variable for each key, e.g. {name_of(example)}"
        return Variable(name, (), problem=text)
    report = path[:2] if path[0] == "reports" and len(path) > 2 else ()  # noqa: PLR2004 - reports, a type, a key
    known = {name_of(leaf): leaf for leaf in (*leaves(), *(leaves(report) if report else ()))}
    if near := get_close_matches(name.upper()[:200], known, n=1):
        return Variable(name, (), problem=f"is unknown; did you mean {near[0]}?", meant=known[near[0]])
    return Variable(name, (), problem="is unknown; accepted: REPORTD_SECTION__KEY, as in the file")


def _value(text: str, field: FieldInfo) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    kind = get_origin(field.annotation) or field.annotation
    stripped = text.strip()
    if kind in (bool, int, float):
        return _scalar(stripped, kind)
    if _is_switch_or_list(field) and stripped.lower() in _BOOLEANS:
        return _BOOLEANS[stripped.lower()]
    if kind is tuple or _is_switch_or_list(field):
        if stripped.startswith("["):
            return _json(stripped)
        return [item.strip() for item in stripped.split(",") if item.strip()]
    if kind is Mapping:
        return _json(stripped) if stripped else {}
    # No text of these keys begins like a table of JSON.
    return _json(stripped) if takes_file(field) and stripped.startswith("{") else text


def _is_switch_or_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is UnionType and bool in get_args(field.annotation)


def _scalar(stripped: str, kind: Any) -> Any:
    if kind is bool:
        if stripped.lower() not in _BOOLEANS:
            raise ValueError("is neither true nor false")
        return _BOOLEANS[stripped.lower()]
    if kind is int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", stripped):
            raise ValueError("is not a whole number")
        return int(stripped)
    if not re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{0,18})?([eE][+-]?[0-9]{1,2})?", stripped):
        raise ValueError("is not a number")
    return float(stripped)


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None


def _form(field: FieldInfo) -> str:
    kind = get_origin(field.annotation)
    if takes_file(field) and kind is None:
        return ', here as {"file": "PATH"}'
    return (
        "; comma-separated or JSON"
        if kind is tuple or _is_switch_or_list(field)
        else "; here as JSON"
        if kind is Mapping
        else ""
    )

"""The known keys, the nearest one to an unknown key, and what each accepts, derived from the models.

Called by ``environment`` and ``load``. A path holds a key's names from the top: ``("reports", "a", "pdf", "scale")``.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, cast, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from reportd.config.models import Config
from reportd.config.report_types import ReportType
from reportd.config.section import Accepts, Section, takes_file

Path = tuple[str, ...]

_TYPES: dict[Any, str] = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}


def fields_at(path: Sequence[str]) -> dict[str, FieldInfo] | None:
    """Return the keys of the section at a path; None if it is no section, or ``reports`` itself."""
    section: type[Section] = Config
    rest = list(path)
    if rest[:1] == ["reports"]:
        if len(rest) == 1:
            return None
        section, rest = ReportType, rest[2:]
    for name in rest:
        field = section.model_fields.get(name)
        if field is None or not is_section(field):
            return None
        section = cast("type[Section]", field.annotation)
    return section.model_fields


def field_at(path: Sequence[str]) -> FieldInfo | None:
    """Return the key at a path, or None."""
    return (fields_at(path[:-1]) or {}).get(path[-1])


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def leaves(path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all keys below a section; of report types only those of the one that the path names."""
    for name, field in (fields_at(path) or {}).items():
        if is_section(field):
            yield from leaves((*path, name))
        elif (*path, name) != ("reports",):
            yield (*path, name)


def meant(path: Path) -> Path | None:
    """Return the known path nearest to an unknown one: a similar sibling, else a key of that name elsewhere."""
    *parent, name = path
    siblings = list(fields_at(parent) or ())
    if near := get_close_matches(name[:100], siblings, n=1):
        return (*parent, near[0])
    report = path[:2] if path[0] == "reports" else ("reports", "NAME")
    return next((leaf for leaf in (*leaves(report), *leaves()) if leaf[-1] == name), None)


def accepted(field: FieldInfo) -> str:
    """Return what a key accepts, in words."""
    if not takes_file(field):
        return _accepted(field)
    table = get_origin(field.annotation) is Mapping
    return f'{_accepted(field)}{"; each text may be" if table else ", or"} {{file = "PATH"}}'


def _accepted(field: FieldInfo) -> str:
    text = next((mark.text for mark in field.metadata if isinstance(mark, Accepts)), None)
    if text is not None:
        return text
    if get_origin(field.annotation) is Literal:
        values = get_args(field.annotation)
        return "one of " + ", ".join(value for value in values if value) + (", or nothing" if "" in values else "")
    low, high = bounds(field)
    bounded = "" if low is None else f" from {low:g} to {high:.10g}"
    return _TYPES.get(field.annotation, "a table") + bounded


def bounds(field: FieldInfo) -> tuple[Any, Any]:
    low = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
    high = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
    return low, high

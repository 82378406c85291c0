"""Repair parameters that break their schema only by the type of a number or the spelling of a name.

The schema is not read: the values that the check points at are changed, and the check is asked again. Values that the
check accepts are never changed.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from reportd.core.jobs.parameters import text_of
from reportd.core.jobs.submission import FieldProblem
from reportd.core.repair.envelopes import Change, change

ROUNDS = 6
"""How often the check is asked. Each round repairs the problems of the last check, at every depth."""

MAX_CHANGES = 20
"""How many changes are listed one by one."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_LONGEST_NUMBER = 40
_SAFE_INTEGER = 2**63


Check = Callable[[Mapping[str, Any]], Sequence[FieldProblem]]


def repair_parameters(parameters: Mapping[str, Any], check: Check, changes: list[Change]) -> Mapping[str, Any] | None:
    """Return parameters that pass the check, or None when no repair helps. The repairs are added to ``changes``."""
    problems = check(parameters)
    if not problems:
        return parameters
    message: dict[str, Any] = {"parameters": orjson.loads(text_of(parameters))}
    made: list[Change] = []
    for _ in range(ROUNDS):
        if not _repair(message, [problem.pointer for problem in problems], made):
            return None
        candidate: dict[str, Any] = message["parameters"]
        problems = check(candidate)
        if not problems:
            changes += made[:MAX_CHANGES]
            if len(made) > MAX_CHANGES:
                changes.append(change("/parameters", "and more of the same", len(made), MAX_CHANGES))
            return candidate
    return None


def _repair(message: dict[str, Any], pointers: Sequence[str], made: list[Change]) -> bool:
    """Repair the values at the pointers; return whether any was changed. The repairs are added to ``made``."""
    places = [place for pointer in pointers if (place := _place(message, pointer)) is not None]
    # A check lists only the first of very many problems, so a problem that rows share is repaired in all rows.
    shared = Counter((place.column, place.kind) for place in places)
    wanted = {((place.column if shared[place.column, place.kind] > 1 else place.path), place.kind) for place in places}
    before = len(made)
    for path, kind in sorted(wanted, key=str):
        for holder, key, where in _values_at(message, path, ""):
            if type(holder[key]) is kind and (value := _repaired(holder[key])) is not None:
                made.append(change(where, "put right", holder[key], value))
                holder[key] = value
    return len(made) > before


_Path = Sequence[str | int | None]


class _Place(NamedTuple):
    """A value's path, the path with None for each array index, and the value's type."""

    path: _Path
    column: _Path
    kind: type


def _place(root: Any, pointer: str) -> _Place | None:
    path: list[str | int | None] = []
    column: list[str | int | None] = []
    value = root
    for raw in pointer.split("/")[1:]:
        step = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and step in value:
            value = value[step]
            path.append(step)
            column.append(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
            path.append(int(step))
            column.append(None)
        else:
            return None
    return _Place(tuple(path), tuple(column), type(value)) if path else None


def _values_at(holder: Any, path: _Path, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield container, key and JSON pointer of each value at a path; None in a path stands for every array index."""
    if not isinstance(holder, dict | list):
        return
    step, *rest = path
    for key in range(len(holder)) if step is None and isinstance(holder, list) else [step]:
        try:
            value = holder[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):  # an earlier change renamed it, or this row differs
            continue
        if rest:
            yield from _values_at(value, rest, f"{where}/{key}")
        else:
            yield holder, key, f"{where}/{key}"


def _repaired(value: Any) -> Any:
    """Return the value that a producer may have meant by a rejected one; None when there is no such value."""
    if isinstance(value, str):
        return _number(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return orjson.dumps(value).decode()
    if isinstance(value, dict):
        return _camel(value)
    return None


def _number(text: str) -> int | float | None:
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdecimal():
        return number if abs(number := int(text)) < _SAFE_INTEGER else None
    return value if math.isfinite(value := float(text)) else None


def _camel(holder: dict[str, Any]) -> dict[str, Any] | None:
    renamed: dict[str, Any] = {}
    for key, value in holder.items():
        name = _SNAKE.sub(lambda match: match[1].upper(), key)
        renamed[key if name in holder or name in renamed else name] = value
    return renamed if list(renamed) != list(holder) else None

"""Parameters that fit their schema but for the type of a number or the spelling of a name, made to fit.

It does not read the schema: it changes what the check points at, and asks again. What the check does not mind is never
touched.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from reportd.core.jobs.parameters import text_of
from reportd.core.repair.envelopes import Change, change

ROUNDS = 6
"""How often the check is asked. Each round puts right what the last one found, at every depth."""

MAX_CHANGES = 20
"""How many changes are told one by one."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_LONGEST_NUMBER = 40
_SAFE_INTEGER = 2**63


class Problem(Protocol):
    """What the check says."""

    @property
    def pointer(self) -> str: ...


Check = Callable[[Mapping[str, Any]], Sequence[Problem]]


def mended(parameters: Mapping[str, Any], check: Check, changes: list[Change]) -> Mapping[str, Any] | None:
    """Parameters that pass the check; None when that can't be had. What was changed is added to ``changes``."""
    problems = check(parameters)
    if not problems:
        return parameters
    message: dict[str, Any] = {"parameters": orjson.loads(text_of(parameters))}
    told: list[Change] = []
    for _ in range(ROUNDS):
        if not _mend(message, [problem.pointer for problem in problems], told):
            return None
        tried: dict[str, Any] = message["parameters"]
        problems = check(tried)
        if not problems:
            changes += told[:MAX_CHANGES]
            if len(told) > MAX_CHANGES:
                changes.append(change("/parameters", "and more of the same", len(told), MAX_CHANGES))
            return tried
    return None


def _mend(message: dict[str, Any], pointers: Sequence[str], told: list[Change]) -> bool:
    """Change what the pointers point at; whether there was anything to change."""
    found = [place for pointer in pointers if (place := _place(message, pointer)) is not None]
    # A check lists only the first of very many problems, so where rows share one, it is put right in all of them.
    shared = Counter((place.column, place.kind) for place in found)
    wanted = {((place.column if shared[place.column, place.kind] > 1 else place.path), place.kind) for place in found}
    before = len(told)
    for path, kind in sorted(wanted, key=str):
        for holder, key, where in _spots(message, path, ""):
            if type(holder[key]) is kind and (value := _other(holder[key])) is not None:
                told.append(change(where, "put right", holder[key], value))
                holder[key] = value
    return len(told) > before


_Path = Sequence[str | int | None]


class _Place(NamedTuple):
    """Where a value is, the same with None for every place in an array, and what type the value has."""

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


def _spots(holder: Any, path: _Path, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Each place that a path leads to: what holds it, under which key, and its pointer."""
    if not isinstance(holder, dict | list):
        return
    step, *rest = path
    for key in range(len(holder)) if step is None and isinstance(holder, list) else [step]:
        try:
            value = holder[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):  # an earlier change has renamed it, or this row is another
            continue
        if rest:
            yield from _spots(value, rest, f"{where}/{key}")
        else:
            yield holder, key, f"{where}/{key}"


def _other(value: Any) -> Any:
    """What a producer may have meant by a value that is not accepted; None when there is nothing else to it."""
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
        name = _SNAKE.sub(lambda found: found[1].upper(), key)
        renamed[key if name in holder or name in renamed else name] = value
    return renamed if list(renamed) != list(holder) else None

"""Problems of a configuration, in words without values that could be secrets.

Raised by ``load``; shown by the command line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. ``where``: the file or environment variable; ``key``: dotted, empty when there is none."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        # A name may hold anything, even a line break or a lone surrogate; a problem is one printable line.
        line = ": ".join(part for part in (self.where, self.key, self.message) if part)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class ConfigError(Exception):
    """The configuration can't be used. ``problems`` lists all problems, without values of secret keys."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def dotted(path: Sequence[str]) -> str:
    """Return a key's path as TOML writes it."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)


def describe(detail: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, from pydantic's error. Only numbers are quoted."""
    kind, value = detail["type"], detail["input"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "greater_than_equal":
            return f"{_short(value)} is too small"
        if kind == "less_than_equal":
            return f"{_short(value)} is too large"
        # An infinite number, or an integer too large for a float.
        if kind in ("finite_number", "float_type"):
            return f"{_short(value)} is not a valid number"
    if kind in ("literal_error", "enum") and isinstance(value, str):
        return "is not one of the values"
    types = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return f"has the wrong type ({types.get(type(value), 'a date or time')})"


def _short(value: float) -> str:
    return str(value) if isinstance(value, float) or abs(value) < 10**15 else "a huge number"

"""What is wrong with a configuration, in words that hold no value that could be a secret.

Raised by ``load``; shown by the command line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. ``where`` is the file or the environment variable; ``key`` is dotted, empty when there is none."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        # A name may hold anything, even a line break or half a character; a problem is one printable line.
        line = ": ".join(part for part in (self.where, self.key, self.message) if part)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class ConfigError(Exception):
    """The configuration can't be used; ``problems`` are all there are. Holds no value of a secret key."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def dotted(path: Sequence[str]) -> str:
    """A key's path as TOML writes it."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)


def wrong(detail: Mapping[str, Any]) -> str:
    """What is wrong with a value, from pydantic's error. The value itself is told only of keys that are numbers."""
    kind, value = detail["type"], detail["input"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "greater_than_equal":
            return f"{_short(value)} is too small"
        if kind == "less_than_equal":
            return f"{_short(value)} is too large"
        # An infinite number, or a whole one too large for a float.
        if kind in ("finite_number", "float_type"):
            return f"{_short(value)} is no such number"
    if kind == "literal_error" and isinstance(value, str):
        return "is none of the values"
    types = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return f"has the wrong type ({types.get(type(value), 'a date or time')})"


def _short(value: float) -> str:
    return str(value) if isinstance(value, float) or abs(value) < 10**15 else "a huge number"

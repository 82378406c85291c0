"""What every section of the configuration has in common: it is frozen, closed, and keeps its secrets to itself.

Called by the models of this package.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

MASK = "***"


class Accepts(NamedTuple):
    """Annotates a key with the words that say what it accepts, where its type and bounds don't say enough."""

    text: str


class Secret:
    """Annotates a key of which nothing may ever be shown; the class itself is the mark."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Keys (dotted) that are fine each on its own but not together."""

    keys: tuple[str, ...]
    message: str


class Section(BaseModel):
    """A table of the configuration file."""

    # The text of pydantic's own errors would hold the faulty value, which may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def conflicts(self) -> Iterator[Conflict]:
        """What is wrong between keys of this section. Asked only of sections whose keys are fine."""
        yield from ()

    def redacted(self) -> dict[str, Any]:
        """Plain tables, lists and scalars, as they could stand in the file, without the secrets."""
        return {name: _shown(getattr(self, name), field) for name, field in type(self).model_fields.items()}

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield from self.redacted().items()


def is_secret(field: FieldInfo) -> bool:
    """Whether nothing of this key may be shown."""
    return Secret in field.metadata


def mask_url(text: str) -> str:
    """The text without the password of its user part, and without values of its query that look like secrets."""
    head, mark, tail = re.fullmatch(r"([^?#]*)([?#]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    # Up to the last "@": a password in which one was left unencoded must not show its second half.
    head = re.sub(r"(?s)^([^/]*//[^:/@]*):.*@", rf"\1:{MASK}@", head)
    # ";" begins a name as "&" does, but ends no value: part of a secret must not pass for the next name.
    tail = re.sub(r"(?i)((?:^|[&;#])[^=&;#]*(?:pass|secret|token|key|sig|auth)[^=&;#]*=)[^&#]*", rf"\1{MASK}", tail)
    return head + mark + tail


def _shown(value: Any, field: FieldInfo) -> Any:
    if is_secret(field):
        if isinstance(value, Mapping):
            return dict.fromkeys(value, MASK)
        return MASK if value else value
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.redacted()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return mask_url(value) if "//" in value else value
    return value if isinstance(value, bool | int | float) else str(value)

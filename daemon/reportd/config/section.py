"""The base class of every section: frozen, without unknown keys, and with its secrets masked.

Used by the models of this package.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

MASK = "***"


class Accepts(NamedTuple):
    """Annotates a key with what it accepts, in words, where its type and bounds don't say enough."""

    text: str


class Secret:
    """Annotates a key whose value must never be shown; the class itself is the mark. A file may hold the value."""


class SecretPath:
    """Annotates a ``Secret`` key that is a URL: its host is shown, so that one can tell where it leads."""


class FromFile:
    """Annotates a key whose text, such as a URL with a password, a file may hold; the class itself is the mark."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Dotted keys whose values are valid alone but not together."""

    keys: tuple[str, ...]
    message: str


class Section(BaseModel):
    """A table of the configuration file."""

    # By default pydantic's error texts contain the value, which may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the conflicts between keys of this section. Called only when each key is valid."""
        yield from ()

    def redacted(self) -> dict[str, Any]:
        """Return the section as tables, lists and scalars of the file, with its secrets masked."""
        return {name: _shown(getattr(self, name), field) for name, field in type(self).model_fields.items()}

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield from self.redacted().items()


def is_secret(field: FieldInfo) -> bool:
    """Return whether this key's value must not be shown."""
    return Secret in field.metadata


def takes_file(field: FieldInfo) -> bool:
    """Return whether the text of this key, or each text of its table, may be ``{file = "PATH"}`` instead."""
    return not {Secret, FromFile}.isdisjoint(mark for mark in field.metadata if isinstance(mark, type))


def mask_path(text: str) -> str:
    """Mask a URL except its scheme, host and port: in hooks of chat services the path is the secret."""
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{MASK}"


def mask_url(text: str) -> str:
    """Mask the password in a URL, and values in its query or fragment whose name looks like a secret's."""
    head, mark, tail = re.fullmatch(r"([^?#]*)([?#]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    # Up to the last "@", because a password may contain an unencoded one.
    head = re.sub(r"(?s)^([^/]*//[^:/@]*):.*@", rf"\1:{MASK}@", head)
    # ";" begins a name like "&", but does not end a value: otherwise a part of a secret could look like a name.
    tail = re.sub(r"(?i)((?:^|[&;#])[^=&;#]*(?:pass|secret|token|key|sig|auth)[^=&;#]*=)[^&#]*", rf"\1{MASK}", tail)
    return head + mark + tail


def _shown(value: Any, field: FieldInfo) -> Any:
    if is_secret(field):
        if isinstance(value, Mapping):
            return dict.fromkeys(value, MASK)
        return value and (mask_path(value) if SecretPath in field.metadata else MASK)
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

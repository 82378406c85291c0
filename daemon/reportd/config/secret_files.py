"""Reads texts that the configuration leaves to files: ``{file = "PATH"}`` in the place of a secret.

Called by ``load``. No error holds any of a file's content.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from reportd.config.file import exists
from reportd.config.keys import Path as Place
from reportd.config.models import Config
from reportd.config.problems import dotted
from reportd.config.section import Section, takes_file
from reportd.system.permissions import is_exposed
from reportd.system.regular_files import read_regular

MAX_BYTES = 64 * 1024
"""Far more than a URL, a header or a private key has."""

ACCEPTED = "a file of at most 64 KiB of text in UTF-8, relative to $CREDENTIALS_DIRECTORY or the configuration's folder"


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A value that a file gave. ``place``: the value's path in the tree; ``exposed``: others can read or change it."""

    place: Place
    file: Path
    exposed: bool = False

    @property
    def key(self) -> str:
        return dotted(self.place)


@dataclass(frozen=True, slots=True)
class Reference:
    """A ``{file = "PATH"}`` in the tree: ``table[name]``, at the path ``place``."""

    place: Place
    table: dict[str, Any]
    name: str

    @property
    def given(self) -> str:
        given: str = self.table[self.name]["file"]
        return given


def references(tree: Mapping[str, Any], section: type[Section] = Config, place: Place = ()) -> Iterator[Reference]:
    """Yield the references in the keys that take a file. What else is wrong with the tree does not matter here."""
    for name, field in section.model_fields.items():
        value, here = tree.get(name), (*place, name)
        if takes_file(field):
            if get_origin(field.annotation) is Mapping:
                # {file = "abc"} is a table with an entry of that name here: a cookie may be called so.
                entries = value if isinstance(value, dict) else {}
                yield from (
                    Reference((*here, entry), entries, entry) for entry in entries if _is_reference(entries[entry])
                )
            elif _is_reference(value):
                yield Reference(here, tree, name)  # type: ignore[arg-type]  # a table that TOML or JSON made
            continue
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from _inside(value, inner, here, one=inner is field.annotation)


def find(given: str, credentials: str, folder: Path | None) -> Path:
    """Return where the file is. ``credentials``: systemd's folder, or empty; ``folder``: the configuration's.

    Raises ValueError.
    """
    if not given:
        raise ValueError(f"names no file; accepted: {ACCEPTED}")
    if credentials and exists(Path(credentials) / given):
        return Path(credentials) / given
    if folder is None and not Path(given).is_absolute():
        raise ValueError(f"{given} is relative, and there is no configuration file; accepted: an absolute path")
    return (folder or Path()) / given


def read(file: Path) -> tuple[str, bool]:
    """Return the file's text without the line breaks at its end, and whether others can read or change it.

    Raises ValueError.
    """
    try:
        data, status = read_regular(file, MAX_BYTES)
        text = data.decode().rstrip("\r\n")
    except OSError as error:
        problem = f"can't be read ({error.strerror})"
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    else:
        problem = "" if text else "is empty"
        if "\0" in text:
            problem = "holds the character NUL"
    if problem:
        raise ValueError(f"{file} {problem}; accepted: {ACCEPTED}")
    return text, is_exposed(status)


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["file"] and isinstance(value["file"], str)


def _inside(value: Any, section: type[Section], place: Place, *, one: bool) -> Iterator[Reference]:
    """Yield the references in a section, or in each of a table or list of sections."""
    tables = {"": value} if one else value if isinstance(value, dict) else dict(enumerate(_list(value)))
    for name, table in tables.items():
        if isinstance(table, dict):
            yield from references(table, section, place if one else (*place, str(name)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

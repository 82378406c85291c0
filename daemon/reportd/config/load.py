"""Reads the configuration: finds the file, puts the environment over it, checks, and says all that is wrong at once.

Called by the command line, through ``load``.
"""

import os.path
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reportd.config import environment, keys
from reportd.config.models import Config
from reportd.config.report_types import BUILT_IN
from reportd.config.section import is_secret
from reportd.core.job import REPORT_TYPE

DEFAULT_PATH = Path("/etc/reportd/reportd.toml")


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


def load(config_path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration from the file and the environment, which wins. Raises ConfigError.

    The file is the one given, else ``$REPORTD_CONFIG``, else ``DEFAULT_PATH`` if it exists, else none.
    """
    path, tree, problems = _read_file(config_path, environ)
    loader = _Loader("" if path is None else str(path), tree)
    loader.problems += problems
    for variable in environment.read(environ):
        loader.take(variable)
    return loader.finish(environ)


def find_file(config_path: Path | None, environ: Mapping[str, str], default: Path = DEFAULT_PATH) -> Path | None:
    """The file to read, or None when there is none to read."""
    if config_path is not None:
        return config_path
    if named := environ.get("REPORTD_CONFIG"):
        return Path(named)
    return default if os.path.lexists(default) else None


def _read_file(
    config_path: Path | None, environ: Mapping[str, str]
) -> tuple[Path | None, dict[str, Any], list[Problem]]:
    path = find_file(config_path, environ)
    if path is None:
        return None, {}, []
    try:
        return path, tomllib.loads(path.read_bytes().decode()), []
    except OSError as error:
        message = f"can't be read ({error.strerror}); accepted: a TOML file, or none: --config, $REPORTD_CONFIG"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"line {line}: is not UTF-8"
    except RecursionError:
        message = "is nested too deeply"
    except ValueError as error:  # TOMLDecodeError, a number too long for int(), NUL in the path
        message = _syntax(str(error))
    return path, {}, [Problem(str(path), "", message)]


def _syntax(said: str) -> str:
    if place := re.search(r" ?\(at (line \d+, column \d+|end of document)\)$", said):
        # What tomllib says names keys and single characters, never a value.
        return f"{place[1]}: is not TOML: {said[: place.start()]}"
    return "is not TOML: it holds something that can't be read"


class _Loader:
    """The tree of keys on its way to a Config. Faulty keys are taken out of it, so that the rest is still judged."""

    def __init__(self, file: str, tree: dict[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._tree = tree
        self._in_file = frozenset(_paths(tree))
        self._variables: dict[keys.Path, str] = {}
        self._faulty: set[keys.Path] = set()

    def take(self, variable: environment.Variable) -> None:
        """Put a variable's value in its place, over what the file says."""
        if variable.problem:
            self.problems.append(Problem(variable.name, ".".join(variable.path), variable.problem))
            self._cut(variable.path)
            return
        node = self._tree
        for name in variable.path[:-1]:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):  # no table, which is reported when it is validated
                return
        node[variable.path[-1]] = variable.value
        self._variables[variable.path] = variable.name

    def finish(self, environ: Mapping[str, str]) -> Config:
        """Check everything; the Config, or ConfigError."""
        self._check_names()
        self._add_built_in()
        config = self._validate()
        for conflict in config.conflicts():
            paths = [tuple(key.split(".")) for key in conflict.keys]
            if not any(path[: len(bad)] == bad for path in paths for bad in self._faulty):
                self.problems.append(Problem(self._where(*paths), conflict.keys[0], conflict.message))
        data_dir = self._data_dir(config.data_dir, environ)
        if self.problems:
            raise ConfigError(self.problems)
        return config.model_copy(update={"data_dir": data_dir})

    def _check_names(self) -> None:
        for path, value in list(_leaves(self._tree)):
            if "\0" in value or any("\0" in name for name in path):
                self._fault(path, "holds the character NUL; accepted: a text without it")
        reports = self._tree.get("reports")
        for name in reports if isinstance(reports, dict) else ():
            if not REPORT_TYPE.fullmatch(name):
                text = "is no name for a report type; accepted: a lower-case letter, then up to 63 of a-z, 0-9 and _"
                self.problems.append(Problem(self._where(("reports", name)), _dotted(("reports", name)), text))

    def _add_built_in(self) -> None:
        reports = self._tree.setdefault("reports", {})
        if not isinstance(reports, dict):
            return
        for name, defaults in BUILT_IN.items():
            given = reports.get(name, {})
            reports[name] = {**defaults, **given} if isinstance(given, dict) else given

    def _validate(self) -> Config:
        while True:
            try:
                return Config.model_validate(self._tree)
            except ValidationError as error:
                found = error.errors(include_url=False)
            for detail in found:
                # The key of a table or the place in a list is of no use to find the fault's own key.
                path = tuple(str(part) for part in detail["loc"])
                self._fault(path, self._message(path, detail))

    def _fault(self, path: keys.Path, message: str) -> None:
        """Report what is at that path and take it out of the tree."""
        path = _key_of(path)
        if self._cut(path):
            self.problems.append(Problem(self._where(path), _dotted(path), message))

    def _cut(self, path: keys.Path) -> bool:
        """Whether it was there; a fault of two list entries is one fault."""
        self._faulty.add(path)
        node: Any = self._tree
        for name in path[:-1]:
            node = node.get(name) if isinstance(node, dict) else None
        if not path or not isinstance(node, dict) or path[-1] not in node:
            return False
        del node[path[-1]]
        return True

    def _message(self, path: keys.Path, detail: Mapping[str, Any]) -> str:
        if detail["type"] == "extra_forbidden":
            return self._unknown(path)
        path = _key_of(path)
        field = keys.field_at(path)
        if field is None:
            return "is no table; accepted: a table of keys"
        return f"{_wrong(detail, secret=is_secret(field))}; accepted: {keys.accepted(field)}"

    def _unknown(self, path: keys.Path) -> str:
        if near := keys.meant(path):
            self._faulty.add(near)  # whatever is said to be missing may be what this one was meant to be
            return f"is unknown; did you mean {_dotted(near)}?"
        known = keys.fields_at(path[:-1]) or {}
        return f"is unknown; accepted: {', '.join(known)}"

    def _where(self, *paths: keys.Path) -> str:
        for path in paths:
            for length in range(len(path), 0, -1):
                if name := self._variables.get(path[:length]):
                    return name
            if path in self._in_file:
                return self._file
        parents = {path[:-1] for path in paths}
        beside = (name for path, name in self._variables.items() if path[:-1] in parents)
        return (self._file if parents & self._in_file else "") or next(beside, self._file or "defaults")

    def _data_dir(self, given: Path, environ: Mapping[str, str]) -> Path:
        home = environ.get("HOME", "")
        text = str(given) if given != Path() else _default_data_dir(environ)
        if text == "~" or text.startswith("~/"):
            text = os.path.expanduser("~") + text[1:] if not home else home + text[1:]  # noqa: PTH111
        try:
            if text.startswith("~"):
                raise OSError("no home")  # noqa: TRY301 - the same fault as having no current folder
            return Path(text).absolute()
        except OSError:
            message = "can't be resolved: there is no home or current folder; accepted: an absolute path"
            self.problems.append(Problem(self._where(("data_dir",)), "data_dir", message))
            return given


def _default_data_dir(environ: Mapping[str, str]) -> str:
    if states := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return states
    shared = environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification has relative paths ignored.
    return f"{shared}/reportd" if shared.startswith("/") else "~/.local/share/reportd"


def _wrong(detail: Mapping[str, Any], *, secret: bool) -> str:
    """What is wrong with the value, which itself is told only where it is a number."""
    kind, value = detail["type"], detail["input"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if isinstance(value, int | float) and not isinstance(value, bool) and not secret:
        if kind == "greater_than_equal":
            return f"{_short(value)} is too small"
        if kind == "less_than_equal":
            return f"{_short(value)} is too large"
        return "has the wrong type (a number)" if kind != "finite_number" else f"{value} is no such number"
    if kind == "literal_error" and isinstance(value, str):
        return "is none of the values"
    types = {bool: "a boolean", str: "a text", list: "a list", dict: "a table"}
    return f"has the wrong type ({types.get(type(value), 'a number' if secret else 'a date or time')})"


def _short(value: float) -> str:
    return str(value) if abs(value) < 10**15 else f"{'-' if value < 0 else ''}a huge number"


def _key_of(path: keys.Path) -> keys.Path:
    """The path cut to the key it belongs to: entries of lists and tables are reported as their key."""
    for length in range(1, len(path)):
        field = keys.field_at(path[:length])
        if field is not None and path[:length] != ("reports",) and not keys.is_section(field):
            return path[:length]
    return path


def _dotted(path: keys.Path) -> str:
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)


def _paths(tree: Any, path: keys.Path = ()) -> Iterator[keys.Path]:
    """Every path of a tree, those of its tables included."""
    for name, value in tree.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from _paths(value, (*path, name))


def _leaves(value: Any, path: keys.Path = ()) -> Iterator[tuple[keys.Path, str]]:
    """Every text of a tree with its path; names of empty tables count as texts."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, str(number)))
    else:
        yield path, value if isinstance(value, str) else ""

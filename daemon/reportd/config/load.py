"""Merges the environment over the file, checks the result, and reports all problems at once.

Called by the command line, through ``load``.
"""

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reportd.config import environment, keys, secret_files
from reportd.config.file import exists, find_file, read_file
from reportd.config.models import Config
from reportd.config.problems import ConfigError, Problem, describe, dotted
from reportd.config.report_types import BUILT_IN, NEWER
from reportd.config.secret_files import SecretFile
from reportd.core.jobs.job import REPORT_TYPE
from reportd.system.permissions import EXPOSED

_MAX_DEPTH = 5
"""Path length of an entry in a list or table of a report type; no key has deeper values."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and its sources. ``where``: returns the variable or file that sets a dotted key."""

    config: Config
    where: Callable[[str], str]
    folders: tuple[Path, ...] = ()
    """Folders that are searched for files of report types, before those that ship with the daemon."""

    secret_files: tuple[SecretFile, ...] = ()

    def redacted(self) -> dict[str, Any]:
        """Return the configuration with its secrets masked, and files named instead of what they hold."""
        tree = self.config.redacted()
        for source in self.secret_files:
            node: Any = tree
            *parents, name = source.place
            for parent in parents:
                node = node[int(parent) if isinstance(node, list) else parent]
            node[name] = {"file": str(source.file)}
        return tree

    def notices(self) -> tuple[Problem, ...]:
        """Return what an operator should change, although the configuration can be used."""
        return tuple(
            Problem(self.where(source.key), source.key, f"{source.file}: {EXPOSED}")
            for source in self.secret_files
            if source.exposed
        )


def load(config_path: Path | None, environ: Mapping[str, str]) -> Config:
    """Return ``load_from`` without the sources."""
    return load_from(config_path, environ).config


def load_from(config_path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the file that ``find_file`` returns and the environment, which takes precedence.

    Raises ConfigError.
    """
    path = find_file(config_path, environ)
    tree, problems = ({}, []) if path is None else read_file(path)
    loader = _Loader("" if path is None else str(path), tree, problems)
    for variable in environment.read(environ):
        loader.take(variable)
    # Not Path.resolve, which raises for a loop of links; reading the file reports it.
    folder = None if path is None else Path(os.path.realpath(path)).parent
    config = loader.finish(environ, folder)
    return Loaded(config, loader.where, () if folder is None else (folder,), tuple(loader.secret_files))


class _Loader:
    """Builds a Config from a tree of keys. Faulty keys are removed, so that the others are still checked."""

    def __init__(self, file: str, tree: dict[str, Any], problems: list[Problem]) -> None:
        self.secret_files: list[SecretFile] = []
        self._file = file
        self._tree = tree
        self._problems = problems
        self._in_file = {path for path, _ in _walk(tree)}
        self._variables: dict[keys.Path, str] = {}
        self._faulty: set[keys.Path] = set()
        if problems:
            self._faulty.add(())  # any missing key may be in the file that can't be read

    def take(self, variable: environment.Variable) -> None:
        """Set a variable's value in the tree, over the file's."""
        if variable.path:
            self._variables[variable.path] = variable.name
        if variable.problem:
            self._problems.append(Problem(variable.name, dotted(variable.path), variable.problem))
            if variable.path:
                self._cut(variable.path)
            if variable.meant:
                self._faulty.add(variable.meant)
            return
        node = self._tree
        for name in variable.path[:-1]:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):  # not a table; validation reports it
                return
        node[variable.path[-1]] = variable.value

    def finish(self, environ: Mapping[str, str], folder: Path | None) -> Config:
        """Check everything and return the Config. ``folder``: that of the configuration file. Raises ConfigError."""
        self._check_texts()
        self._read_secret_files(environ.get("CREDENTIALS_DIRECTORY", ""), folder)
        self._add_built_in()
        self._add_credential(environ)
        config = self._validate()
        self._check_conflicts(config)
        data_dir = _data_dir(self._tree.get("data_dir", ""), environ)
        if data_dir is None:
            text = "can't be resolved: there is no home or current folder; accepted: an absolute path"
            self._problems.append(Problem(self._where(("data_dir",)), "data_dir", text))
        if self._problems:
            raise ConfigError(self._problems)
        return config.model_copy(update={"data_dir": data_dir})

    def where(self, key: str) -> str:
        """Return what sets the dotted key, or another key of its section."""
        return self._where(tuple(key.split(".")))

    def _check_texts(self) -> None:
        for path, value in list(_walk(self._tree)):
            if "\0" in path[-1] or (isinstance(value, str) and "\0" in value):
                self._fault(_key_of(path), "holds the character NUL; accepted: a text without it")
        reports = self._tree.get("reports")
        for name in reports if isinstance(reports, dict) else ():
            if not REPORT_TYPE.fullmatch(name):
                path = ("reports", name)
                text = "is not a valid name; accepted: a lower-case letter, then up to 63 of a-z, 0-9 and _"
                self._problems.append(Problem(self._where(path), dotted(path), text))

    def _read_secret_files(self, credentials: str, folder: Path | None) -> None:
        """Put the contents of files in the places of ``{file = "PATH"}``. Raises nothing."""
        for reference in list(secret_files.references(self._tree)):
            try:
                file = secret_files.find(reference.given, credentials, folder)
                text, exposed = secret_files.read(file)
            except ValueError as error:
                self._fault(_key_of(reference.place), str(error))
            else:
                reference.table[reference.name] = text
                self.secret_files.append(SecretFile(reference.place, file, exposed))

    def _add_built_in(self) -> None:
        reports = self._tree.setdefault("reports", {})
        if not isinstance(reports, dict):
            return
        aliases = {alias for report in reports.values() for alias in _aliases(report)}
        for name, defaults in BUILT_IN.items():
            if name in NEWER and name not in reports and name in aliases:
                continue
            given = reports.setdefault(name, {})
            # A type that renders a URL has neither the built-in template nor its schema.
            if not isinstance(given, dict) or given.get("url"):
                continue
            if name not in NEWER or not given.get("template"):
                reports[name] = defaults | given

    def _add_credential(self, environ: Mapping[str, str]) -> None:
        """Use systemd's credential (``LoadCredential=tokens:…``) when no token file is configured."""
        folder, auth = environ.get("CREDENTIALS_DIRECTORY"), self._tree.setdefault("auth", {})
        if folder and isinstance(auth, dict) and auth.get("tokens_file", "") == "":
            file = Path(folder) / "tokens"
            if exists(file):
                auth["tokens_file"] = str(file)
                self._variables["auth", "tokens_file"] = "CREDENTIALS_DIRECTORY"

    def _validate(self) -> Config:
        while True:
            try:
                return Config.model_validate(self._tree)
            except ValidationError as error:
                details = error.errors(include_url=False)
            for detail in details:
                path = tuple(map(str, detail["loc"]))
                key = _key_of(path)
                self._fault(key, self._unknown(key) if detail["type"] == "extra_forbidden" else _message(key, detail))

    def _check_conflicts(self, config: Config) -> None:
        for conflict in config.conflicts():
            paths = [tuple(key.split(".")) for key in conflict.keys]
            if not any(path[: len(bad)] == bad for path in paths for bad in self._faulty):
                self._problems.append(Problem(self._where(*paths), conflict.keys[0], conflict.message))

    def _fault(self, path: keys.Path, message: str) -> None:
        """Report the key at a path and remove it; several faulty entries of a key are one problem."""
        if self._cut(path):
            files = [str(source.file) for source in self.secret_files if source.place[: len(path)] == path]
            message += f"; it is read from {', '.join(files)}" if files else ""
            self._problems.append(Problem(self._where(path), dotted(path), message))

    def _cut(self, path: keys.Path) -> bool:
        """Remove the key at a path; return whether it existed."""
        self._faulty.add(path)
        node: Any = self._tree
        for name in path[:-1]:
            node = node.get(name) if isinstance(node, dict) else None
        if not isinstance(node, dict) or path[-1] not in node:
            return False
        del node[path[-1]]
        return True

    def _unknown(self, path: keys.Path) -> str:
        if near := keys.meant(path):
            self._faulty.add(near)  # it must not be reported as missing, too
            return f"is unknown; did you mean {dotted(near)}?"
        known = keys.fields_at(path[:-1]) or {}
        return f"is unknown; accepted: {', '.join(known)}"

    def _where(self, *paths: keys.Path) -> str:
        """Return the variable or file that sets one of the keys, else one that sets another key of their section."""
        for path in paths:
            for length in range(len(path), 0, -1):
                if name := self._variables.get(path[:length]):
                    return name
            if path in self._in_file:
                return self._file
        parents = {path[:-1] for path in paths}
        siblings = (name for path, name in self._variables.items() if path[:-1] in parents)
        return (self._file if parents & self._in_file else "") or next(siblings, self._file or "defaults")


def _message(key: keys.Path, detail: Mapping[str, Any]) -> str:
    field = keys.field_at(key)  # None for [reports.NAME], whose name is no key
    entry = next((part for part in detail["loc"] if isinstance(part, int)), None)
    place = "" if entry is None else f"entry {entry + 1} "
    return f"{place}{describe(detail)}; accepted: {'a table' if field is None else keys.accepted(field)}"


def _key_of(path: keys.Path) -> keys.Path:
    """Cut a path to its key: entries of lists and tables are reported as their key."""
    for length in range(1, len(path)):
        field = keys.field_at(path[:length])
        if field is not None and path[:length] != ("reports",) and not keys.is_section(field):
            return path[:length]
    return path


def _walk(value: Any, path: keys.Path = ()) -> Iterator[tuple[keys.Path, Any]]:
    """Yield every value in a tree with its path: tables, lists, their entries, and scalars."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in entries:
        here = (*path, str(name))
        yield here, item
        if len(here) < _MAX_DEPTH:
            yield from _walk(item, here)


def _data_dir(given: str, environ: Mapping[str, str]) -> Path | None:
    """Return the absolute path, with ``~`` as the home; None when there is no home or current folder."""
    text = given or _default_data_dir(environ)
    try:
        if text.startswith("~"):
            if text[1:2] not in ("", "/"):  # another user's home
                return None
            text = (environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir) + text[1:]
        return Path(text).absolute()
    except (KeyError, OSError):
        return None


def _default_data_dir(environ: Mapping[str, str]) -> str:
    if states := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return states
    shared = environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    return f"{shared}/reportd" if shared.startswith("/") else "~/.local/share/reportd"


def _aliases(report: Any) -> list[str]:
    aliases = report.get("aliases") if isinstance(report, dict) else None
    return [alias for alias in aliases if isinstance(alias, str)] if isinstance(aliases, list) else []

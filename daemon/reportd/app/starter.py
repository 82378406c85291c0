"""Writes the files of a new report type, and its section of the configuration. It overwrites nothing."""

import errno
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import reportd_web
from reportd.config import load_from
from reportd.config.report_types import BUILT_IN
from reportd.core.jobs.job import REPORT_TYPE

STARTER = Path(reportd_web.__file__).parent / "starter"
REPORTS = Path(reportd_web.__file__).parent / "reports"

NAME = "TYPE"
"""Stands for the name of the report type in the files of the starter."""

LOGO = Path("assets", "logo.svg")
"""All types of a folder share it, so one that is there already is kept."""

_SECTION = '[reports.{0}]\ntemplate = "{0}.html"\nparameters_schema = "{0}.schema.json"\n'


class InTheWayError(Exception):
    """The report type can't be written; the text says why, and what is accepted."""


@dataclass(frozen=True, slots=True)
class Starter:
    """What is to be written: new files, and a section at the end of the configuration.

    ``kept``: what is there already, and is used.
    """

    files: Mapping[Path, str]
    config: Path
    section: str
    kept: tuple[Path, ...]


def plan(name: str, config: Path, environ: Mapping[str, str]) -> Starter:
    """Return what to write for a report type. ``config``: the configuration's file, which need not exist.

    Raises InTheWayError, or ConfigError when the configuration has faults already.
    """
    if not REPORT_TYPE.fullmatch(name):
        accepted = "accepted: a lower-case letter, then up to 63 of a-z, 0-9 and _"
        raise InTheWayError(f"{name} is not a valid name of a report type; {accepted}")
    before = ""
    taken = set(BUILT_IN)
    if config.exists():
        reports = load_from(config, environ).config.reports
        taken = {*reports, *(alias for report in reports.values() for alias in report.aliases)}
        before = config.read_text()
    if name in taken:
        raise InTheWayError(f"there is a report type {name} already; accepted: another name")
    if (REPORTS / f"{name}.html").exists():
        raise InTheWayError(
            f"{name}.html is a part of the built-in report types, and would hide it; accepted: another name"
        )
    folder = config.parent
    files = {
        folder / f"{name}{part.name.removeprefix('report')}": part.read_text().replace(NAME, name)
        for part in sorted(STARTER.glob("report.*"))
    }
    if there := [str(file) for file in files if _exists(file)]:
        raise InTheWayError(f"already there, and left as it is: {', '.join(there)}; accepted: another name")
    kept = (folder / LOGO,) if _exists(folder / LOGO) else ()
    if not kept:
        files[folder / LOGO] = (STARTER / LOGO.name).read_text()
    return Starter(files, config, _section(before, name, config), kept)


def write(starter: Starter) -> None:
    """Write it all, the section last: a daemon that reloads in between knows no half of a type.

    Raises OSError; what was written until then is removed, so that it can be tried again.
    """
    written: list[Path] = []
    try:
        for file, text in starter.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x") as new:
                written.append(file)
                new.write(text)
        if not starter.config.exists():
            written.append(starter.config)
        _append(starter.config, starter.section.encode())
    except OSError:
        for file in written:
            with suppress(OSError):
                file.unlink()
        raise


def _append(file: Path, text: bytes) -> None:
    """Add a text to a file: all of it, or nothing. Raises OSError."""
    with file.open("ab", buffering=0) as raw:
        size, written = raw.tell(), 0
        try:
            written = raw.write(text)
        finally:
            if written != len(text):
                raw.truncate(size)
    if written != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def _exists(file: Path) -> bool:
    return file.exists() or file.is_symlink()


def _section(before: str, name: str, config: Path) -> str:
    """Return what is added to the file. Raises InTheWayError if a section can't be."""
    addition = "\n" * bool(before and not before.endswith("\n")) + "\n" * bool(before.strip())
    addition += _SECTION.format(name)
    try:
        tomllib.loads(before + addition)
    except tomllib.TOMLDecodeError as error:
        text = _SECTION.format(name).replace("\n", "; ").strip("; ")
        raise InTheWayError(f"{config} takes no further section ({error}); add this by hand: {text}") from error
    return addition

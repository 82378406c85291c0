"""Says what keeps a report from being printed, with the lines of the file that it is about."""

import re
from collections.abc import Sequence
from pathlib import Path

from reportd.config import ConfigError, Problem
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.submission import FieldProblem, escaped
from reportd.core.preview.excerpts import Excerpt, excerpt
from reportd.core.preview.places import line_of_key, line_of_pointer, place_in, pointer_in
from reportd.preview.view import Finding
from reportd.system.regular_files import read_regular

PARAMETERS = "/parameters"

_EXTRA = re.compile(r"\('([^']+)'(?:, '[^']+')* (?:was|were) unexpected\)")
"""The validator says this of the object around a name that the schema does not have; the name's own line helps more."""

_TITLES = {
    FaultKind.TEMPLATE_ERROR: "The template can't be rendered",
    FaultKind.INVALID_PARAMETERS: "The parameters don't fit the schema",
    FaultKind.TIMEOUT: "The report took too long",
}


def of_config(error: ConfigError, folders: Sequence[Path]) -> tuple[Finding, ...]:
    """Return one for each problem of the configuration, and of the files that it names."""
    return tuple(_of_problem(problem, folders) for problem in error.problems)


def _of_problem(problem: Problem, folders: Sequence[Path]) -> Finding:
    text = ": ".join(part for part in (problem.key, problem.message) if part)
    if problem.key.endswith((".template", ".parameters_schema")) and (found := _in_file(problem.message, folders)):
        schema = problem.key.endswith(".parameters_schema")
        return Finding("The schema can't be used" if schema else "The template can't be used", problem.message, found)
    config = Path(problem.where)
    if not config.is_file():  # an environment variable
        return Finding("The configuration has a fault", f"{problem.where}: {text}")
    place = None if problem.key else place_in(problem.message)
    line = place.line if place else line_of_key(_text(config), problem.key)
    return Finding("The configuration has a fault", text, _excerpt(config, line))


def of_fault(error: FaultError, folders: Sequence[Path]) -> Finding:
    """Return what a job's record says of a failed attempt, with the line of the template where it has one."""
    fault = error.fault
    title = _TITLES.get(fault.kind, f"The report failed: {fault.kind.replace('_', ' ')}")
    return Finding(title, fault.detail, _in_file(fault.detail, folders), error.evidence)


def of_fields(problems: Sequence[FieldProblem], parameters: Path) -> tuple[Finding, ...]:
    """Return one for each field of a submission that is not accepted."""
    return tuple(_of_field(problem, parameters) for problem in problems)


def _of_field(problem: FieldProblem, parameters: Path) -> Finding:
    text = f"{problem.pointer}: {problem.detail}"
    inside = problem.pointer == PARAMETERS or problem.pointer.startswith(f"{PARAMETERS}/")
    if not inside:
        return Finding("The report can't be asked for so", text)
    pointer = problem.pointer.removeprefix(PARAMETERS)
    if extra := _EXTRA.search(problem.detail):
        pointer += f"/{escaped(extra[1])}"
    line = line_of_pointer(_text(parameters), pointer)
    return Finding(_TITLES[FaultKind.INVALID_PARAMETERS], text, _excerpt(parameters, line))


def of_parameters(message: str, parameters: Path) -> Finding:
    """Return what is wrong with the file as a whole."""
    place = place_in(message)
    found = _excerpt(parameters, place.line) if place else None
    return Finding("The parameters can't be read", f"{parameters.name} {message}", found)


def _in_file(message: str, folders: Sequence[Path]) -> Excerpt | None:
    """Return the lines that a message speaks of: of a file that it names, in the first folder that has it.

    A message may be the words of a page, so no file outside of the folders is shown.
    """
    place = place_in(message)
    if place is not None and place.file:
        found = next((folder / place.file for folder in folders if _is_within(folder / place.file, folder)), None)
        return None if found is None else excerpt(place.file, _text(found), place.line)
    # The message of a schema begins with its path.
    path = Path(message.partition(" ")[0])
    if not any(_is_within(path, folder) for folder in folders):
        return None
    return _excerpt(path, place.line if place else line_of_pointer(_text(path), pointer_in(message)))


def _is_within(path: Path, folder: Path) -> bool:
    try:
        return path.is_relative_to(folder) and ".." not in path.parts and path.is_file()
    except OSError:  # the name is too long
        return False


def _excerpt(file: Path, line: int) -> Excerpt:
    return excerpt(file.name, _text(file), line)


def _text(file: Path) -> str:
    """Return the file's text, or nothing: it may be gone by now."""
    try:
        return read_regular(file)[0].decode(errors="replace")
    except OSError:
        return ""

"""Finds and reads what a preview prints: the report type, and the file of its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reportd.config import ReportType
from reportd.intake.catalogue import Catalogue
from reportd.intake.edition_files import samples
from reportd.system.regular_files import read_regular
from reportd.work.attempt_tokens import AttemptTokens


@dataclass(frozen=True, slots=True)
class Subject:
    """A report type as its files are now.

    ``parameters``: the file of its parameters; unless it was ``given`` by name, it need not exist.
    """

    types: Catalogue
    tokens: AttemptTokens
    report_type: str
    parameters: Path
    given: bool


class ParametersError(Exception):
    """The file of the parameters can't be used; the text says why, with the line where that is known."""


def sample_of(name: str, report: ReportType, folders: Sequence[Path]) -> Path:
    """Return where the sample of a report type is: beside its template, in the first folder that has one."""
    places = samples(folders, report.template, name)
    return next((place for place in places if place.is_file()), places[0])


def read_parameters(file: Path, *, given: bool) -> dict[str, Any]:
    """Read the parameters. A file that nobody named may be missing: then there are none. Raises ParametersError."""
    try:
        value = orjson.loads(read_regular(file)[0])
    except FileNotFoundError as error:
        if not given:
            return {}
        raise ParametersError(f"can't be read: {error.strerror}") from error
    except OSError as error:
        raise ParametersError(f"can't be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ParametersError(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ParametersError("line 1: is no object; accepted: an object with the parameters")
    return value

"""Report types that are ready for use, and those that are still being checked.

``report_types`` makes them, ``catalogue`` answers by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from reportd.config import Problem, ReportType
from reportd.core.pages.network import NetworkRule
from reportd.intake.edition_files import Reading
from reportd.intake.editions import LiveEdition
from reportd.intake.print_templates import PrintTemplate
from reportd.ports import RenderOptions


@dataclass(frozen=True, slots=True)
class LoadedReportType:
    """A report type, ready for use."""

    report: ReportType
    schema: Mapping[str, Any] | None
    schema_text: bytes
    quick: Any
    """A validator for small parameters in this process; None when it might take long."""

    rule: NetworkRule
    options: RenderOptions
    isolation: str
    live: LiveEdition | None = None
    """The files of its template; None if it has no template."""

    print_templates: Mapping[str, PrintTemplate] = field(default_factory=dict)
    """The headers and footers that are rendered for each job, by their keys in the report type."""


@dataclass(frozen=True, slots=True)
class ReportTypes:
    """All report types of one configuration.

    ``entries``: by name. ``canonical``: the name for each name and alias. ``known``: the type for each name and alias.
    """

    entries: Mapping[str, LoadedReportType]
    canonical: Mapping[str, str]
    known: Mapping[str, LoadedReportType]
    schemas: Mapping[str, Mapping[str, Any]]
    schemas_text: bytes
    """A JSON object: for each known name its schema, or null."""


@dataclass(slots=True)
class Draft:
    """Report types that are being checked.

    ``templates``, ``print_templates`` and ``schemas``: those too large to be checked in this process: by report type,
    and by their configuration keys. ``readings``: what was read of the templates, by report type.
    """

    entries: dict[str, LoadedReportType] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    templates: set[str] = field(default_factory=set)
    readings: dict[str, Reading] = field(default_factory=dict)
    print_templates: dict[str, PrintTemplate] = field(default_factory=dict)
    schemas: dict[str, tuple[str, Path]] = field(default_factory=dict)

    def fault(self, key: str, message: str) -> None:
        """Add a problem. The caller fills in ``where`` the key is set."""
        self.problems.append(Problem("", key, message))

    def types(self) -> ReportTypes:
        """Return the report types. Call this only if there are no problems."""
        names = {name: name for name in self.entries}
        canonical = names | {alias: name for name, entry in self.entries.items() for alias in entry.report.aliases}
        known = {known: self.entries[name] for known, name in canonical.items()}
        return ReportTypes(
            entries=self.entries,
            canonical=canonical,
            known=known,
            schemas={name: entry.schema or {"type": "object"} for name, entry in self.entries.items()},
            schemas_text=orjson.dumps({name: entry.schema for name, entry in known.items()}),
        )

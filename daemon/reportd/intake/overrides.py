"""What a job says about its own language, zone, name and print: whether its report type allows it, and its effect.

Called by ``catalogue``. The types and conflicts of print options are those of the configuration.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from reportd.config import PdfOptions, ReportType
from reportd.config.keys import accepted
from reportd.config.problems import describe
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.submission import FieldProblem, escaped
from reportd.intake.report_types import print_options
from reportd.ports import RenderOptions


def problems(report: ReportType, options: JobOptions) -> list[FieldProblem]:
    """Return the options that the report type does not allow or that can't be used, by JSON pointers."""
    allowed = [_on_the_wire(key) for key in report.allow]
    fields = options.fields()
    names = [name for name in fields if name != "pdf"] + [f"pdf.{name}" for name in fields.get("pdf", ())]
    accepts = ", ".join(allowed) or "none of these fields"
    refused = [
        FieldProblem(_pointer(name), f"is not allowed by this report type; accepted: {accepts}")
        for name in names
        if name not in allowed
    ]
    return refused or _unusable(report.pdf, options.pdf)


def applied(report: ReportType, defaults: RenderOptions, options: JobOptions) -> RenderOptions:
    """Return the report type's render options, as a job that passed the check changes them."""
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in ("locale", "timezone") if getattr(options, name)
    }
    if options.pdf:
        changes |= print_options(report.pdf.overridden(_keys(options.pdf)))
    return replace(defaults, **changes) if changes else defaults


def _unusable(pdf: PdfOptions, changes: Mapping[str, Any]) -> list[FieldProblem]:
    if not changes:
        return []
    try:
        changed = pdf.overridden(_keys(changes))
    except ValidationError as error:
        return [
            FieldProblem(
                _pointer(_on_the_wire(f"pdf.{detail['loc'][0]}")),
                f"{describe(detail)}; accepted: {accepted(PdfOptions.model_fields[str(detail['loc'][0])])}",
            )
            for detail in error.errors()
        ]
    conflicts = (
        (conflict, [name for name in changes if _key(name) in conflict.keys]) for conflict in changed.conflicts()
    )
    # A type has no conflict of its own, so a changed option takes part in each.
    return [
        FieldProblem(_pointer(f"pdf.{(names or list(changes))[0]}"), conflict.message) for conflict, names in conflicts
    ]


def _keys(options: Mapping[str, Any]) -> dict[str, Any]:
    return {_key(name): value for name, value in options.items()}


def _key(name: str) -> str:
    """Return the configuration's key of a field: ``page_ranges`` for ``pageRanges``."""
    return re.sub("([A-Z])", r"_\1", name).lower()


def _on_the_wire(key: str) -> str:
    """Return the field of a configuration's key: ``pdf.pageRanges`` for ``pdf.page_ranges``."""
    return re.sub("_([a-z])", lambda match: match[1].upper(), key)


def _pointer(name: str) -> str:
    head, dot, option = name.partition(".")
    return f"/{head}/{escaped(option)}" if dot else f"/{head}"

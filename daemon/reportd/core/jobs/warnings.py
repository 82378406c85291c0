"""What a job's PDF lacks: resources that failed, glyphs that no font has, content that is cut off.

A warning does not fail a job, unless its report type's ``fail_on`` lists the kind. Adapters collect them while a page
is rendered; the store, the wire, the page and the metrics carry them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from reportd.core.faults import Fault, FaultKind
from reportd.core.text import cut

MAX_WARNINGS = 50
"""Warnings of one job that are kept apart. A page with a thousand broken images needs no list of them."""

MAX_TEXT = 300
"""Characters of ``what`` and of ``why``. A page chooses its URLs, so they can be of any length."""


class WarningKind(StrEnum):
    """The ``kind`` of a warning. The set is bounded, so it can be a metric's label."""

    RESOURCES = "resources"
    FONTS = "fonts"
    SCRIPTS = "scripts"
    GLYPHS = "glyphs"
    CLIPPED = "clipped"


@dataclass(frozen=True, slots=True)
class JobWarning:
    """One thing that the PDF lacks.

    ``kind``: a WarningKind, or the text of one that a newer node has recorded.
    ``what``: the URL without secrets, the font, the characters or the side. ``why``: the status, the browser's error
    or the rule. ``count``: how often. ``refused``: a rule of the report type forbids it, so only a change of the
    configuration helps.
    """

    kind: str
    what: str
    why: str
    count: int = 1
    refused: bool = False


class WarningCollector:
    """Collects the warnings of one job: the same one is counted, and there are never more than MAX_WARNINGS."""

    def __init__(self) -> None:
        self._found: dict[tuple[WarningKind, str, str], JobWarning] = {}
        self._more: dict[WarningKind, int] = {}

    def add(self, kind: WarningKind, what: str, why: str, count: int = 1, *, refused: bool = False) -> JobWarning:
        """Add a warning. Return it, with all it was counted so far."""
        what, why = cut(what, MAX_TEXT), cut(why, MAX_TEXT)
        key = (kind, what, why)
        before = self._found[key].count if key in self._found else 0
        warning = JobWarning(kind, what, why, before + count, refused)
        if before or len(self._found) < MAX_WARNINGS:
            self._found[key] = warning
        else:
            self._more[kind] = self._more.get(kind, 0) + count
        return warning

    def take_back(self, warning: JobWarning) -> None:
        """Count a warning that ``add`` has returned once less: what it was about did not happen after all."""
        key = (WarningKind(warning.kind), warning.what, warning.why)
        if key in self._found:
            left = self._found[key].count - 1
            if left:
                self._found[key] = replace(self._found[key], count=left)
            else:
                del self._found[key]
        elif self._more.get(key[0]):
            self._more[key[0]] -= 1

    def all(self) -> tuple[JobWarning, ...]:
        """Return the warnings in the order in which they were first seen; what was too much comes last, by kind."""
        more = (JobWarning(kind, "others", "not listed one by one", n) for kind, n in self._more.items() if n)
        return (*self._found.values(), *more)


_FAULTS: Mapping[str, FaultKind] = {
    WarningKind.RESOURCES: FaultKind.RESOURCE_FAILED,
    WarningKind.FONTS: FaultKind.RESOURCE_FAILED,
    WarningKind.SCRIPTS: FaultKind.SCRIPT_ERROR,
    WarningKind.GLYPHS: FaultKind.GLYPHS_MISSING,
    WarningKind.CLIPPED: FaultKind.CONTENT_CLIPPED,
}
_SENTENCES: Mapping[str, str] = {
    WarningKind.RESOURCES: "{what} {why}",
    WarningKind.FONTS: "{what} {why}",
    WarningKind.SCRIPTS: "{what}",
    WarningKind.GLYPHS: "{why}: {what}",
    WarningKind.CLIPPED: "{why}: {what}",
}


def fault_of(warning: JobWarning, fail_on: Collection[WarningKind]) -> Fault | None:
    """Return the fault that a warning is under ``fail_on``; None if it stays a warning."""
    if warning.kind not in fail_on:
        return None
    kind = FaultKind.HOST_NOT_ALLOWED if warning.refused else _FAULTS[warning.kind]
    return Fault(kind, _SENTENCES[warning.kind].format(what=warning.what, why=warning.why))

"""What a preview shows, as frozen values."""

from dataclasses import dataclass
from pathlib import Path

from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import JobWarning
from reportd.core.preview.excerpts import Excerpt
from reportd.ports import Assets


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that keeps the report from being printed.

    ``excerpt``: where it is, if that is known. ``evidence``: what there was to see of a page that failed.
    """

    title: str
    detail: str
    excerpt: Excerpt | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Printed:
    """A report that was printed.

    ``pages``: width and height of each, in CSS pixels. ``html``: of a template, with its
    ``assets`` if it asks for any; ``url``: of a page of one's own.
    ``template_seconds``: until the page to print was made; ``print_seconds``: from there to the PDF.
    """

    version: int
    pdf: bytes
    pages: tuple[tuple[int, int], ...]
    html: str | None
    url: str | None
    warnings: tuple[JobWarning, ...]
    assets: Assets | None
    template_seconds: float
    print_seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class View:
    """``printed``: the last report that could be printed; with ``findings`` it is older than the files.

    ``number`` grows with each view. ``parameters``: the file that they are read from, if it exists.
    """

    report_type: str
    number: int = 0
    busy: bool = True
    findings: tuple[Finding, ...] = ()
    printed: Printed | None = None
    parameters: Path | None = None

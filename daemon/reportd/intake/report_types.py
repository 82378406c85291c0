"""Makes the report types of one configuration from the files that it names, and lists all problems of those files.

Worker processes check the large files: compiling a template or a schema can take seconds and gigabytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from reportd.config import Config, PdfOptions, Problem, ReportType
from reportd.config.pdf import CONTENT
from reportd.core.faults import FaultError
from reportd.core.pages.network import NetworkRule
from reportd.core.pages.print_templates import is_file, unloadable_as_written
from reportd.core.schemas.compiled import compiled, faults, is_cheap
from reportd.intake.print_templates import print_templates
from reportd.ports import Checker, RenderOptions, TooCostlyError
from reportd.system.regular_files import read_regular

QUICK_SECONDS = 0.02
"""Only worker processes use a schema that takes longer to compile: its patterns may be of any size."""


class Templates(Protocol):
    """Checks templates. The ``Checker`` makes pages from them."""

    def check(self, name: str, at_most_bytes: int, *, text: str | None = None) -> bool:
        """Check the template if it is small enough, with all it refers to. Return whether it was checked.

        ``text``: the template itself when it is in no file; ``name`` is what faults call it then.
        Raises FaultError when the template can't be used.
        """
        ...


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

    ``templates`` and ``schemas``: those too large to be checked in this process, by their configuration keys. A
    template is its name and, when it is in no file, its text.
    """

    entries: dict[str, LoadedReportType] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    templates: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    schemas: dict[str, tuple[str, Path]] = field(default_factory=dict)

    def fault(self, key: str, message: str) -> None:
        """Add a problem. The caller fills in ``where`` the key is set."""
        self.problems.append(Problem("", key, message))

    def edition(self) -> ReportTypes:
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


class ReportTypesReader:
    """``folders``: where files are searched; they must be those of ``templates`` and ``checker``."""

    def __init__(self, folders: Sequence[Path], templates: Templates, checker: Checker) -> None:
        self._folders = folders
        self._templates = templates
        self._checker = checker

    def draft(self, config: Config, inline_bytes: int) -> Draft:
        """Read the files, and check those of at most ``inline_bytes``. Blocks."""
        draft = Draft()
        for name, report in config.reports.items():
            if report.template:
                self._template(draft, f"reports.{name}.template", report.template, inline_bytes)
            for option, text in print_templates(report).items():
                self._print_template(draft, f"reports.{name}.{option}", option, text, inline_bytes)
            schema = self._schema(draft, name, report, inline_bytes)
            draft.entries[name] = _entry(report, schema, config, quick=len(schema) <= inline_bytes)
        return draft

    async def judge(self, draft: Draft) -> None:
        """Let worker processes check the rest, and add its problems to the draft. May raise UnavailableError."""
        for key, (template, text) in draft.templates.items():
            try:
                await self._checker.template(template, text)
            except FaultError as error:
                draft.fault(key, _unusable(error))
        for key, (name, path) in draft.schemas.items():
            entry = draft.entries[name]
            try:
                problems, seconds = await self._checker.schema(entry.schema_text)
            except TooCostlyError as error:
                draft.fault(key, f"{path} is too costly: that {error}; accepted: a smaller JSON Schema")
                continue
            for problem in problems:
                draft.fault(key, f"{path} {problem}")
            if not problems and seconds <= QUICK_SECONDS:
                draft.entries[name] = replace(entry, quick=_quick(entry.schema))

    def _template(self, draft: Draft, key: str, name: str, inline_bytes: int) -> Path | None:
        """Check a template file. Return it, or None when it can't be used."""
        path = self._find(draft, key, name)
        return path if path is not None and self._checked(draft, key, name, None, inline_bytes) else None

    def _print_template(self, draft: Draft, key: str, option: str, template: str, inline_bytes: int) -> None:
        if not is_file(template):
            self._checked(draft, key, option, template, inline_bytes)
            return
        path = self._template(draft, key, template, inline_bytes)
        if path is None or key in draft.templates:
            return
        if found := unloadable_as_written(path.read_text(errors="replace")):
            text = f"{path} has {found}, which Chromium can't load or run in a header or footer"
            draft.fault(key, f"{text}; accepted: pictures and fonts as data: URIs, or margin boxes in the page's CSS")

    def _checked(self, draft: Draft, key: str, name: str, text: str | None, inline_bytes: int) -> bool:
        try:
            if not self._templates.check(name, inline_bytes, text=text):
                draft.templates[key] = name, text
        except FaultError as error:
            draft.fault(key, _unusable(error))
            return False
        return True

    def _schema(self, draft: Draft, name: str, report: ReportType, inline_bytes: int) -> bytes:
        """Return the text of the schema; empty if there is none, or if it has problems."""
        key = f"reports.{name}.parameters_schema"
        path = self._find(draft, key, report.parameters_schema) if report.parameters_schema else None
        if path is None:
            return b""
        try:
            text = _compact(read_regular(path)[0])
        except OSError as error:
            draft.fault(key, f"{path} can't be read: {error.strerror}; accepted: a file that the daemon may read")
            return b""
        except ValueError as error:
            draft.fault(key, f"{path} is not a JSON Schema: {error}; accepted: an object of JSON")
            return b""
        if len(text) > inline_bytes:
            draft.schemas[key] = name, path
            return text
        for problem in faults(text):
            draft.fault(key, f"{path} {problem}")
        return text

    def _find(self, draft: Draft, key: str, name: str) -> Path | None:
        for folder in self._folders:
            path = folder / name
            try:
                if path.is_file():
                    return path
            except OSError as error:
                draft.fault(key, f"{path} can't be looked at: {error.strerror}; accepted: a file that can be read")
                return None
        searched = ", ".join(map(str, self._folders))
        draft.fault(key, f"there is no file {name} in {searched}; accepted: a file in one of these")
        return None


def print_options(pdf: PdfOptions) -> dict[str, Any]:
    """Return the fields of RenderOptions that print options decide."""
    return {
        "fixed_paper": pdf.fixed_paper,
        "fit_width": pdf.fit == "width",
        "content_height": pdf.height == CONTENT,
        "print_parameters": pdf.print_parameters(),
    }


def _compact(text: bytes) -> bytes:
    """Return a JSON object without whitespace. Raises ValueError."""
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - as the parser does
    try:
        return orjson.dumps(value)
    except TypeError:
        raise ValueError("it is nested too deeply") from None


def _entry(report: ReportType, schema_text: bytes, config: Config, *, quick: bool) -> LoadedReportType:
    schema = orjson.loads(schema_text) if schema_text else None
    options = RenderOptions(
        ready=report.ready,
        delay_seconds=report.delay_seconds,
        headers={key: _plain(value) for key, value in report.headers.items()},
        header_hosts=NetworkRule.of(report.header_hosts),
        cookies={key: _plain(value) for key, value in report.cookies.items()},
        media=report.media,
        fail_on_status=report.fail_on_status,
        allow_redirects=report.allow_redirects,
        expect=report.expect,
        fail_on=report.failures,
        reduced_motion=report.reduced_motion,
        viewport=report.viewport,
        device_scale_factor=report.device_scale_factor,
        max_page_bytes=report.max_page_bytes,
        **print_options(report.pdf),
        locale=report.locale,
        timezone=report.timezone,
        evidence=report.evidence,
        inject=report.inject,
        token=report.token,
        token_margin_seconds=config.render_tokens.margin_seconds,
    )
    return LoadedReportType(
        report=report,
        schema=schema,
        schema_text=schema_text,
        quick=_quick(schema) if quick else None,
        rule=NetworkRule.of(report.allowed_hosts, report.url),
        options=options,
        isolation=report.isolation or config.pool.isolation,
    )


def _quick(schema: Mapping[str, Any] | None) -> Any:
    return None if schema is None or not is_cheap(schema) else compiled(schema)


def _unusable(error: FaultError) -> str:
    return f"{error.fault.detail}; accepted: a Jinja template, and the filters that there are"


def _plain(value: Any) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)

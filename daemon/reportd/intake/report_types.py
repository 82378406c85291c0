"""Makes the report types of one configuration from the files that it names, and lists all problems of those files.

Worker processes check the large files: compiling a template or a schema can take seconds and gigabytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson

from reportd.config import Config, PdfOptions, ReportType
from reportd.config.pdf import CONTENT
from reportd.core.faults import FaultError
from reportd.core.pages.editions import Edition
from reportd.core.pages.network import NetworkRule
from reportd.core.pages.print_templates import is_file, unloadable_as_written
from reportd.core.schemas.compiled import compiled, faults, is_cheap
from reportd.intake.edition_files import TEMPLATES_ACCEPTED, Reading
from reportd.intake.edition_reader import EditionReader, Inspector
from reportd.intake.editions import LiveEdition
from reportd.intake.loaded_types import Draft, LoadedReportType
from reportd.intake.print_templates import PrintTemplate, print_templates
from reportd.ports import Checker, EditionStore, RenderOptions, TooCostlyError
from reportd.system.regular_files import read_regular

QUICK_SECONDS = 0.02
"""Only worker processes use a schema that takes longer to compile: its patterns may be of any size."""


class Templates(Inspector, Protocol):
    """Checks templates. The ``Checker`` makes pages from them."""

    def check(self, name: str, text: str, at_most_bytes: int) -> bool:
        """Check the text of a template if it is small enough, with all it refers to. Return whether it was checked.

        ``name`` is what faults call it. Raises FaultError when it can't be used.
        """
        ...


class ReportTypesReader:
    """``folders``: where files are searched; they must be those of ``templates`` and ``checker``. ``store``: of the
    editions that were in force before.
    """

    def __init__(
        self, folders: Sequence[Path], templates: Templates, checker: Checker, store: EditionStore | None = None
    ) -> None:
        self._folders = folders
        self._checker = checker
        self._templates = templates
        self._editions = EditionReader(folders, templates, checker)
        self._store = store

    def draft(self, config: Config, inline_bytes: int) -> Draft:
        """Read the files, and check those of at most ``inline_bytes``. Blocks."""
        draft = Draft()
        for name, report in config.reports.items():
            reading = self._template(draft, name, report.template, inline_bytes) if report.template else None
            printed = self._print_templates(draft, name, report, inline_bytes)
            schema = self._schema(draft, name, report, inline_bytes)
            entry = _entry(report, schema, config, quick=len(schema) <= inline_bytes)
            draft.entries[name] = replace(entry, print_templates=printed)
            if reading is not None:
                self._use(draft, name, reading)
        return draft

    async def judge(self, draft: Draft, *, restore: bool = False) -> None:
        """Let worker processes check the rest, and add its problems to the draft. May raise UnavailableError.

        ``restore``: a template with problems is used as it was kept.
        """
        for name in sorted(draft.templates):
            self._use(draft, name, await self._editions.read(draft.entries[name].report.template, name))
        if restore and self._store is not None:
            for name, entry in draft.entries.items():
                if entry.report.template:
                    await self._restore(draft, name, self._store)
        for key, template in draft.print_templates.items():
            try:
                await self._checker.template(template.name, template.text)
            except FaultError as error:
                draft.fault(key, _unusable(error))
        await self._judge_schemas(draft)

    async def _judge_schemas(self, draft: Draft) -> None:
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

    def _print_templates(
        self, draft: Draft, name: str, report: ReportType, inline_bytes: int
    ) -> dict[str, PrintTemplate]:
        """Read the headers and footers that are templates, and check those that are small enough."""
        found = {}
        for option, value in print_templates(report).items():
            key = f"reports.{name}.{option}"
            template = self._print_file(draft, key, value) if is_file(value) else PrintTemplate(option, value)
            if template is None:
                continue
            found[option] = template
            try:
                if not self._templates.check(template.name, template.text, inline_bytes):
                    draft.print_templates[key] = template
            except FaultError as error:
                draft.fault(key, _unusable(error))
        return found

    def _print_file(self, draft: Draft, key: str, name: str) -> PrintTemplate | None:
        path = self._find(draft, key, name)
        if path is None:
            return None
        try:
            text = read_regular(path)[0].decode(errors="replace")
        except OSError as error:
            draft.fault(key, f"{path} can't be read: {error.strerror}; accepted: a file that the daemon may read")
            return None
        if found := unloadable_as_written(text):
            problem = f"{path} has {found}, which Chromium can't load or run in a header or footer"
            draft.fault(
                key, f"{problem}; accepted: pictures and fonts as data: URIs, or margin boxes in the page's CSS"
            )
            return None
        return PrintTemplate(name, text)

    def _template(self, draft: Draft, name: str, template: str, inline_bytes: int) -> Reading | None:
        if not template or self._find(draft, _template_key(name), template) is None:
            return None
        try:
            reading = self._editions.read_here(template, name, inline_bytes)
        except OSError as error:
            draft.fault(_template_key(name), f"{template} can't be read: {error.strerror}")
            return None
        if reading is None:
            draft.templates.add(name)
        return reading

    def _use(self, draft: Draft, name: str, reading: Reading) -> None:
        draft.readings[name] = reading
        for problem in reading.problems:
            draft.fault(_template_key(name), problem)
        if reading.edition is not None:
            self._put(draft, name, reading.edition, reading)

    def _put(self, draft: Draft, name: str, edition: Edition, reading: Reading) -> LiveEdition:
        entry = draft.entries[name]
        context = {"locale": entry.report.locale, "timezone": entry.report.timezone}
        live = LiveEdition(name, self._editions, self._store, edition=edition, reading=reading, context=context)
        draft.entries[name] = replace(entry, live=live)
        return live

    async def _restore(self, draft: Draft, name: str, store: EditionStore) -> None:
        """Put the edition in force that was kept, until the files are found to be sound."""
        template = draft.entries[name].report.template
        kept = await self._editions.blocking(partial(store.kept, name))
        if kept is None or kept.template != template:
            return
        reading = draft.readings.get(name) or await self._editions.read(template, name)
        await self._put(draft, name, kept, reading).judge(reading, kept=True)
        draft.problems = [problem for problem in draft.problems if problem.key != _template_key(name)]

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
    return f"{error.fault.detail}; {TEMPLATES_ACCEPTED}"


def _template_key(name: str) -> str:
    return f"reports.{name}.template"


def _plain(value: Any) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)

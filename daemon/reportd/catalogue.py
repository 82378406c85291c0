"""The report types this daemon knows: checks what is submitted, and makes a render request out of a job.

They may be exchanged while jobs are under way. Each question is answered by one edition of them; what it has answered
stays as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import orjson
import trio

from reportd.config import Config, ReportType
from reportd.core.faults import FaultError, FaultKind
from reportd.core.job import Job, StoredJob, from_message
from reportd.core.network import NetworkRule, url_target
from reportd.core.parameters import text_of, value_of
from reportd.core.submission import FieldProblem, Submission, parse
from reportd.ports import INLINE_BYTES, Checker, RenderOptions, RenderRequest, TooCostlyError
from reportd.regular import read_regular
from reportd.schemas import compiled, is_cheap


class CatalogueError(Exception):
    """A report type's template or schema can't be used; the text names the key."""


class Templates(Protocol):
    """Knows whether a template can be used; pages are made of it by the ``Checker``."""

    def check(self, name: str) -> None:
        """Raises FaultError when the template can't be used at all."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    report: ReportType
    schema: Mapping[str, Any] | None
    schema_text: bytes
    quick: Any
    """A validator that small parameters may be asked of at once; None when its answer might take long."""

    rule: NetworkRule
    options: RenderOptions
    isolation: str


@dataclass(frozen=True, slots=True)
class Edition:
    """All report types of one configuration: by their own names, what each name or alias means, and by all of these."""

    entries: Mapping[str, _Entry]
    canonical: Mapping[str, str]
    known: Mapping[str, _Entry]
    schemas: Mapping[str, Mapping[str, Any]]
    schemas_text: bytes
    """Of each known name its schema, or null, as one JSON object."""


class Catalogue:
    """Made from a configuration. Raises CatalogueError when a file it names is missing or wrong.

    ``folders`` are where files are looked for, and must be those of ``templates`` and ``checker``.
    """

    def __init__(self, config: Config, folders: list[Path], templates: Templates, checker: Checker) -> None:
        self._templates = templates
        self._checker = checker
        self._folders = folders
        self._callback_rule = NetworkRule.of(config.callbacks.allowed_hosts)
        self._edition = self.edition(config)

    def edition(self, config: Config) -> Edition:
        """The report types of a configuration, checked but not yet in force. Reads files. Raises CatalogueError."""
        entries = {name: self._entry(name, report, config) for name, report in config.reports.items()}
        aliases = {alias: name for name, report in config.reports.items() for alias in report.aliases}
        canonical = {name: name for name in entries} | aliases
        known = {known: entries[name] for known, name in canonical.items()}
        return Edition(
            entries=entries,
            canonical=canonical,
            known=known,
            schemas={name: entry.schema or {"type": "object"} for name, entry in entries.items()},
            schemas_text=orjson.dumps({name: entry.schema for name, entry in known.items()}),
        )

    def exchange(self, edition: Edition) -> None:
        """From now on these are the report types."""
        self._edition = edition

    def _entry(self, name: str, report: ReportType, config: Config) -> _Entry:
        schema = self._schema(name, report)
        if report.template:
            self._check_template(f"reports.{name}.template", report.template)
        options = RenderOptions(
            ready=report.ready,
            delay_seconds=report.delay_seconds,
            headers={key: _plain(value) for key, value in report.headers.items()},
            header_hosts=NetworkRule.of(report.header_hosts),
            cookies={key: _plain(value) for key, value in report.cookies.items()},
            media=report.media,
            fail_on_status=report.fail_on_status,
            fail_on_resource_errors=report.fail_on_resource_errors,
            fail_on_script_errors=report.fail_on_script_errors,
            max_page_bytes=report.max_page_bytes,
            print_parameters=report.pdf.print_parameters(),
        )
        return _Entry(
            report=report,
            schema=schema,
            schema_text=b"" if schema is None else orjson.dumps(schema),
            quick=None if schema is None or not is_cheap(schema) else compiled(schema),
            rule=NetworkRule.of(report.allowed_hosts, report.url),
            options=options,
            isolation=report.isolation or config.pool.isolation,
        )

    def _check_template(self, key: str, name: str) -> None:
        self._find(key, name)
        try:
            self._templates.check(name)
        except FaultError as error:
            raise CatalogueError(f"{key}: {error.fault.detail}") from error

    def _schema(self, name: str, report: ReportType) -> dict[str, Any] | None:
        if not report.parameters_schema:
            return None
        key = f"reports.{name}.parameters_schema"
        path = self._find(key, report.parameters_schema)
        try:
            schema = orjson.loads(read_regular(path)[0])
            if isinstance(schema, dict):
                compiled(schema)
        except OSError as error:
            raise CatalogueError(f"{key}: {path} can't be read: {error.strerror}") from error
        except ValueError as error:  # of both parsers
            raise CatalogueError(f"{key}: {path} is not a JSON Schema: {error}") from error
        if not isinstance(schema, dict):
            raise CatalogueError(f"{key}: {path} is not a JSON Schema in the form of an object")
        return schema

    def _find(self, key: str, name: str) -> Path:
        for folder in self._folders:
            path = folder / name
            try:
                if path.is_file():
                    return path
            except OSError as error:
                raise CatalogueError(f"{key}: {path} can't be looked at: {error.strerror}") from error
        looked = ", ".join(map(str, self._folders))
        raise CatalogueError(f"{key}: there is no file {name} in {looked}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._edition.entries))

    def canonical(self, report_type: str) -> str | None:
        """The name of the report type that this name or alias means; None when it means none."""
        return self._edition.canonical.get(report_type)

    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """The parameters' schema of each type; an open object where there is none."""
        return self._edition.schemas

    def schemas_text(self) -> bytes:
        """Of each name and alias the parameters' schema, null where there is none, as one JSON object."""
        return self._edition.schemas_text

    # --- reading --------------------------------------------------------------------------------------------

    async def submission(self, body: bytes) -> Submission:
        """What a body submits. Raises as ``core.submission.parse`` does, or TooCostlyError, or UnavailableError."""
        return parse(body) if len(body) <= INLINE_BYTES else await self._checker.submission(body)

    async def message(self, body: str) -> Job | StoredJob:
        """What a message carries. Raises BadMessageError, TooCostlyError, or UnavailableError."""
        return from_message(body) if len(body) <= INLINE_BYTES else await self._checker.message(body)

    # --- checking -------------------------------------------------------------------------------------------

    async def check_submission(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]:
        """What is wrong with a submission, by JSON pointers into the request. May raise UnavailableError."""
        return await self._check(report_type, parameters, at_the_door=True)

    async def check(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]:
        """The same of a job."""
        return await self._check(report_type, parameters, at_the_door=False)

    async def _check(self, report_type: str, parameters: Mapping[str, Any], *, at_the_door: bool) -> list[FieldProblem]:
        entry = self._edition.known.get(report_type)
        if entry is None:
            known = ", ".join(self.names)
            return [FieldProblem("/reportType", f"there is no report type of this name; accepted: {known}")]
        if entry.schema is None:
            return []
        # To name what is wrong may take long where to say that something is does not.
        if entry.quick and len(text_of(parameters)) <= INLINE_BYTES and entry.quick.is_valid(value_of(parameters)):
            return []
        try:
            return await self._checker.problems(entry.schema_text, parameters, at_the_door=at_the_door)
        except TooCostlyError as error:
            return [error.of_parameters()]

    def check_callback(self, url: str) -> list[FieldProblem]:
        try:
            host, port = url_target(url)
        except ValueError as error:
            return [FieldProblem("/callbackUrl", str(error))]
        decision = self._callback_rule.may_name(host, port)
        if not decision.allowed:
            return [FieldProblem("/callbackUrl", f"{decision.reason}; see callbacks.allowed_hosts")]
        return []

    # --- rendering ------------------------------------------------------------------------------------------

    async def request(self, job: Job) -> RenderRequest:
        """The job as a page to print. Raises FaultError, or UnavailableError."""
        entry = self._edition.known.get(job.report_type)
        if entry is None:  # it was there when the job was checked
            raise FaultError(FaultKind.UNKNOWN_REPORT_TYPE, f"there is no report type {job.report_type} any more")
        report = entry.report
        page = url = None
        if report.template:
            page = await self._checker.html(report.template, job.parameters, report.timeout_seconds)
        else:
            # A large one is escaped sign by sign, and too long for any browser.
            large = len(text_of(job.parameters)) > INLINE_BYTES
            url = await trio.to_thread.run_sync(_filled, report.url, job) if large else _filled(report.url, job)
        return RenderRequest(
            task_id=job.task_id,
            report_type=job.report_type,
            rule=entry.rule,
            options=entry.options,
            timeout_seconds=report.timeout_seconds,
            html=None if page is None else page.text,
            inert=page is not None and page.inert,
            url=url,
            isolation=entry.isolation,
        )


def _filled(url: str, job: Job) -> str:
    values = {
        "{params}": quote(text_of(job.parameters), safe=""),
        "{taskId}": job.task_id,
        "{userId}": job.user_id,
    }
    for placeholder, value in values.items():
        url = url.replace(placeholder, value)
    return url


def _plain(value: Any) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)

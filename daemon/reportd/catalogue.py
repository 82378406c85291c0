"""The report types this daemon knows: checks what is submitted, and makes a render request out of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jsonschema_rs
import orjson

from reportd.adapters.templates import TemplateFault, Templates
from reportd.config import Config, ReportType
from reportd.core.faults import FaultError, FaultKind
from reportd.core.job import Job
from reportd.core.network import NetworkRule
from reportd.ports import RenderOptions, RenderRequest
from reportd.service import FieldProblem

MAX_PROBLEMS = 20
"""A list of rows with the same mistake in each would bury the answer."""


class CatalogueError(Exception):
    """A report type's template or schema can't be used; the text names the key."""


@dataclass(frozen=True, slots=True)
class _Entry:
    report: ReportType
    schema: Mapping[str, Any] | None
    validator: Any
    rule: NetworkRule
    options: RenderOptions
    isolation: str


class Catalogue:
    """Made once, from a configuration. Raises CatalogueError when a file it names is missing or wrong."""

    def __init__(self, config: Config, folders: list[Path]) -> None:
        self._templates = Templates(folders)
        self._folders = folders
        self._callback_rule = NetworkRule.of(config.callbacks.allowed_hosts)
        self._entries = {name: self._entry(name, report, config) for name, report in config.reports.items()}

    def _entry(self, name: str, report: ReportType, config: Config) -> _Entry:
        schema = self._schema(name, report)
        if report.template:
            self._find(f"reports.{name}.template", report.template)
        options = RenderOptions(
            ready=report.ready,
            delay_seconds=report.delay_seconds,
            headers={key: _plain(value) for key, value in report.headers.items()},
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
            validator=None if schema is None else jsonschema_rs.validator_for(schema, validate_formats=True),
            rule=NetworkRule.of(report.hosts),
            options=options,
            isolation=report.isolation or config.pool.isolation,
        )

    def _schema(self, name: str, report: ReportType) -> dict[str, Any] | None:
        if not report.parameters_schema:
            return None
        key = f"reports.{name}.parameters_schema"
        path = self._find(key, report.parameters_schema)
        try:
            schema: dict[str, Any] = orjson.loads(path.read_bytes())
            jsonschema_rs.validator_for(schema, validate_formats=True)
        except (orjson.JSONDecodeError, jsonschema_rs.ValidationError, ValueError) as error:
            raise CatalogueError(f"{key}: {path} is not a JSON Schema: {error}") from error
        return schema

    def _find(self, key: str, name: str) -> Path:
        for folder in self._folders:
            if (folder / name).is_file():
                return folder / name
        looked = ", ".join(map(str, self._folders))
        raise CatalogueError(f"{key}: there is no file {name} in {looked}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._entries))

    def schemas(self) -> dict[str, Mapping[str, Any]]:
        """The parameters' schema of each type; an open object where there is none."""
        return {name: entry.schema or {"type": "object"} for name, entry in self._entries.items()}

    # --- checking -------------------------------------------------------------------------------------------

    def check(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]:
        """What is wrong with a submission, by JSON pointers into the request."""
        entry = self._entries.get(report_type)
        if entry is None:
            known = ", ".join(self.names)
            return [FieldProblem("/reportType", f"there is no report type of this name; accepted: {known}")]
        if entry.validator is None or entry.validator.is_valid(parameters):
            return []
        problems = []
        for error in entry.validator.iter_errors(parameters):
            pointer = "".join("/" + _escaped(step) for step in ("parameters", *error.instance_path))
            problems.append(FieldProblem(pointer, str(error.message)[:300]))
            if len(problems) == MAX_PROBLEMS:
                break
        return problems

    def check_callback(self, url: str) -> list[FieldProblem]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return [FieldProblem("/callbackUrl", "must be an absolute http or https URL")]
        port = parts.port or (443 if parts.scheme == "https" else 80)
        decision = self._callback_rule.may_name(parts.hostname, port)
        if not decision.allowed:
            return [FieldProblem("/callbackUrl", f"{decision.reason}; see callbacks.allowed_hosts")]
        return []

    # --- rendering ------------------------------------------------------------------------------------------

    def request(self, job: Job) -> RenderRequest:
        """The job as a page to print. CPU-bound for templates. Raises FaultError."""
        entry = self._entries[job.report_type]
        report = entry.report
        html = url = None
        if report.template:
            try:
                html = self._templates.render(report.template, job.parameters)
            except TemplateFault as fault:
                raise FaultError(FaultKind.TEMPLATE_ERROR, str(fault)) from fault
        else:
            url = _filled(report.url, job)
        return RenderRequest(
            task_id=job.task_id,
            report_type=job.report_type,
            rule=entry.rule,
            options=entry.options,
            timeout_seconds=report.timeout_seconds,
            html=html,
            url=url,
            isolation=entry.isolation,
        )


def _filled(url: str, job: Job) -> str:
    values = {
        "{params}": quote(orjson.dumps(job.parameters).decode(), safe=""),
        "{taskId}": job.task_id,
        "{userId}": job.user_id,
    }
    for placeholder, value in values.items():
        url = url.replace(placeholder, value)
    return url


def _plain(value: Any) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)


def _escaped(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")

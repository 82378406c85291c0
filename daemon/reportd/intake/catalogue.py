"""The report types this daemon knows: checks submissions, and makes a render request from a job.

A reload may exchange them while jobs are under way. Each call uses the same ones from start to end.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import trio

from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.options import NO_OPTIONS, JobOptions
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import FieldProblem, Submission, parse
from reportd.core.pages.network import NetworkRule, url_target
from reportd.core.pages.post import form_body, json_body
from reportd.core.pages.template_context import TemplateContext
from reportd.core.pages.url_length import too_long, url_length
from reportd.intake import overrides
from reportd.intake.loaded_types import ReportTypes
from reportd.intake.print_templates import with_print_templates
from reportd.ports import INLINE_BYTES, Checker, RenderRequest, TooCostlyError


class Catalogue:
    """Answers by the current report types. ``clock``: seconds since the epoch, for templates."""

    def __init__(
        self,
        types: ReportTypes,
        checker: Checker,
        callback_hosts: Iterable[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._types = types
        self._checker = checker
        self._clock = clock
        self._callback_rule = NetworkRule.of(callback_hosts)

    def exchange(self, types: ReportTypes) -> None:
        """Use these report types from now on."""
        for name, entry in types.entries.items():
            before = self._types.entries.get(name)
            if entry.live is not None and before is not None and before.live is not None:
                entry.live.go_on_from(before.live)
        self._types = types

    async def keep_editions(self) -> None:
        """Keep the editions in force for the next start."""
        for entry in self._types.entries.values():
            if entry.live is not None:
                await entry.live.keep()

    def troubles(self) -> dict[str, str]:
        """Return why the files of a template are not in force, by report type."""
        lives = {name: entry.live for name, entry in self._types.entries.items()}
        return {name: live.trouble for name, live in lives.items() if live is not None and live.trouble}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._types.entries))

    def canonical(self, report_type: str) -> str | None:
        """Return the own name of the report type with this name or alias, or None if there is no such type."""
        return self._types.canonical.get(report_type)

    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the schema of the parameters of each type; a type without one gets a schema of any object."""
        return self._types.schemas

    def schemas_text(self) -> bytes:
        """Return a JSON object: for each name and alias the schema of its parameters, or null."""
        return self._types.schemas_text

    # --- reading --------------------------------------------------------------------------------------------

    async def submission(self, body: bytes) -> Submission:
        """Parse a request body. Raises as ``submission.parse`` does, or TooCostlyError, or UnavailableError."""
        return parse(body) if len(body) <= INLINE_BYTES else await self._checker.submission(body)

    async def message(self, body: str) -> Job | StoredJob:
        """Parse a queue message. Raises BadMessageError, TooCostlyError, or UnavailableError."""
        return from_message(body) if len(body) <= INLINE_BYTES else await self._checker.message(body)

    # --- checking -------------------------------------------------------------------------------------------

    async def check_submission(
        self, report_type: str, parameters: Mapping[str, Any], options: JobOptions = NO_OPTIONS
    ) -> list[FieldProblem]:
        """Return what is wrong with a submission, by JSON pointers into the request. May raise UnavailableError."""
        problems = await self._check(report_type, parameters, at_the_door=True)
        return problems + self.check_options(report_type, options)

    async def check(
        self, report_type: str, parameters: Mapping[str, Any], options: JobOptions = NO_OPTIONS
    ) -> list[FieldProblem]:
        """Return what is wrong with a job that was received. May raise UnavailableError."""
        problems = await self._check(report_type, parameters, at_the_door=False)
        return problems + self.check_options(report_type, options)

    def check_options(self, report_type: str, options: JobOptions) -> list[FieldProblem]:
        """Return which options the report type does not allow, or has no use for; none if there is no such type."""
        entry = self._types.known.get(report_type)
        return [] if entry is None or options == NO_OPTIONS else overrides.problems(entry.report, options)

    async def _check(self, report_type: str, parameters: Mapping[str, Any], *, at_the_door: bool) -> list[FieldProblem]:
        entry = self._types.known.get(report_type)
        if entry is None:
            known = ", ".join(self.names)
            return [FieldProblem("/reportType", f"there is no report type of this name; accepted: {known}")]
        if at_the_door and (problem := _too_long(entry.report.url, parameters)):
            return [FieldProblem("/parameters", f"{problem}; accepted: smaller parameters")]
        if entry.schema is None:
            return []
        # The quick check finds only whether something is wrong. To name what is wrong may take long.
        if entry.quick and len(text_of(parameters)) <= INLINE_BYTES and entry.quick.is_valid(value_of(parameters)):
            return []
        try:
            return await self._checker.problems(entry.schema_text, parameters, at_the_door=at_the_door)
        except TooCostlyError as error:
            return [error.of_parameters()]

    def with_defaults(self, job: Job) -> Job:
        """Return the job with the language and the zone of its report type where it names none."""
        entry = self._types.known.get(job.report_type)
        if entry is None:
            return job
        own, report = job.options, entry.report
        options = replace(own, locale=own.locale or report.locale, timezone=own.timezone or report.timezone)
        return job if options == own else replace(job, options=options)

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
        """Make the page to print. Raises FaultError, or UnavailableError."""
        entry = self._types.known.get(job.report_type)
        if entry is None:  # a reload has removed it since the job was checked
            raise FaultError(FaultKind.UNKNOWN_REPORT_TYPE, f"there is no report type {job.report_type} any more")
        report = entry.report
        options = overrides.applied(report, entry.options, job.options)
        context = TemplateContext(
            task_id=job.task_id,
            user_id=job.user_id,
            submitted_at=job.submitted_at,
            now=self._clock(),
            locale=options.locale,
            timezone=options.timezone,
        )
        options = await with_print_templates(
            options, entry.print_templates, job, report.timeout_seconds, context, self._checker
        )
        page = url = body = edition = None
        if entry.live is not None:
            edition = await entry.live.current()
            page = await self._checker.html(edition, job.parameters, report.timeout_seconds, context)
        else:
            if problem := _too_long(report.url, job.parameters):
                raise FaultError(FaultKind.URL_TOO_LONG, problem)
            # Escaping goes character by character, so large parameters would hold the event loop.
            text = text_of(job.parameters)
            large = len(text) > INLINE_BYTES
            url = await trio.to_thread.run_sync(_filled, report.url, job) if large else _filled(report.url, job)
            if report.method == "POST":
                make = form_body if report.body == "form" else json_body
                body = await trio.to_thread.run_sync(make, text) if large else make(text)
        return RenderRequest(
            task_id=job.task_id,
            report_type=job.report_type,
            rule=entry.rule,
            options=options,
            timeout_seconds=report.timeout_seconds,
            html=None if page is None else page.text,
            inert=page is not None and page.inert,
            url=url,
            isolation=entry.isolation,
            body=body,
            parameters=text_of(job.parameters) if options.inject else "{}",
            edition="" if edition is None else edition.hash,
            assets=entry.live.assets(edition) if entry.live and edition and page and page.refers else None,
        )


def _too_long(url: str, parameters: Mapping[str, Any]) -> str:
    return too_long(url_length(url, text_of(parameters))) if "{params}" in url else ""


def _filled(url: str, job: Job) -> str:
    if "{params}" in url:
        url = url.replace("{params}", quote(text_of(job.parameters), safe=""))
    return url.replace("{taskId}", job.task_id).replace("{userId}", job.user_id)

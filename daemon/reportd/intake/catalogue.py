"""The report types this daemon knows: checks what is submitted, and makes a render request out of a job.

They may be exchanged while jobs are under way. Each question is answered by one edition of them; what it has answered
stays as it was.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import trio

from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import FieldProblem, Submission, parse
from reportd.core.pages.network import NetworkRule, url_target
from reportd.intake.report_types import ReportTypes
from reportd.ports import INLINE_BYTES, Checker, RenderRequest, TooCostlyError


class Catalogue:
    """Answers by the edition that is in force."""

    def __init__(self, edition: ReportTypes, checker: Checker, callback_hosts: Iterable[str]) -> None:
        self._edition = edition
        self._checker = checker
        self._callback_rule = NetworkRule.of(callback_hosts)

    def exchange(self, edition: ReportTypes) -> None:
        """From now on these are the report types."""
        self._edition = edition

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
        """Parse a request body. Raises as ``submission.parse`` does, or TooCostlyError, or UnavailableError."""
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

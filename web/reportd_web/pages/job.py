"""``GET /jobs/{taskId}``: the page of one job; and the screenshots of its failed attempts."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState, sources
from reportd.intake.errors import NotFoundError
from reportd.intake.service import Service
from reportd.ports import Attempt, Audit, EvidenceStore, Record, UnavailableError
from reportd_web.api import reports
from reportd_web.http.problems import ProblemError
from reportd_web.pages.dashboard import reader_of
from reportd_web.pages.html import HEADERS, Pages, page
from reportd_web.security.access import Access

MAX_PARAMETERS = 8192
"""The most characters of the parameters that are shown: they may have megabytes."""

MAX_AUDIT_ENTRIES = 20

MAX_ATTEMPT = 2**31 - 1
"""The largest number that the database can be asked for."""

RELOAD_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a job's history."""

    at: float
    kind: str
    text: str
    detail: str = ""
    ended_at: float | None = None


def add_jobs(
    app: FastAPI, service: Service, audit: Audit, evidence: EvidenceStore, access: Access, pages: Pages
) -> None:
    async def job(request: Request) -> Response:
        try:
            task_id = await reports.own_task(service, request)
            record = await service.get(task_id)
            attempts = await service.attempts(task_id)
            entries = await audit.latest(MAX_AUDIT_ENTRIES, task_id)
            operates = access.may(request.scope, "GET", SCREENSHOT)
            kept = await evidence.of_job(task_id) if operates else []
        except (NotFoundError, UnavailableError) as error:
            unknown = isinstance(error, NotFoundError)
            status = HTTPStatus.NOT_FOUND if unknown else HTTPStatus.SERVICE_UNAVAILABLE
            return page(pages.refused(status, str(error), "/"), status)
        steps = [Step(entry.at, "soft", f"{entry.action.removeprefix('job.')} by {entry.actor}") for entry in entries]
        text = parameters_text(record.job.parameters)
        html = pages.job(
            time.time(),
            reader_of(request, access),
            job=record.view(),
            record=record,
            evidence=kept[::-1],
            options=list(_options(record.job.options)),
            steps=sorted([*_steps(record, attempts), *steps], key=lambda step: step.at),
            parameters=text[:MAX_PARAMETERS],
            left_out=max(0, len(text) - MAX_PARAMETERS),
            may_cancel=record.state in sources(JobEvent.CANCELLED) and access.may(request.scope, "POST", CANCEL),
            may_retry=record.state in sources(JobEvent.REVIVED) and access.may(request.scope, "POST", RETRY),
            again=None if record.state in TERMINAL else RELOAD_SECONDS,
        )
        return page(html)

    async def screenshot(request: Request) -> Response:
        task_id, attempt = str(request.path_params["taskId"]), request.path_params["attempt"]
        jpeg = await evidence.screenshot(task_id, attempt) if attempt <= MAX_ATTEMPT else None
        if jpeg is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "there is no screenshot of this attempt")
        return Response(jpeg, headers=HEADERS, media_type="image/jpeg")

    reports.add_calls(app, "/jobs/{taskId:uuid}", {"GET": job})
    reports.add_calls(app, "/jobs/{taskId:uuid}/evidence/{attempt:int}.jpg", {"GET": screenshot})


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Return the parameters as indented JSON; as one line when they are too long to be shown whole."""
    text = text_of(parameters)
    if len(text) > MAX_PARAMETERS:
        return text
    return orjson.dumps(value_of(parameters), option=orjson.OPT_INDENT_2).decode()


SCREENSHOT = "/jobs/{taskId}/evidence/{attempt}.jpg"
CANCEL = "/jobs/{taskId}/cancel"
RETRY = "/jobs/{taskId}/retry"


def _options(options: JobOptions) -> Iterator[tuple[str, str]]:
    """Yield name and value of what the job says for itself."""
    for name, value in options.fields().items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", orjson.dumps(each).decode()) for key, each in value.items())
        else:
            yield name, value


def _steps(record: Record, attempts: list[Attempt]) -> list[Step]:
    steps = [Step(record.job.submitted_at, "", "submitted")]
    steps += [_attempt(attempt, record.state) for attempt in attempts]
    if record.finished_at is not None:
        steps.append(Step(record.finished_at, _LEVELS.get(record.state, ""), str(record.state).replace("_", " ")))
    return steps


def _attempt(attempt: Attempt, state: JobState) -> Step:
    if attempt.outcome is not None:
        outcome = attempt.outcome.replace("_", " ")
    else:
        outcome = "under way" if state is JobState.RUNNING else "no result was recorded"
    level = "good" if attempt.outcome == JobEvent.SUCCEEDED else "bad" if attempt.detail else "watch"
    text = f"attempt {attempt.number} on {attempt.node}: {outcome}"
    return Step(attempt.started_at, level, text, attempt.detail, attempt.finished_at)


_LEVELS = {JobState.SUCCEEDED: "good", JobState.QUARANTINED: "bad", JobState.CANCELLED: "soft"}

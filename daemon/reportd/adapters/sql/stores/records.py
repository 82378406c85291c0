"""Converts between the job store's rows and the values of ``ports``."""

import re
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import orjson
from sqlalchemy import Row

from reportd.adapters.sql.text import storable
from reportd.core.faults import Fault, stored_fault
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import NO_OPTIONS, JobOptions, options_of
from reportd.core.jobs.parameters import Parameters, text_of
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobState
from reportd.core.jobs.warnings import JobWarning
from reportd.ports import Attempt, PdfInfo, Record

MAX_DETAIL = 2000

_WARNING = frozenset(field.name for field in fields(JobWarning))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def new_row(job: Job) -> dict[str, Any]:
    """Return the row of a new job, without the columns about its message."""
    return {
        "task_id": job.task_id,
        "report_type": job.report_type,
        "user_id": job.user_id,
        "parameters": text_of(job.parameters),
        "callback_url": job.callback_url,
        "options": _options_text(job.options),
        "state": JobState.QUEUED,
        "submitted_at": job.submitted_at,
    }


def record(row: Row[Any]) -> Record:
    error = stored_fault(row.error_kind, row.error_detail or "") if row.error_kind else None
    pdf = None if row.pdf_bytes is None else PdfInfo(row.pdf_bytes, row.pdf_sha256, row.pdf_purged)
    return Record(
        job=Job(
            row.task_id,
            row.report_type,
            Parameters(row.parameters),
            row.user_id,
            row.submitted_at,
            row.callback_url,
            options_of(orjson.loads(row.options)) if row.options else NO_OPTIONS,
        ),
        state=JobState(row.state),
        tally=Tally(row.attempts, row.deferrals, row.losses, row.node_losses, row.unharmed),
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=error,
        pdf=pdf,
        warnings=_warnings(row.warnings),
        # An older node leaves it in the row when it ends an attempt.
        progress=row.progress if row.state == JobState.RUNNING else None,
        edition=row.edition or "",
        confirmed=row.confirmed,
        due_at=row.due_at,
    )


def _options_text(options: JobOptions) -> str | None:
    given = options.fields()
    return orjson.dumps(given).decode() if given else None


def attempt(row: Row[Any]) -> Attempt:
    return Attempt(row.number, row.node, row.started_at, row.finished_at, row.outcome, row.detail)


def tally_columns(tally: Tally) -> dict[str, Any]:
    """Return a tally's columns; ``uncounted`` is the column ``unharmed``."""
    columns = asdict(tally)
    columns["unharmed"] = columns.pop("uncounted")
    return columns


def error_columns(fault: Fault | None) -> dict[str, Any]:
    return {
        "error_kind": fault and fault.kind,
        "error_detail": fault and detail(fault),
    }


def warnings_column(warnings: Sequence[JobWarning]) -> dict[str, Any]:
    lines = [replace(one, what=_line(one.what), why=_line(one.why)) for one in warnings]
    return {"warnings": orjson.dumps(lines).decode() if lines else None}


def _line(text: str) -> str:
    """Replace control characters by blanks: JSON takes six bytes for each, which makes a list of jobs slow to write."""
    return storable(_CONTROL.sub(" ", text))


def _warnings(column: str | None) -> tuple[JobWarning, ...]:
    if column is None:
        return ()
    # A newer node may have written more than this one knows.
    return tuple(
        JobWarning(**{name: value for name, value in warning.items() if name in _WARNING})
        for warning in orjson.loads(column)
    )


def detail(fault: Fault) -> str:
    return storable(fault.detail[:MAX_DETAIL])

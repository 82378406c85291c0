"""Jobs for the suites, and the ways that lead them into every state."""

import uuid
from typing import Any

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import AttemptStarted, Jobs, PdfInfo, Record, Settlement

NOON = 1_750_000_000.0
TIMEOUT = Fault(FaultKind.TIMEOUT, "the page took longer than 60 s")
CRASH = Fault(FaultKind.BROWSER_LOST, "its browser died")
PDF = PdfInfo(size_bytes=3_000_000_000, sha256="ab" * 32)


def a_job(**fields: Any) -> Job:
    values: dict[str, Any] = {
        "task_id": str(uuid.uuid4()),
        "report_type": "sales",
        "parameters": {"rows": [{"product": "čaj 茶", "price": 12.5}], "title": None},
        "user_id": str(uuid.uuid4()),
        "submitted_at": NOON,
    }
    return Job(**values | fields)


async def started(jobs: Jobs, job: Job, node: str = "node-1", at: float = NOON + 1) -> AttemptStarted:
    outcome = await jobs.start(job, node, at)
    assert isinstance(outcome, AttemptStarted)
    return outcome


async def settled(jobs: Jobs, job: Job, event: JobEvent, **fields: Any) -> JobState | None:
    return await jobs.settle(Settlement(job.task_id, event, fields.pop("at", NOON + 2), **fields))


async def recorded(jobs: Jobs, job: Job) -> Record:
    record = await jobs.get(job.task_id)
    assert record is not None
    return record


async def bring(jobs: Jobs, job: Job, state: JobState) -> AttemptStarted | None:
    """Lead a new job into a state; the attempt that is open there, or was the last."""
    await jobs.add([job])
    if state is JobState.QUEUED:
        return None
    if state is JobState.CANCELLED:
        await settled(jobs, job, JobEvent.CANCELLED)
        return None
    start = await started(jobs, job)
    if state is JobState.SUCCEEDED:
        await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF)
    elif state is not JobState.RUNNING:
        await settled(jobs, job, JobEvent.DEAD_LETTERED, attempt_id=start.attempt_id, fault=TIMEOUT)
        if state is JobState.QUARANTINED:
            await settled(jobs, job, JobEvent.QUARANTINED, fault=TIMEOUT)
    assert (await recorded(jobs, job)).state is state
    return start

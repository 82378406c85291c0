"""Every job store: how far the running attempt of a job is."""

import pytest
from sqlalchemy import update

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.schema import jobs as table
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import JobFilter, Jobs
from tests.contract.jobs.jobs_lab import NOON, PDF, TIMEOUT, a_job, bring, recorded, settled, started


async def test_a_running_job_has_the_progress_that_was_reported_last(jobs: Jobs) -> None:
    first, second, silent = a_job(), a_job(), a_job()
    for job in (first, second, silent):
        await started(jobs, job)
    await jobs.report_progress({first.task_id: 0.25, second.task_id: 1.0})
    await jobs.report_progress({first.task_id: 0.5})
    await jobs.report_progress({})
    found = [(await recorded(jobs, job)).progress for job in (first, second, silent)]
    assert found == [0.5, 1.0, None]
    listed = {record.job.task_id: record.view().progress for record in await jobs.search(JobFilter(), 10)}
    assert listed == {first.task_id: 0.5, second.task_id: 1.0, silent.task_id: None}


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.RUNNING}))
async def test_a_job_that_does_not_run_has_no_progress(jobs: Jobs, state: JobState) -> None:
    job = a_job()
    await bring(jobs, job, state)
    before = await recorded(jobs, job)
    await jobs.report_progress({job.task_id: 0.5, a_job().task_id: 0.5})
    assert await recorded(jobs, job) == before


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (JobEvent.SUCCEEDED, {"pdf": PDF}),
        (JobEvent.RETRIED, {"fault": TIMEOUT}),
        (JobEvent.RELEASED, {"counted": False}),
        (JobEvent.DEAD_LETTERED, {"fault": TIMEOUT}),
        (JobEvent.CANCELLED, {}),
    ],
)
async def test_the_end_of_an_attempt_removes_its_progress(
    jobs: Jobs, event: JobEvent, fields: dict[str, object]
) -> None:
    job = a_job()
    start = await started(jobs, job)
    await jobs.report_progress({job.task_id: 0.5})
    await settled(jobs, job, event, attempt_id=start.attempt_id, **fields)
    assert (await recorded(jobs, job)).progress is None


async def test_an_attempt_does_not_begin_with_the_progress_of_one_whose_node_died(jobs: Jobs) -> None:
    job = a_job()
    await started(jobs, job)
    await jobs.report_progress({job.task_id: 0.5})
    again = await started(jobs, job, "node-2", NOON + 60)
    assert again.record.progress is None
    assert await recorded(jobs, job) == again.record


async def test_an_attempt_that_an_older_node_ended_has_no_progress(database_url: str) -> None:
    """It does not know the column, and during an upgrade both are on one database."""
    job = a_job()
    async with open_database(database_url) as database:
        jobs = SqlJobs(database)
        await started(jobs, job)
        await jobs.report_progress({job.task_id: 0.5})
        older = update(table).where(table.c.task_id == job.task_id).values(state=JobState.QUEUED)
        await database.write(lambda connection: connection.execute(older).rowcount)
        assert (await recorded(jobs, job)).progress is None
        assert [record.progress for record in await jobs.search(JobFilter(), 10)] == [None]

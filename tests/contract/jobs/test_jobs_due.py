"""What is overdue: until when something must be heard of a job's message, and what puts that off."""

from sqlalchemy import update

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.schema import jobs as table
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import UNCONFIRMED_SECONDS, Jobs
from tests.contract.jobs.jobs_lab import CRASH, PDF, TIMEOUT, a_job, bring, recorded, settled, started

SILENT = 90.0
"""Seconds that nothing may be heard of a message that is not put off."""


async def due_within(jobs: Jobs, seconds: float, *, confirmed: bool = True) -> set[str]:
    return {record.job.task_id for record in await jobs.overdue(100, confirmed=confirmed, overdue_seconds=-seconds)}


async def test_what_was_added_is_due_soon_and_once_confirmed_later(jobs: Jobs) -> None:
    job = a_job()
    (added,) = await jobs.add([job])
    assert not await due_within(jobs, UNCONFIRMED_SECONDS - 5, confirmed=False)
    assert await due_within(jobs, UNCONFIRMED_SECONDS + 5, confirmed=False) == {job.task_id}
    assert not await due_within(jobs, 1e6)
    await jobs.confirm([job.task_id])
    assert not await due_within(jobs, 1e6, confirmed=False)
    assert not await due_within(jobs, SILENT - 10)
    assert await due_within(jobs, SILENT + 10) == {job.task_id}
    assert (await recorded(jobs, job)).due_at > (await jobs.add([job]))[0].due_at - 1 > added.due_at


async def test_a_producers_own_message_is_due_as_any_other(jobs: Jobs) -> None:
    job = a_job()
    await started(jobs, job)
    assert not await due_within(jobs, SILENT - 10)
    assert await due_within(jobs, SILENT + 10) == {job.task_id}


async def test_a_job_that_is_put_off_is_due_when_that_is_over(jobs: Jobs) -> None:
    deferred, retried = a_job(), a_job()
    await jobs.add([deferred])
    await jobs.confirm([deferred.task_id])
    await settled(jobs, deferred, JobEvent.DEFERRED, counted=False, deferred_seconds=300.0)
    start = await started(jobs, retried)
    await settled(jobs, retried, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=TIMEOUT, deferred_seconds=60.0)
    assert not await due_within(jobs, SILENT + 50)
    assert await due_within(jobs, SILENT + 70) == {retried.task_id}
    assert not await due_within(jobs, SILENT + 290) - {retried.task_id}
    assert await due_within(jobs, SILENT + 310) == {retried.task_id, deferred.task_id}


async def test_a_late_confirmation_brings_nothing_forward(jobs: Jobs) -> None:
    """The message was received and put off before its sender noted that the queue has it."""
    job = a_job()
    await jobs.add([job])
    await settled(jobs, job, JobEvent.DEFERRED, counted=False, deferred_seconds=300.0)
    await jobs.confirm([job.task_id])
    assert not await due_within(jobs, SILENT + 290)
    assert await due_within(jobs, SILENT + 310) == {job.task_id}


async def test_what_is_held_is_renewed(jobs: Jobs) -> None:
    running, waiting, ended = a_job(), a_job(), a_job()
    await bring(jobs, running, JobState.RUNNING)
    await bring(jobs, waiting, JobState.QUEUED)
    await bring(jobs, ended, JobState.SUCCEEDED)
    await jobs.renew([job.task_id for job in (running, waiting, ended)] + ["a receipt"])
    await jobs.renew([])
    assert await due_within(jobs, SILENT + 10) == {running.task_id}
    assert not await due_within(jobs, SILENT - 10, confirmed=False)
    assert await due_within(jobs, SILENT + 10, confirmed=False) == {waiting.task_id}


async def test_only_jobs_under_way_are_overdue(jobs: Jobs) -> None:
    made = {state: a_job() for state in JobState}
    for state, job in made.items():
        await bring(jobs, job, state)
    await jobs.confirm([job.task_id for job in made.values()])
    assert await due_within(jobs, 1e6) == {made[JobState.QUEUED].task_id, made[JobState.RUNNING].task_id}


async def test_the_longest_due_come_first(jobs: Jobs) -> None:
    made = [a_job() for _ in range(3)]
    for number, job in enumerate(made):
        await jobs.add([job])
        await jobs.confirm([job.task_id])
        await settled(jobs, job, JobEvent.DEFERRED, counted=False, deferred_seconds=100.0 * (3 - number))
    found = await jobs.overdue(2, confirmed=True, overdue_seconds=-1e6)
    assert [record.job for record in found] == [made[2], made[1]]


async def test_what_goes_back_is_unconfirmed_and_due_soon(jobs: Jobs) -> None:
    job = a_job()
    await bring(jobs, job, JobState.QUARANTINED)
    await jobs.revive(job.task_id)
    assert not await due_within(jobs, UNCONFIRMED_SECONDS - 5, confirmed=False)
    assert await due_within(jobs, UNCONFIRMED_SECONDS + 5, confirmed=False) == {job.task_id}


async def test_an_end_is_an_end(jobs: Jobs) -> None:
    job = a_job()
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=CRASH)
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF)
    assert not await due_within(jobs, 1e9)


async def test_what_an_older_node_has_written_is_due_but_not_for_long(database_url: str) -> None:
    """It knows no due time."""
    job = a_job()
    async with open_database(database_url) as database:
        jobs = SqlJobs(database)
        await jobs.add([job])
        await jobs.confirm([job.task_id])
        await database.write(lambda connection: connection.execute(update(table).values(due_at=0.0)).rowcount)
        assert [record.job for record in await jobs.overdue(10, confirmed=True)] == [job]
        assert not await jobs.overdue(10, confirmed=True, overdue_seconds=3600.0)


async def test_report_types_are_left_out(jobs: Jobs) -> None:
    one, other = a_job(), a_job(report_type="other")
    await jobs.add([one, other])
    await jobs.confirm([one.task_id, other.task_id])
    found = await jobs.overdue(10, confirmed=True, overdue_seconds=-1e6, but=["other", "third"])
    assert [record.job for record in found] == [one]


async def test_those_whose_message_was_sent_are_counted(jobs: Jobs) -> None:
    made = {state: a_job() for state in JobState}
    for state, job in made.items():
        await bring(jobs, job, state)
    assert await jobs.sent() == 1  # what runs has a message
    await jobs.confirm([job.task_id for job in made.values()])
    assert await jobs.sent() == 2

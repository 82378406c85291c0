"""Every job store: what is missing from a job's PDF."""

from sqlalchemy import update

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.schema import jobs as table
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import JobFilter, Jobs
from tests.contract.jobs.jobs_lab import PDF, TIMEOUT, a_job, bring, recorded, settled, started

WARNINGS = (
    JobWarning(WarningKind.RESOURCES, "https://cdn.internal/logo.png", "404", 3),
    JobWarning(WarningKind.GLYPHS, "茶 ☑", "no font has them"),
    JobWarning(WarningKind.RESOURCES, "https://other.example/", "host not allowed", refused=True),
)


async def test_a_success_is_recorded_with_its_warnings_in_their_order(jobs: Jobs) -> None:
    job, other = a_job(), a_job()
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF, warnings=WARNINGS)
    await bring(jobs, other, JobState.SUCCEEDED)
    assert (await recorded(jobs, job)).warnings == WARNINGS
    assert (await recorded(jobs, other)).warnings == ()
    listed = {record.job.task_id: record.warnings for record in await jobs.search(JobFilter(), 10)}
    assert listed == {job.task_id: WARNINGS, other.task_id: ()}


async def test_a_success_replaces_the_warnings_of_an_earlier_attempt(jobs: Jobs) -> None:
    for last in (WARNINGS[:1], ()):
        job = a_job()
        first = await started(jobs, job)
        event, fields = JobEvent.RETRIED, {"fault": TIMEOUT, "warnings": WARNINGS}
        await settled(jobs, job, event, attempt_id=first.attempt_id, **fields)
        assert (await recorded(jobs, job)).warnings == WARNINGS
        second = await started(jobs, job)
        await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=second.attempt_id, pdf=PDF, warnings=last)
        assert (await recorded(jobs, job)).warnings == last


async def test_a_revived_job_has_no_warnings(jobs: Jobs) -> None:
    job = a_job()
    start = await started(jobs, job)
    fields = {"attempt_id": start.attempt_id, "fault": TIMEOUT, "warnings": WARNINGS}
    await settled(jobs, job, JobEvent.DEAD_LETTERED, **fields)
    await settled(jobs, job, JobEvent.QUARANTINED, fault=TIMEOUT)
    assert (await recorded(jobs, job)).warnings == WARNINGS
    revived = await jobs.revive(job.task_id)
    assert revived is not None
    assert revived.warnings == (await recorded(jobs, job)).warnings == ()


async def test_any_text_of_a_warning_is_kept_in_one_line(jobs: Jobs) -> None:
    """Pages write what they like: NUL, halves of surrogate pairs, quotes."""
    job = a_job()
    start = await started(jobs, job)
    odd = JobWarning(WarningKind.SCRIPTS, "before \0 \x1b\r\n \ud800 é 後 'x'; -- \"", "\udfff, line 7")
    await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF, warnings=(odd,))
    [kept] = (await recorded(jobs, job)).warnings
    assert kept.what.startswith("before ")
    assert kept.what.endswith(" é 後 'x'; -- \"")
    assert not set(kept.what) & set("\0\x1b\r\n")
    assert kept.why.endswith(", line 7")


async def test_what_a_newer_node_has_written_is_shown_and_fails_no_list(database_url: str) -> None:
    """During an upgrade both are on one database."""
    job, other = a_job(), a_job()
    columns = {
        "warnings": '[{"kind": "ink", "what": "magenta", "why": "empty", "count": 2, "shade": 7}]',
        "error_kind": "out_of_ink",
        "error_detail": "no magenta",
        "options": '{"locale": "de", "ink": "magenta"}',
    }
    async with open_database(database_url) as database:
        jobs = SqlJobs(database)
        await jobs.add([job, other])
        newer = update(table).where(table.c.task_id == job.task_id).values(columns)
        await database.write(lambda connection: connection.execute(newer).rowcount)
        listed = {record.job.task_id: record for record in await jobs.search(JobFilter(), 10)}
        whole = await recorded(jobs, job)
    assert set(listed) == {job.task_id, other.task_id}
    for record in (whole, listed[job.task_id]):
        assert record.warnings == (JobWarning("ink", "magenta", "empty", 2),)
        assert record.error == Fault(FaultKind.INTERNAL, "out_of_ink: no magenta")
    assert whole.job.options == JobOptions(locale="de")

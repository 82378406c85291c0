"""Every job store: which edition of its template a job was rendered by."""

from reportd.core.jobs.transitions import JobEvent
from reportd.ports import Jobs
from tests.contract.jobs.jobs_lab import PDF, TIMEOUT, a_job, recorded, settled, started


async def test_a_job_has_the_edition_of_the_attempt_that_was_rendered_last(jobs: Jobs) -> None:
    job = a_job()
    start = await started(jobs, job)
    assert (await recorded(jobs, job)).edition == ""
    await settled(jobs, job, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=TIMEOUT, edition="0123456789ab")
    assert (await recorded(jobs, job)).edition == "0123456789ab"
    # The next one has not come so far.
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=TIMEOUT)
    assert (await recorded(jobs, job)).edition == "0123456789ab"
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF, edition="ba9876543210")
    assert (await recorded(jobs, job)).edition == "ba9876543210"

"""Every job store: jobs are added once, confirmed, forgotten while nobody has them, found, and listed."""

from dataclasses import replace

import pytest

from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.status.snapshot import Load
from reportd.ports import JobFilter, Jobs
from tests.contract.jobs.jobs_lab import CRASH, NOON, PDF, TIMEOUT, a_job, bring, recorded, settled, started

OPTIONS = JobOptions("zh-Hant-TW", "Asia/Taipei", "報告 'ž'.pdf", {"landscape": True, "scale": 0.5})


async def test_a_new_job_is_queued_and_unconfirmed(jobs: Jobs) -> None:
    job = a_job(callback_url="https://example.org/hook?a=ž", options=OPTIONS)
    [record] = await jobs.add([job])
    assert record == await recorded(jobs, job)
    assert (record.job, record.state, record.tally, record.confirmed) == (job, JobState.QUEUED, Tally(), False)
    assert (record.started_at, record.finished_at, record.error, record.pdf) == (None, None, None, None)


async def test_adding_again_changes_nothing_and_answers_what_is_there(jobs: Jobs) -> None:
    first = a_job()
    await jobs.add([first])
    await jobs.confirm([first.task_id])
    start = await started(jobs, first)
    again = a_job(task_id=first.task_id, parameters={"other": True}, submitted_at=NOON + 100)
    new = a_job()
    records = await jobs.add([new, again, new])
    assert [record.job for record in records] == [new, first, new]
    assert records[1] == start.record == await recorded(jobs, first)
    assert records[0].state is JobState.QUEUED


async def test_empty_batches_do_nothing(jobs: Jobs) -> None:
    assert await jobs.add([]) == []
    await jobs.confirm([])
    await jobs.discard([])
    await jobs.purge([])
    assert sum((await jobs.counts()).values()) == 0


async def test_what_is_not_there_is_none(jobs: Jobs) -> None:
    job = a_job()
    assert await jobs.get(job.task_id) is None
    assert await jobs.attempts(job.task_id) == []
    assert await settled(jobs, job, JobEvent.CANCELLED) is None
    assert await jobs.revive(job.task_id) is None
    await jobs.confirm([job.task_id])
    await jobs.discard([job.task_id])
    await jobs.purge([job.task_id])
    assert await jobs.get(job.task_id) is None


async def test_a_start_confirms(jobs: Jobs) -> None:
    """The message was received, so the queue has had it."""
    job = a_job()
    await jobs.add([job])
    start = await started(jobs, job)
    await settled(jobs, job, JobEvent.RELEASED, attempt_id=start.attempt_id, counted=False)
    assert (await recorded(jobs, job)).confirmed
    assert await jobs.overdue(10, confirmed=False, overdue_seconds=-1000) == []


async def test_only_what_the_queue_never_took_is_discarded(jobs: Jobs) -> None:
    unsent, confirmed, cancelled = a_job(), a_job(), a_job()
    released = a_job()
    await jobs.add([unsent, confirmed, cancelled, released])
    await jobs.confirm([confirmed.task_id])
    await settled(jobs, cancelled, JobEvent.CANCELLED)
    start = await started(jobs, released)
    await settled(jobs, released, JobEvent.RELEASED, attempt_id=start.attempt_id, counted=False)
    await jobs.discard([job.task_id for job in (unsent, confirmed, cancelled, released)])
    assert await jobs.get(unsent.task_id) is None
    for kept in (confirmed, cancelled, released):
        assert await jobs.get(kept.task_id) is not None


async def test_a_revived_job_is_not_discarded(jobs: Jobs) -> None:
    job = a_job()
    await bring(jobs, job, JobState.QUARANTINED)
    await jobs.revive(job.task_id)
    await jobs.discard([job.task_id])
    assert (await recorded(jobs, job)).state is JobState.QUEUED


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_are_newest_first_and_complete_under_equal_times(jobs: Jobs, limit: int) -> None:
    """Whatever is added in the meantime."""
    older = [a_job(submitted_at=NOON) for _ in range(5)]
    newer = [a_job(submitted_at=NOON + 0.25) for _ in range(4)]
    await jobs.add(older + newer)
    seen: list[str] = []
    before = None
    while page := await jobs.search(JobFilter(), limit, before):
        assert len(page) <= limit
        seen += [record.job.task_id for record in page]
        before = (page[-1].job.submitted_at, page[-1].job.task_id)
        await jobs.add([a_job(submitted_at=NOON + 100)])
    expected = sorted(older + newer, key=lambda job: (job.submitted_at, job.task_id), reverse=True)
    assert seen[-9:] == [job.task_id for job in expected]
    assert len(seen) == 9


async def test_a_search_brings_no_parameters(jobs: Jobs) -> None:
    """They may be a megabyte each, and who lists jobs does not look at them; the options lie behind them."""
    one = replace(a_job(), parameters={"rows": [1]}, options=OPTIONS)
    await jobs.add([one])
    (found,) = await jobs.search(JobFilter(), 10)
    assert found.job == replace(one, parameters={}, options=JobOptions())
    record = await jobs.get(one.task_id)
    assert record is not None
    assert record.job == one


async def test_a_search_filters_by_all_that_is_wanted(jobs: Jobs) -> None:
    mine = a_job(report_type="sales")
    others = [a_job(report_type="sales"), a_job(report_type="stock", user_id=mine.user_id)]
    await jobs.add([mine, *others])
    await settled(jobs, others[1], JobEvent.CANCELLED)

    async def found(**wanted: object) -> set[str]:
        return {record.job.task_id for record in await jobs.search(JobFilter(**wanted), 10)}  # type: ignore[arg-type]

    assert await found() == {mine.task_id, others[0].task_id, others[1].task_id}
    assert await found(user_id=mine.user_id) == {mine.task_id, others[1].task_id}
    assert await found(report_type="sales") == {mine.task_id, others[0].task_id}
    assert await found(state=JobState.CANCELLED) == {others[1].task_id}
    assert await found(state=JobState.QUEUED, report_type="sales", user_id=mine.user_id) == {mine.task_id}
    assert await found(state=JobState.QUEUED, report_type="stock") == set()


async def test_counts_tell_every_state(jobs: Jobs) -> None:
    assert await jobs.counts() == dict.fromkeys(JobState, 0)
    for number, state in enumerate(JobState, 1):
        for _ in range(number):
            await bring(jobs, a_job(), state)
    assert await jobs.counts() == {state: number for number, state in enumerate(JobState, 1)}


async def test_what_retention_removes(jobs: Jobs) -> None:
    first, second, young = (a_job() for _ in range(3))
    for job, at in ((second, NOON + 20), (first, NOON + 10), (young, NOON + 50)):
        start = await started(jobs, job)
        await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF, at=at)
    await bring(jobs, a_job(), JobState.QUARANTINED)
    await bring(jobs, a_job(), JobState.CANCELLED)
    assert await jobs.expired(NOON + 50, 10) == [first.task_id, second.task_id]
    assert await jobs.expired(NOON + 50, 1) == [first.task_id]
    await jobs.purge([first.task_id])
    assert await jobs.expired(NOON + 50, 10) == [second.task_id]
    purged, kept = await recorded(jobs, first), await recorded(jobs, second)
    assert purged.pdf is not None
    assert (purged.state, purged.pdf.purged) == (JobState.SUCCEEDED, True)
    assert kept.pdf == PDF


async def test_any_text_of_a_fault_is_kept(jobs: Jobs) -> None:
    """Pages write what they like: NUL, halves of surrogate pairs, megabytes."""
    job = a_job()
    start = await started(jobs, job)
    fault = type(TIMEOUT)(TIMEOUT.kind, "before \0 \ud800 é 後 after " + "x" * 100_000)
    await settled(jobs, job, JobEvent.DEAD_LETTERED, attempt_id=start.attempt_id, fault=fault)
    error = (await recorded(jobs, job)).error
    assert error is not None
    assert error.kind is TIMEOUT.kind
    assert error.detail.startswith("before ")
    assert " é 後 after xxx" in error.detail
    assert len(error.detail) < 10_000
    [attempt] = await jobs.attempts(job.task_id)
    assert attempt.detail == error.detail


async def test_a_page_fault_of_each_kind_is_read_back(jobs: Jobs) -> None:
    for fault in (TIMEOUT, CRASH):
        job = a_job()
        start = await started(jobs, job)
        await settled(jobs, job, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=fault)
        assert (await recorded(jobs, job)).error == fault


async def test_loads_are_what_waits_and_runs_by_type(jobs: Jobs) -> None:
    assert await jobs.loads() == {}
    for number, state in enumerate(JobState, 1):
        for _ in range(number):
            await bring(jobs, a_job(report_type="sales", submitted_at=NOON + number), state)
    retried = a_job(report_type="other", submitted_at=NOON + 5)
    start = await started(jobs, retried)
    await settled(jobs, retried, JobEvent.RETRIED, attempt_id=start.attempt_id, fault=TIMEOUT)
    await jobs.add([a_job(report_type="other", submitted_at=NOON + 9)])
    await bring(jobs, a_job(report_type="third"), JobState.RUNNING)
    assert await jobs.loads() == {
        "sales": Load(waiting=1, untried=1, running=2, oldest_at=NOON + 1),
        "other": Load(waiting=2, untried=1, running=0, oldest_at=NOON + 5),
        "third": Load(running=1),
    }


async def test_waiting_is_what_is_queued_by_type_and_user(jobs: Jobs) -> None:
    assert await jobs.waiting() == {}
    for number, state in enumerate(JobState, 1):
        for _ in range(number):
            await bring(jobs, a_job(report_type="sales", submitted_at=NOON + number), state)
    ann, ben = a_job(report_type="sales"), a_job(report_type="other")
    await jobs.add([ann, ben, replace(a_job(report_type="sales"), user_id=ben.user_id)])
    await jobs.add([replace(a_job(report_type="sales"), user_id=ben.user_id)])
    found = await jobs.waiting()
    assert found.pop(("sales", ann.user_id)) == 1
    assert (found.pop(("sales", ben.user_id)), found.pop(("other", ben.user_id))) == (2, 1)
    assert list(found.values()) == [1], "what was brought there"

"""The outbox: one entry for each end of a job that has a callback, claimed by one node at a time."""

import pytest
import trio
from sqlalchemy import Connection, event

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import Callback, DeliveryOutcome
from tests.contract.jobs.jobs_lab import NOON, PDF, TIMEOUT, a_job, bring, settled, started
from tests.contract.records.outbox_lab import URL, OutboxLab, listening
from tests.fakes.outbox import state_of

LEASE = 60.0


def called_back(**fields: object) -> Job:
    return a_job(**{"callback_url": URL, **fields})


async def claimed(told: OutboxLab, limit: int = 100) -> list[Callback]:
    callbacks, _ = await told.outbox.claim(limit, LEASE)
    return callbacks


# --- what is entered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.QUARANTINED, JobState.CANCELLED])
async def test_each_end_is_entered_once(told: OutboxLab, state: JobState) -> None:
    count, job = listening(told.outbox), called_back()
    await bring(told.jobs, job, state)
    assert count() == 1
    (callback,) = await claimed(told)
    assert (callback.task_id, callback.url, callback.host) == (job.task_id, URL, "app.example:443")
    assert (callback.body, callback.attempts, callback.error) == (state.encode(), 1, "")
    assert callback.created_at == NOON + 2
    assert not await claimed(told)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.DEAD_LETTERED])
async def test_what_has_not_ended_is_not(told: OutboxLab, state: JobState) -> None:
    count = listening(told.outbox)
    await bring(told.jobs, called_back(), state)
    assert count() == 0
    assert await told.outbox.claim(1, LEASE) == ([], None)


async def test_a_job_without_a_callback_is_not(told: OutboxLab) -> None:
    await bring(told.jobs, a_job(), JobState.SUCCEEDED)
    assert await told.outbox.claim(1, LEASE) == ([], None)


async def test_a_report_type_may_have_one_for_jobs_that_name_none(told: OutboxLab) -> None:
    for job in (a_job(report_type="quarterly"), called_back(report_type="quarterly")):
        await bring(told.jobs, job, JobState.SUCCEEDED)
    hosts = [callback.host for callback in await claimed(told)]
    assert sorted(hosts) == ["app.example:443", "default.example:8443"]


async def test_an_end_that_is_told_twice_is_entered_once(told: OutboxLab) -> None:
    """A message that is delivered again gives no second callback (I6)."""
    job = called_back()
    start = await bring(told.jobs, job, JobState.SUCCEEDED)
    assert start is not None
    assert await settled(told.jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF) is None
    assert len(await claimed(told)) == 1


async def test_a_revived_job_that_ends_again_is_entered_again(told: OutboxLab) -> None:
    job = called_back()
    await bring(told.jobs, job, JobState.QUARANTINED)
    await told.jobs.revive(job.task_id)
    start = await started(told.jobs, job)
    await settled(told.jobs, job, JobEvent.SUCCEEDED, at=NOON + 9, attempt_id=start.attempt_id, pdf=PDF)
    callbacks = await claimed(told)
    assert sorted(callback.body for callback in callbacks) == [b"quarantined", b"succeeded"]
    assert len({callback.callback_id for callback in callbacks}) == 2


async def test_what_leads_nowhere_is_entered_all_the_same(told: OutboxLab) -> None:
    """A producer of its own may have sent anything; the job must come to its end."""
    await bring(told.jobs, called_back(callback_url="no URL"), JobState.SUCCEEDED)
    (callback,) = await claimed(told)
    assert (callback.url, callback.host) == ("no URL", "")


# --- claims -------------------------------------------------------------------------------------------------


async def test_the_oldest_come_first_and_no_more_than_asked_for(told: OutboxLab) -> None:
    jobs = [called_back() for _ in range(3)]
    for job in jobs:
        await bring(told.jobs, job, JobState.SUCCEEDED)
        told.clock.advance(1)
    assert [callback.task_id for callback in await claimed(told, 2)] == [job.task_id for job in jobs[:2]]
    assert [callback.task_id for callback in await claimed(told, 2)] == [jobs[2].task_id]


async def test_what_is_claimed_is_nobody_elses(told: OutboxLab) -> None:
    for _ in range(20):
        await bring(told.jobs, called_back(), JobState.CANCELLED)
    taken: list[str] = []

    async def take(outbox_number: int) -> None:
        outbox = (told.outbox, told.other)[outbox_number % 2]
        for _ in range(5):
            callbacks, _ = await outbox.claim(3, LEASE)
            taken.extend(callback.callback_id for callback in callbacks)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(take, number)
    assert len(taken) == len(set(taken)) == 20


async def test_a_node_that_is_gone_is_followed_by_another(told: OutboxLab) -> None:
    await bring(told.jobs, called_back(), JobState.SUCCEEDED)
    (first,) = await claimed(told)
    assert await told.other.claim(1, LEASE) == ([], LEASE)
    told.clock.advance(LEASE)
    ((again,), _) = await told.other.claim(1, LEASE)
    assert (again.callback_id, again.body, again.attempts) == (first.callback_id, first.body, 2)
    assert not await told.outbox.settle(first, DeliveryOutcome.DELIVERED, ""), "its claim is over"
    assert await told.other.settle(again, DeliveryOutcome.DELIVERED, "")
    assert not await told.other.settle(again, None, "no"), "what is settled stays so"
    told.clock.advance(1e6)
    assert await told.outbox.claim(1, LEASE) == ([], None)


async def test_a_daemon_alone_need_not_wait_for_the_end_of_its_predecessors_leases(database_url: str) -> None:
    async with open_database(database_url) as database:
        outbox = SqlOutbox(database, state_of)
        await bring(SqlJobs(database, outbox), called_back(), JobState.SUCCEEDED)
        assert (await outbox.claim(1, LEASE))[0]
        await outbox.recover()
        callbacks, _ = await outbox.claim(1, LEASE)
        assert [callback.attempts for callback in callbacks] == ([2] if database.is_sqlite else [])


async def test_one_that_failed_is_due_again_after_its_delay(told: OutboxLab) -> None:
    await bring(told.jobs, called_back(), JobState.SUCCEEDED)
    (first,) = await claimed(told)
    assert await told.outbox.settle(first, None, "the receiver answers 503", 30.0)
    assert await told.other.claim(1, LEASE) == ([], 30.0)
    told.clock.advance(29.0)
    assert await told.outbox.claim(1, LEASE) == ([], 1.0)
    told.clock.advance(1.0)
    (again,) = await claimed(told)
    assert (again.callback_id, again.attempts, again.error) == (first.callback_id, 2, "the receiver answers 503")


async def test_hosts_can_be_left_out(told: OutboxLab) -> None:
    for url in ("https://busy.example/", "https://app.example/"):
        await bring(told.jobs, called_back(callback_url=url), JobState.SUCCEEDED)
    callbacks, _ = await told.outbox.claim(9, LEASE, ["busy.example:443"])
    assert [callback.host for callback in callbacks] == ["app.example:443"]
    assert await told.outbox.claim(9, LEASE, ["busy.example:443", "app.example:443"]) == ([], None)
    assert [callback.host for callback in await claimed(told)] == ["busy.example:443"]


# --- how far it has come ------------------------------------------------------------------------------------


async def test_what_became_of_it_can_be_asked(told: OutboxLab) -> None:
    job = called_back()
    await bring(told.jobs, job, JobState.QUARANTINED)
    assert await told.outbox.status(a_job()) is None
    status = await told.outbox.status(job)
    assert status is not None
    assert (status.outcome, status.attempts, status.next_at, status.error) == (None, 0, told.clock(), "")

    (callback,) = await claimed(told)
    status = await told.other.status(job)
    assert status is not None
    assert (status.attempts, status.next_at) == (1, None), "it is on its way"

    await told.outbox.settle(callback, None, "no \0 " + "answer" * 1000, 5.0)
    status = await told.other.status(job)
    assert status is not None
    assert (status.outcome, status.next_at) == (None, told.clock() + 5)
    assert len(status.error) == 500

    told.clock.advance(5)
    (callback,) = await claimed(told)
    await told.outbox.settle(callback, DeliveryOutcome.FAILED, "no answer")
    status = await told.outbox.status(job)
    assert status is not None
    assert (status.outcome, status.attempts, status.next_at, status.error) == (
        DeliveryOutcome.FAILED,
        2,
        None,
        "no answer",
    )


async def test_it_is_asked_of_the_last_end(told: OutboxLab) -> None:
    job = called_back()
    assert await told.outbox.status(job) is None
    await bring(told.jobs, job, JobState.QUARANTINED)
    (callback,) = await claimed(told)
    await told.outbox.settle(callback, DeliveryOutcome.DELIVERED, "")
    await told.jobs.revive(job.task_id)
    await settled(told.jobs, job, JobEvent.CANCELLED, at=NOON + 9)
    status = await told.outbox.status(job)
    assert status is not None
    assert (status.outcome, status.attempts) == (None, 0)


# --- what it costs ------------------------------------------------------------------------------------------


async def test_a_job_without_a_callback_costs_no_statement_more(database_url: str) -> None:
    costs: dict[str, list[str]] = {}

    async def end(name: str, *, outbox: bool, url: str | None) -> None:
        heard: list[str] = []

        def hear(_c: Connection, _k: object, statement: str, *_: object) -> None:
            heard.append(statement)

        async with open_database(database_url) as database:
            jobs = SqlJobs(database, SqlOutbox(database, state_of) if outbox else None)
            job = a_job(callback_url=url)
            start = await started(jobs, job)
            engine = database._writer
            event.listen(engine, "before_cursor_execute", hear)
            await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF)
            event.remove(engine, "before_cursor_execute", hear)
        costs[name] = heard

    await end("no outbox", outbox=False, url=None)
    await end("no callback", outbox=True, url=None)
    await end("callback", outbox=True, url=URL)
    assert costs["no callback"] == costs["no outbox"]
    assert any("INSERT INTO outbox" in statement for statement in costs["callback"])


async def test_what_can_not_be_entered_is_not_settled(database_url: str) -> None:
    """Both or neither: a job that has ended and whose end nobody will hear of must not be."""

    def broken(_: object) -> bytes:
        raise RuntimeError("on purpose")

    async with open_database(database_url) as database:
        jobs = SqlJobs(database, SqlOutbox(database, broken))
        job = called_back()
        await bring(jobs, job, JobState.DEAD_LETTERED)
        with pytest.raises(RuntimeError):
            await settled(jobs, job, JobEvent.QUARANTINED, fault=TIMEOUT)
        record = await jobs.get(job.task_id)
    assert record is not None
    assert record.state is JobState.DEAD_LETTERED

"""Every store of evidence: what is kept of failed attempts, and for how long."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.stores.evidence import SqlEvidence
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.jobs.evidence import Evidence
from reportd.ports import EvidenceStore, Jobs, StoredEvidence
from tests.contract.jobs.jobs_lab import a_job, started
from tests.fakes import MemoryJobs
from tests.fakes.evidence import MemoryEvidence

NOON = 1.8e9
FULL = Evidence(
    b"\xff\xd8\xff\0jpeg", ("log: čaj 茶 <b>", "error: half \ud800 and \0"), ("/logo.png answered 404",), "printing"
)
SEEN = ("log: čaj 茶 <b>", "error: half ? and \ufffd")


@dataclass
class Lab:
    store: EvidenceStore
    jobs: Jobs
    database: Database | None = None

    async def task(self) -> str:
        """A job that has been started."""
        job = a_job()
        await started(self.jobs, job)
        return job.task_id


@pytest.fixture
async def lab(store: str | MemoryJobs) -> AsyncIterator[Lab]:
    if isinstance(store, MemoryJobs):
        yield Lab(MemoryEvidence(), store)
        return
    async with open_database(store) as database:
        yield Lab(SqlEvidence(database), SqlJobs(database), database)


async def test_what_is_put_is_found_again_by_attempt(lab: Lab) -> None:
    task_id, other = await lab.task(), await lab.task()
    await lab.store.put(task_id, 2, NOON + 60, Evidence(activity="waiting"))
    await lab.store.put(task_id, 1, NOON, FULL)
    assert await lab.store.of_job(task_id) == [
        StoredEvidence(1, NOON, True, SEEN, ("/logo.png answered 404",), "printing"),
        StoredEvidence(2, NOON + 60, False, (), (), "waiting"),
    ]
    assert await lab.store.screenshot(task_id, 1) == FULL.screenshot
    assert await lab.store.screenshot(task_id, 2) is None
    assert await lab.store.screenshot(task_id, 3) is None
    assert await lab.store.screenshot(other, 1) is None
    assert await lab.store.of_job(other) == []


async def test_put_twice_is_put_once(lab: Lab) -> None:
    task_id = await lab.task()
    await lab.store.put(task_id, 1, NOON, FULL)
    await lab.store.put(task_id, 1, NOON + 1, Evidence(activity="later"))
    (kept,) = await lab.store.of_job(task_id)
    assert (kept.taken_at, kept.activity) == (NOON, "printing")


async def test_only_the_last_attempts_of_a_job_are_kept(lab: Lab) -> None:
    task_id, other = await lab.task(), await lab.task()
    await lab.store.put(other, 1, NOON, FULL)
    for number in (1, 2, 4, 5, 6):
        await lab.store.put(task_id, number, NOON + number, FULL)
    assert [kept.attempt for kept in await lab.store.of_job(task_id)] == [4, 5, 6]
    assert len(await lab.store.of_job(other)) == 1


async def test_what_is_old_goes(lab: Lab) -> None:
    task_id = await lab.task()
    for number in (1, 2, 3):
        await lab.store.put(task_id, number, NOON + number, FULL)
    assert await lab.store.purge(NOON + 2, keep=100) == 1
    assert [kept.attempt for kept in await lab.store.of_job(task_id)] == [2, 3]
    assert await lab.store.purge(NOON + 2, keep=100) == 0


async def test_of_too_many_the_newest_stay(lab: Lab) -> None:
    tasks = [await lab.task() for _ in range(5)]
    for number, task_id in enumerate(tasks):
        await lab.store.put(task_id, 1, NOON + number, FULL)
    assert await lab.store.purge(0.0, keep=5) == 0
    assert await lab.store.purge(0.0, keep=2) == 3
    assert [len(await lab.store.of_job(task_id)) for task_id in tasks] == [0, 0, 0, 1, 1]


async def test_it_goes_with_its_job(lab: Lab) -> None:
    if lab.database is None:
        pytest.skip("the fake of the job store deletes no job that was started")
    task_id, other = await lab.task(), await lab.task()
    for each in (task_id, other):
        await lab.store.put(each, 1, NOON, FULL)
    delete = text("DELETE FROM jobs WHERE task_id = :task")
    await lab.database.write(lambda connection: connection.execute(delete, {"task": task_id}).rowcount)
    assert await lab.store.of_job(task_id) == []
    assert len(await lab.store.of_job(other)) == 1

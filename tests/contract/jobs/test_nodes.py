"""Many nodes on one PostgreSQL: every job done once, nobody told that the database is away (I1, I6)."""

from collections import Counter
from contextlib import AsyncExitStack

import psycopg
import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.core.jobs.job import Job, from_message
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.intake.accept import Intake
from reportd.ports import AttemptStarted, JobFilter, Settlement
from tests.contract.jobs.jobs_lab import NOON, PDF, a_job, recorded

NODES, WORKERS, JOBS = 3, 4, 150


class Node:
    """One daemon's use of the database: it takes jobs in and works off what it can get."""

    def __init__(self, name: str, jobs: SqlJobs, queue: EmbeddedQueue, nursery: trio.Nursery) -> None:
        self.name = name
        self.jobs = jobs
        self.queue = queue
        self.intake = Intake(jobs, queue, nursery)

    async def submit(self, count: int) -> None:
        for start in range(0, count, 10):
            answers = await self.intake.accept([a_job() for _ in range(start, min(count, start + 10))])
            assert not [answer for answer in answers if isinstance(answer, Exception)]

    async def work(self, done: Counter[str]) -> None:
        while done.total() < JOBS:
            for message in await self.queue.receive(3, 0.1):
                job = from_message(message.body)
                assert isinstance(job, Job)
                start = await self.jobs.start(job, self.name, NOON)
                assert isinstance(start, AttemptStarted)
                settlement = Settlement(job.task_id, JobEvent.SUCCEEDED, NOON, attempt_id=start.attempt_id, pdf=PDF)
                assert await self.jobs.settle(settlement) is JobState.SUCCEEDED
                assert await self.queue.delete([message.receipt]) == [None]
                done[job.task_id] += 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nodes_share_the_work(database_url: str) -> None:
    done: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        nodes = []
        background = await stack.enter_async_context(trio.open_nursery())
        for number in range(NODES):
            database = await stack.enter_async_context(open_database(database_url))
            queue = EmbeddedQueue(database, "main", visibility_seconds=60.0)
            await queue.recover()
            nodes.append(Node(f"node-{number}", SqlJobs(database), queue, background))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(node.submit, JOBS // NODES)
                    for _ in range(WORKERS):
                        nursery.start_soon(node.work, done)
        assert set(done.values()) == {1}
        jobs = nodes[0].jobs
        assert (await jobs.counts())[JobState.SUCCEEDED] == JOBS
        records = await jobs.search(JobFilter(), JOBS + 1)
        assert all(record.confirmed for record in records)
        assert {record.tally.attempts for record in records} == {1}
        assert {record.tally.node_losses for record in records} == {0}
        depth = await nodes[0].queue.depth()
        assert (depth.backlog, depth.in_flight) == (0, 0)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_confirmation_waits_for_nobody(store: str, jobs: SqlJobs) -> None:
    """Another node is starting one of the jobs, which confirms it; to wait for it would invite deadlocks."""
    being_started, other = a_job(), a_job()
    await jobs.add([being_started, other])
    with psycopg.connect(store) as node:
        node.execute("SELECT * FROM jobs WHERE task_id = %s FOR UPDATE", [being_started.task_id])
        begun = trio.current_time()
        await jobs.confirm([being_started.task_id, other.task_id])
        assert trio.current_time() - begun < 1.0
    assert (await recorded(jobs, other)).confirmed

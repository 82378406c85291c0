"""A message may be deferred any number of times: SQS's redrive policy, which counts receives, never takes it (I3)."""

from pathlib import Path

import pytest

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.migrate import migrate
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.breakers.manager import Breakers
from reportd.core.breaker.breaker import BreakerEvent, BreakerPolicy, Command
from reportd.core.jobs.retry import RetryPolicy
from reportd.core.jobs.transitions import JobState
from reportd.ports import Jobs, Record
from reportd.work.bulkheads import Bulkheads
from reportd.work.in_flight import InFlightTasks
from reportd.work.job_waiters import JobWaiters
from reportd.work.settlement import MessageSettler
from reportd.work.timeouts import LearnedTimeouts
from reportd.work.worker import Worker
from tests.contract.queue.queue_lab import QueueLab, is_empty, sent, take_one
from tests.contract.queue.sqs_lab import open_sqs
from tests.daemon.node import job, message_of
from tests.fakes import FakeRenderer, FakeTypes, MemoryArtifacts
from tests.fakes.evidence import MemoryEvidence
from tests.servers.aws import pretend_credentials

MAX_RECEIVE_COUNT = 5

# SQS delays by whole seconds, and a test must not wait for them.
NO_WAIT = BreakerPolicy(recovery_seconds=0.0, max_recovery_seconds=0.0)


def worker_of(lab: QueueLab, jobs: Jobs, renderer: FakeRenderer, breakers: Breakers) -> Worker:
    artifacts = MemoryArtifacts()
    settler = MessageSettler(
        jobs=jobs,
        queue=lab.queue,
        dead=lab.dead,
        artifacts=artifacts,
        waiters=JobWaiters(),
        policy=RetryPolicy(max_attempts=3, backoff_seconds=4.0, max_backoff_seconds=60.0),
        max_receive_count=lab.queue.max_receive_count or 0,
    )
    return Worker(
        jobs=jobs,
        artifacts=artifacts,
        renderer=renderer,
        types=FakeTypes(),
        breakers=breakers,
        bulkheads=Bulkheads({}, lambda: 2, 2.0, breakers, 2),
        timeouts=LearnedTimeouts({}),
        in_flight=InFlightTasks(),
        settler=settler,
        evidence=MemoryEvidence(),
        node="node",
    )


@pytest.mark.parametrize("times", [20 * MAX_RECEIVE_COUNT, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["standard", "fifo"])
async def test_a_message_put_off_over_and_over_is_still_there_and_untried(
    kind: str, times: int, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_credentials(monkeypatch)
    one, renderer, breakers = job(), FakeRenderer(), Breakers(MemoryBreakers(), NO_WAIT, node="node")
    renderer.seconds = 0.0
    async with (
        open_sqs(moto, fifo=kind == "fifo", max_receive_count=MAX_RECEIVE_COUNT) as lab,
        open_database(f"sqlite:///{tmp_path}/reportd.db") as database,
    ):
        await migrate(database)
        jobs = SqlJobs(database)
        worker = worker_of(lab, jobs, renderer, breakers)
        await sent(lab.queue, message_of(one))

        await breakers.command("report", Command("ann", BreakerEvent.FORCED_OPEN))
        for _ in range(times):
            await worker.handle(await take_one(lab))
        assert _told(await jobs.get(one.task_id)) == (JobState.QUEUED, 0, times)
        assert renderer.rendered == []
        assert await is_empty(lab, lab.dead)

        await breakers.command("report", Command("ann", BreakerEvent.RESET))
        await worker.handle(await take_one(lab))
        assert _told(await jobs.get(one.task_id)) == (JobState.SUCCEEDED, 1, times)
        depths = [await queue.depth() for queue in (lab.queue, lab.dead)]
        assert [(depth.visible, depth.in_flight, depth.delayed) for depth in depths] == [(0, 0, 0)] * 2


def _told(record: Record | None) -> tuple[JobState, int, int]:
    assert record is not None
    return record.state, record.tally.attempts, record.tally.deferrals

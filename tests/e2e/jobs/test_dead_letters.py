"""A full dead-letter queue and two daemons, one of which is killed repeatedly: each letter has one end (I1, I6)."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.dead_letters import SqlDeadLetters
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import JobFilter, LetterStatus, PdfInfo, Settlement
from tests.e2e.cluster import Cluster, open_cluster
from tests.e2e.process import Daemon
from tests.servers.aws import ask_sqs, pretend_credentials
from tests.servers.postgresql import Postgres
from tests.servers.site import Site, open_site

pytestmark = pytest.mark.browser

SEED = int(os.environ.get("REPORTD_TEST_SEED") or time.time())
PARAMETERS = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "灯", "quantity": 1, "revenue": 2}],
}
KEYS = "max_attempts = 1\n[triage]\ninterval_seconds = 0.5\ncooldown_seconds = 1"
GONE = Fault(FaultKind.PAGE_STATUS, "https://reports.internal/render answered 404")
AWAY = Fault(FaultKind.PAGE_UNAVAILABLE, "https://reports.internal/render answered 503")


@dataclass
class Letters:
    """The dead-letter queue's content. ``ends``: the expected state of each job. ``jobless``: bodies without a job."""

    ends: dict[str, JobState] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    jobless: set[str] = field(default_factory=set)

    def add(self, job: Job, body: str, end: JobState) -> None:
        self.ends[job.task_id] = end
        self.bodies.append(body)


async def fill(cluster: Cluster, jobs: SqlJobs, count: int) -> Letters:
    """Send letters of five causes, some of them twice."""
    letters = Letters()
    for number in range(count):
        job = Job(str(UUID(int=number + 1)), "sales_summary", PARAMETERS, str(uuid4()), time.time() - 60)
        body = to_message(job)
        match number % 5:
            case 0:  # settled long ago
                await jobs.add([job])
                await jobs.settle(Settlement(job.task_id, JobEvent.SUCCEEDED, time.time(), pdf=PdfInfo(1, "sha")))
                letters.add(job, body, JobState.SUCCEEDED)
            case 1:  # never tried
                letters.add(job, body, JobState.SUCCEEDED)
            case 2:  # broken by its producer
                letters.add(job, "\ufeff" + body.replace("userId", "user_id"), JobState.SUCCEEDED)
            case 3:  # victim of an outage
                await dead_letter(jobs, job, AWAY)
                letters.add(job, body, JobState.SUCCEEDED)
            case _ if number % 2:  # hopeless
                await dead_letter(jobs, job, GONE)
                letters.add(job, body, JobState.QUARANTINED)
            case _:
                letters.jobless.add(f"{{{number}")
                letters.bodies.append(f"{{{number}")
    await send(cluster, letters.bodies + letters.bodies[::10])
    return letters


async def dead_letter(jobs: SqlJobs, job: Job, fault: Fault) -> None:
    await jobs.add([job])
    await jobs.settle(Settlement(job.task_id, JobEvent.DEAD_LETTERED, time.time(), fault=fault))


async def send(cluster: Cluster, bodies: list[str]) -> None:
    def send_all() -> None:
        for at in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[at : at + 10])]
            ask_sqs(cluster.server, "SendMessageBatch", QueueUrl=cluster.dead_letter_url, Entries=entries)

    await trio.to_thread.run_sync(send_all)


@contextmanager
def counted(daemons: list[Daemon]) -> Iterator[Counter[tuple[str, str]]]:
    """Yield a counter that is filled after the block: what the daemons logged, by letter or task."""
    done: Counter[tuple[str, str]] = Counter()
    yield done
    for daemon in daemons:
        done.update(("quarantined", entry["letter"]) for entry in daemon.events("job.quarantined"))
        done.update(("succeeded", entry["taskId"]) for entry in daemon.events("job.succeeded"))


async def two_nodes(folder: Path, moto: str, postgres: Postgres, *, count: int, kills: int) -> None:
    print(f"\nseed {SEED}")
    rng = random.Random(SEED)
    async with (
        open_site({"/alerts": "heard"}) as site,
        open_cluster(
            folder,
            moto,
            postgres,
            nodes=2,
            visibility_seconds=5,
            queue_keys=f'{KEYS}\n[alerts]\nwebhook_url = "{site.url("/alerts")}"',
        ) as cluster,
        open_database(cluster.database_url.replace("postgresql://", "postgresql+psycopg://", 1)) as database,
    ):
        jobs, kept = SqlJobs(database), SqlDeadLetters(database)
        letters = await fill(cluster, jobs, count)
        victim = cluster.daemons[1]
        for _ in range(kills):
            await trio.sleep(rng.uniform(0.2, 2.0))
            await victim.kill()
            await victim.start()
        with trio.fail_after(60 + count):
            while await open_ends(cluster, jobs):
                await trio.sleep(0.5)
        with counted(cluster.daemons) as done:
            records = {r.job.task_id: r for r in await jobs.search(JobFilter(), 10_000)}
        assert {task_id: record.state for task_id, record in records.items()} == letters.ends
        renders = [t for t, end in letters.ends.items() if end is JobState.SUCCEEDED and (UUID(t).int - 1) % 5]
        assert sorted(cluster.objects()) == sorted(f"pdfs/{task_id[:2]}/{task_id}.pdf" for task_id in renders)
        assert max(done.values()) == 1
        await only_the_quarantined_are_kept(kept, letters)
        await one_alert_a_cause(site)
        for daemon in cluster.daemons:
            assert not daemon.events("janitor.failed")
            assert not daemon.events("dead_letter.failed")


async def open_ends(cluster: Cluster, jobs: SqlJobs) -> bool:
    queues = [cluster.messages(url) for url in (cluster.queue_url, cluster.dead_letter_url)]
    counts = await jobs.counts()
    return any(any(queue.values()) for queue in queues) or any(
        counts[state] for state in (JobState.QUEUED, JobState.RUNNING, JobState.DEAD_LETTERED)
    )


async def only_the_quarantined_are_kept(kept: SqlDeadLetters, letters: Letters) -> None:
    await kept.tidy()
    groups = await kept.groups(100)
    members: list[Any] = [one for group in groups for one in await kept.members(group.signature, 10_000)]
    assert {one.standing for one in members} == {LetterStatus.QUARANTINED}
    gone = {task_id for task_id, end in letters.ends.items() if end is JobState.QUARANTINED}
    assert sorted(one.task_id for one in members if one.task_id) == sorted(gone)
    assert {one.body for one in members if one.task_id is None} == letters.jobless
    # All letters of one cause are one group; the jobless differ only in their number.
    assert len(groups) == 2


async def one_alert_a_cause(site: Site) -> None:
    """Any number of letters and nodes give one alert a cause. A killed node may send one twice, with the same id."""

    def heard() -> dict[str, str]:
        alerts = [json.loads(request.body) for request in site.asked("/alerts")]
        return {one["id"]: one["signature"] for one in alerts if one["type"] == "alert.raised"}

    with trio.fail_after(60.0):
        while len(set(heard().values())) < 2:
            await trio.sleep(0.5)
    assert len(heard()) == 2


async def test_each_letter_has_one_end(
    tmp_path: Path, moto: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_credentials(monkeypatch)
    await two_nodes(tmp_path, moto, postgres, count=60, kills=2)


@pytest.mark.soak
async def test_each_of_two_thousand_letters_has_one_end(
    tmp_path: Path, moto: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_credentials(monkeypatch)
    await two_nodes(tmp_path, moto, postgres, count=2000, kills=12)

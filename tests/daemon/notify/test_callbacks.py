"""Callbacks are sent at once, retried while that may help, and delay nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent
from reportd.notify.callbacks import AT_ONCE, AT_ONCE_PER_HOST, LEASE_SECONDS, TIMEOUT_SECONDS, Notifier
from reportd.ports import Callback, DeliveryOutcome, Settlement
from tests.fakes import EPOCH, MemoryJobs, MemoryOutbox, Weather, now
from tests.fakes.messenger import FakeMessenger

pytestmark = pytest.mark.usefixtures("autojump_clock")

HOUR = 3600.0


class Stage:
    """Finished jobs, an outbox, and any number of nodes that empty it."""

    def __init__(self, messenger: FakeMessenger | None = None) -> None:
        self.weather = Weather()
        self.outbox = MemoryOutbox(self.weather)
        self.jobs = MemoryJobs(outbox=self.outbox)
        self.messenger = messenger or FakeMessenger()
        self._number = 0

    async def end_job(self, host: str = "app.example", event: JobEvent = JobEvent.CANCELLED) -> Job:
        self._number += 1
        url = f"https://{host}/done?token=s3cret"
        job = Job(f"{self._number:08d}-0000-4000-8000-000000000000", "report", {}, "user", EPOCH, url)
        await self.jobs.add([job])
        await self.jobs.settle(Settlement(job.task_id, event, now()))
        return job

    def notifier(self, messenger: FakeMessenger | None = None) -> Notifier:
        return Notifier(
            self.outbox, messenger or self.messenger, retry_seconds=24 * HOUR, clock=now, chance=lambda: 0.5
        )

    @asynccontextmanager
    async def node(self, messenger: FakeMessenger | None = None) -> AsyncIterator[None]:
        async with open_background() as nursery:
            nursery.start_soon(self.notifier(messenger).run)
            yield

    def outcomes(self) -> list[DeliveryOutcome | None]:
        return [entry.outcome for entry in self.outbox.entries]

    async def all_settled(self, look_seconds: float = 0.25) -> None:
        while None in self.outcomes():
            await trio.sleep(look_seconds)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def ids(callbacks: list[Callback]) -> list[str]:
    return [callback.callback_id for callback in callbacks]


async def test_a_callback_is_sent_at_once(stage: Stage) -> None:
    async with stage.node():
        await trio.sleep(3.3)
        job = await stage.end_job()
        await stage.all_settled()
        assert trio.current_time() == pytest.approx(3.3, abs=0.5)
    ((_, callback),) = stage.messenger.tried
    assert (callback.task_id, callback.url, callback.body) == (job.task_id, job.callback_url, b"cancelled")


async def test_what_was_left_by_an_earlier_run_is_sent(stage: Stage) -> None:
    await stage.end_job()
    async with stage.node():
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED]


async def test_a_receiver_that_fails_for_two_minutes_is_told_then(stage: Stage) -> None:
    stage.messenger.hosts["app.example"] = "fail"
    async with stage.node():
        await stage.end_job()
        await trio.sleep(120)
        assert stage.outcomes() == [None]
        stage.messenger.hosts.clear()
        await stage.all_settled()
    assert trio.current_time() < 300
    tried = [callback for _, callback in stage.messenger.tried]
    assert 5 <= len(tried) <= 9
    assert len(set(ids(tried))) == 1, "one id, however often"
    assert len({callback.body for callback in tried}) == 1
    times = [at for at, _ in stage.messenger.tried]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps), "at growing intervals"
    assert ids(stage.messenger.delivered) == ids(tried[-1:])


async def test_a_receiver_that_hangs_is_told_when_it_answers(stage: Stage) -> None:
    stage.messenger.hosts["app.example"] = "hang"
    async with stage.node():
        await stage.end_job()
        await trio.sleep(TIMEOUT_SECONDS + 0.1)
        (entry,) = stage.outbox.entries
        assert entry.callback.error == "no answer within 15 s"
        stage.messenger.hosts.clear()
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED]


async def test_what_is_refused_is_not_tried_again(stage: Stage) -> None:
    stage.messenger.hosts["app.example"] = "refuse"
    async with stage.node():
        await stage.end_job()
        await trio.sleep(48 * HOUR)
    assert len(stage.messenger.tried) == 1
    (entry,) = stage.outbox.entries
    assert (entry.outcome, entry.callback.error) == (DeliveryOutcome.REFUSED, "refused: not there")


@pytest.mark.parametrize("what", ["fail", "break"])
async def test_it_is_given_up_in_the_end(stage: Stage, what: str) -> None:
    stage.messenger.hosts["app.example"] = what
    async with stage.node():
        await stage.end_job()
        await stage.all_settled(60)
    assert stage.outcomes() == [DeliveryOutcome.FAILED]
    assert 23.5 * HOUR < trio.current_time() <= 24 * HOUR + 60
    assert len(stage.messenger.tried) < 200


async def test_one_that_comes_late_is_tried_once_all_the_same(stage: Stage) -> None:
    """No node ran for a day."""
    await stage.end_job()
    await trio.sleep(30 * HOUR)
    async with stage.node():
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED]


# --- no delays ----------------------------------------------------------------------------------------------


async def test_a_receiver_that_hangs_holds_up_no_other(stage: Stage) -> None:
    stage.messenger.hosts["slow.example"] = "hang"
    async with stage.node():
        for _ in range(200):
            await stage.end_job("slow.example")
        await trio.sleep(5)
        assert AT_ONCE_PER_HOST <= stage.messenger.under_way < 2 * AT_ONCE_PER_HOST
        begun = trio.current_time()
        for _ in range(50):
            await stage.end_job("app.example")
        while len(stage.messenger.delivered) < 50:
            await trio.sleep(0.1)
        assert trio.current_time() - begun < 1


async def test_so_many_at_once_and_no_more(stage: Stage) -> None:
    for number in range(60):
        stage.messenger.hosts[f"h{number}.example"] = "hang"
        for _ in range(3):
            await stage.end_job(f"h{number}.example")
    async with stage.node():
        await trio.sleep(60)
        assert stage.messenger.most_under_way == AT_ONCE
        stage.messenger.hosts.clear()
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED] * 180


async def test_jobs_end_while_all_receivers_hang(stage: Stage) -> None:
    stage.messenger.hosts["app.example"] = "hang"
    async with stage.node():
        for _ in range(100):
            await stage.end_job()
        assert trio.current_time() == 0, "no job waits for its callback"


async def test_an_idle_node_hardly_looks(stage: Stage) -> None:
    async with stage.node():
        await trio.sleep(600)
    assert stage.weather.calls.count("outbox.claim") <= 62


# --- several nodes, shutdown --------------------------------------------------------------------------------


async def test_of_several_nodes_one_sends_each(stage: Stage) -> None:
    async with stage.node(), stage.node(), stage.node():
        for _ in range(100):
            await stage.end_job()
        await stage.all_settled()
    delivered = ids(stage.messenger.delivered)
    assert len(delivered) == len(set(delivered)) == 100


async def test_what_a_killed_node_had_taken_is_sent_by_another(stage: Stage) -> None:
    """It may have been sent already, so it has the same id."""
    job = await stage.end_job()
    ((taken,), _) = await stage.outbox.claim(1, LEASE_SECONDS)
    async with stage.node():
        await trio.sleep(LEASE_SECONDS - 1)
        assert not stage.messenger.tried
        await stage.all_settled()
    (callback,) = stage.messenger.delivered
    assert (callback.callback_id, callback.task_id, callback.attempts) == (taken.callback_id, job.task_id, 2)
    assert trio.current_time() < LEASE_SECONDS + 11


async def test_what_is_on_its_way_when_a_node_stops_is_sent_by_another_at_once(stage: Stage) -> None:
    async with stage.node(FakeMessenger(app_example="hang")):
        await stage.end_job()
        await trio.sleep(1)
    async with stage.node():
        await stage.all_settled()
    assert trio.current_time() < 2


async def test_an_outbox_that_is_away_for_a_while(stage: Stage) -> None:
    async with stage.node():
        await trio.sleep(1)
        await stage.end_job()
        stage.weather.away("outbox", 120)
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED]
    assert trio.current_time() < 121 + LEASE_SECONDS + 10
    assert len(set(ids([callback for _, callback in stage.messenger.tried]))) == 1


async def test_a_fault_of_the_outbox_is_not_the_daemons_end(stage: Stage) -> None:
    stage.weather.fail("outbox.claim", RuntimeError("on purpose"))
    async with stage.node():
        await stage.end_job()
        await stage.all_settled()
    assert stage.outcomes() == [DeliveryOutcome.DELIVERED]


async def test_no_secret_is_logged(stage: Stage, capsys: Any) -> None:
    for number, what in enumerate(("ok", "fail", "refuse", "hang", "break")):
        stage.messenger.hosts[f"h{number}.example"] = what
        await stage.end_job(f"h{number}.example")
    async with stage.node():
        await stage.all_settled(600)
    written = "".join(capsys.readouterr())
    assert "callback.given_up" in written
    assert "s3cret" not in written
    assert "s3cret" not in repr([callback for _, callback in stage.messenger.tried])

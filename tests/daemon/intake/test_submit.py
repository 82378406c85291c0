"""Which submissions are accepted, and what a 202 promises (I2)."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import trio

from reportd.core.jobs.job import StoredJob, from_message
from reportd.core.jobs.submission import InvalidSubmissionError, Submission
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.intake.errors import KeyReusedError
from reportd.ports import JobFilter, Outgoing, Record, Settlement, UnavailableError
from tests.daemon.node import USER, World, open_node, open_service, submission
from tests.fakes import now
from tests.fakes.jobs import SILENT_SECONDS

pytestmark = pytest.mark.usefixtures("autojump_clock")

OTHER_USER = "7c9e6679-7425-40de-944b-e07fc1f90ae8"


async def test_an_accepted_job_is_on_record_and_on_the_queue() -> None:
    world = World()
    async with open_service(world) as service:
        await trio.sleep(7.0)
        record = await service.submit(submission(rows=[1, 2]))
        submitted_at = now()
        await trio.sleep(0.5)
    one = record.job
    assert world.jobs.records[one.task_id].confirmed
    (message,) = world.queue.messages
    assert from_message(message.sent.body) == one
    assert (one.parameters, one.user_id, one.submitted_at) == ({"rows": [1, 2]}, USER, submitted_at)
    assert (message.sent.group, message.sent.report_type) == (USER, "report")
    assert UUID(one.task_id).version == 4


async def test_by_whatever_name_it_is_asked_for_a_type_has_one() -> None:
    world = World()
    async with open_service(world) as service:
        aliased = replace(submission("k"), report_type="old_report")
        one = (await service.submit(aliased)).job
        assert (await service.submit(submission("k"))).job == one
        for name in ("report", "old_report"):
            (found,) = await service.search(JobFilter(report_type=name), 10)
            assert found.job == replace(one, parameters={})
        assert await service.search(JobFilter(report_type="other"), 10) == []
    assert (one.report_type, world.queue.messages[0].sent.report_type) == ("report", "report")


async def test_the_row_comes_first_the_message_next_the_answer_last() -> None:
    world = World()
    async with open_service(world) as service:
        await service.submit(submission())
        assert world.weather.calls[:2] == ["jobs.add", "queue.send"]
        await trio.sleep(0.5)
    assert world.weather.calls == ["jobs.add", "queue.send", "jobs.confirm"]


async def test_nobody_waits_for_the_confirmation_and_nothing_depends_on_it() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:

        async def slow(call: str, when: str) -> None:
            if (call, when) == ("jobs.confirm", "before"):
                world.weather.hook = None
                await trio.sleep(100.0)

        world.weather.hook = slow
        one = (await service.submit(submission())).job
        assert trio.current_time() == 0.0
        assert (await service.get(one.task_id, 20.0)).state is JobState.SUCCEEDED
        await trio.sleep(200.0)
    assert world.renderer.rendered == [(one.task_id, False)]


async def test_a_job_too_large_for_the_queue_goes_without_its_parameters() -> None:
    world = World()
    world.queue.max_message_bytes = 1000
    async with open_service(world) as service:
        small = (await service.submit(submission(rows="r" * 500))).job
        large = (await service.submit(submission(rows="r" * 1000))).job
        carried = [from_message(message.sent.body) for message in world.queue.messages]
    assert carried == [small, StoredJob(large.task_id)]
    assert max(len(message.sent.body) for message in world.queue.messages) <= 1000
    async with open_node(world):
        assert (await world.terminal(large)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("part", ["queue", "jobs"])
async def test_what_could_not_be_queued_is_refused_and_forgotten(part: str) -> None:
    world = World()
    world.weather.away(part, 60.0)
    async with open_service(world) as service:
        with pytest.raises(UnavailableError):
            await service.submit(submission())
    assert not world.jobs.records
    assert not world.queue.messages


async def test_of_a_burst_each_gets_its_own_answer() -> None:
    world = World()
    send, refused = world.queue.send, []

    async def every_third_fails(messages: list[Outgoing]) -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for number, message in enumerate(messages):
            if number % 3 == 0:
                outcomes.append(UnavailableError("queue", "throttled"))
            else:
                outcomes += await send([message])
        return outcomes

    world.queue.send = every_third_fails  # type: ignore[assignment,method-assign]
    async with open_service(world) as service, trio.open_nursery() as nursery:

        async def submit() -> None:
            try:
                await service.submit(submission())
            except UnavailableError:
                refused.append(1)

        for _ in range(30):
            nursery.start_soon(submit)
    sent = {message.sent.task_id for message in world.queue.messages}
    assert sent == set(world.jobs.records)
    assert len(sent) + len(refused) == 30
    assert len(refused) >= 10


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_intake_cut_off_anywhere_has_promised_nothing_that_is_not_kept(phase: str) -> None:
    """A client that got an answer has a job that ends; a client without an answer may have one."""
    for number in range(1, 4):
        world, answered = World(), []
        world.weather.kill_at(number, phase)
        with trio.move_on_after(5.0):
            async with open_service(world) as service:
                answered.append(await service.submit(submission()))
        world.weather.hook = None
        assert bool(answered) is (number == 3)  # no client waits for the confirmation
        assert not answered or world.queue.messages
        async with open_node(world):
            await trio.sleep(200.0)
        assert all(record.state is JobState.SUCCEEDED for record in world.jobs.records.values())
        assert not world.queue.messages


@pytest.mark.parametrize("key", [None, "a key"])
async def test_the_same_key_of_the_same_user_is_the_same_job(key: str | None) -> None:
    world = World()
    async with open_service(world) as service:
        first = await service.submit(submission(key))
        await trio.sleep(10.0)
        again = await service.submit(submission(key))
        other = await service.submit(submission(key, OTHER_USER))
    assert (first.job == again.job) is (key is not None)
    assert other.job.task_id not in (first.job.task_id, again.job.task_id)
    assert len(world.queue.messages) == (2 if key else 3)


async def test_the_same_key_many_times_at_once_is_one_job() -> None:
    world = World()
    records: list[Record] = []
    async with open_service(world) as service, trio.open_nursery() as nursery:

        async def submit() -> None:
            records.append(await service.submit(submission("key")))

        for _ in range(20):
            nursery.start_soon(submit)
    assert len({record.job.task_id for record in records}) == 1
    assert len(world.jobs.records) == 1
    assert len({message.sent.task_id for message in world.queue.messages}) == 1


@pytest.mark.parametrize("other", [{"rows": 2}, {"rows": True}, {"rows": 1, "more": None}, {}])
async def test_the_same_key_for_another_request_is_refused(other: dict[str, Any]) -> None:
    world = World()
    async with open_service(world) as service:
        await service.submit(submission("key", rows=1))
        await trio.sleep(0.5)
        with pytest.raises(KeyReusedError):
            await service.submit(submission("key", **other))
    assert len(world.queue.messages) == 1


async def test_a_repeated_submission_that_was_never_confirmed_is_sent_now() -> None:
    world = World()
    async with open_service(world) as service:
        world.weather.fail("jobs.confirm", UnavailableError("jobs", "once"))
        await service.submit(submission("key"))
        await trio.sleep(1.0)
        world.queue.messages.clear()
        record = await service.submit(submission("key"))
    assert [message.sent.task_id for message in world.queue.messages] == [record.job.task_id]


async def test_every_problem_of_a_submission_is_named() -> None:
    world = World()
    async with open_service(world) as service:
        with pytest.raises(InvalidSubmissionError) as caught:
            await service.submit(Submission("report", {"wrong": 1}, USER, callback_url="http://insecure"))
    assert [problem.pointer for problem in caught.value.problems] == ["/parameters/wrong", "/callbackUrl"]
    assert not world.weather.calls


async def test_a_repeated_submission_whose_message_is_lost_is_sent_again_once() -> None:
    world = World()
    async with open_service(world) as service:
        first = await service.submit(submission("key"))
        await service.submit(submission("other"))
        await trio.sleep(1.0)
        await service.submit(submission("key"))
        assert len(world.queue.messages) == 2
        world.queue.messages.clear()
        for _ in range(3):
            again = await service.submit(submission("key"))
        assert [message.sent.task_id for message in world.queue.messages] == [first.job.task_id]
        # A FIFO queue would drop a second, identical message as a duplicate.
        assert world.queue.messages[0].sent.attributes
        assert (again.state, again.job.task_id) == (JobState.QUEUED, first.job.task_id)


async def test_a_repeated_submission_of_what_waits_for_triage_sends_nothing() -> None:
    """However long that takes: its message is in the dead-letter queue, or triage has kept it."""
    world = World()
    async with open_service(world) as service:
        first = await service.submit(submission("key"))
        await trio.sleep(1.0)
        world.queue.messages.clear()
        await world.jobs.settle(Settlement(first.job.task_id, JobEvent.DEAD_LETTERED, now()))
        await trio.sleep(2 * SILENT_SECONDS)
        again = await service.submit(submission("key"))
        assert again.state is JobState.DEAD_LETTERED
        assert not world.queue.messages


async def test_a_repeated_submission_of_what_has_ended_sends_nothing() -> None:
    world = World()
    async with open_service(world) as service:
        first = await service.submit(submission("key"))
        await trio.sleep(1.0)
        world.queue.messages.clear()
        await service.cancel(first.job.task_id)
        await trio.sleep(SILENT_SECONDS)
        again = await service.submit(submission("key"))
        assert (again.state, again.job.task_id) == (JobState.CANCELLED, first.job.task_id)
        assert not world.queue.messages

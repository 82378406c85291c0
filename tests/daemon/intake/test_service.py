"""The use cases on existing jobs: get, wait, cancel, retry."""

from contextlib import suppress

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import IllegalTransitionError, JobState
from reportd.intake.errors import GoneError, MissingPdfError, NotFinishedError, NotFoundError, StillQueuedError
from reportd.intake.service import MAX_WAIT_SECONDS, POLL_SECONDS, POLL_SECONDS_PER_WAITER, Service
from reportd.ports import JobFilter, PdfInfo, Record, UnavailableError
from tests.daemon.node import USER, Node, World, job, open_node, open_service, submission
from tests.fakes import now
from tests.fakes.jobs import SILENT_SECONDS

pytestmark = pytest.mark.usefixtures("autojump_clock")

OTHER_USER = "7c9e6679-7425-40de-944b-e07fc1f90ae8"


# --- reading ------------------------------------------------------------------------------------------------


async def test_a_wait_ends_with_the_job() -> None:
    world = World()
    world.renderer.seconds = 3.3
    async with open_node(world) as node, open_service(world, node) as service:
        record = await service.submit(submission())
        assert (await service.get(record.job.task_id)).state is not JobState.SUCCEEDED
        begun = trio.current_time()
        assert (await service.get(record.job.task_id, 20.0)).state is JobState.SUCCEEDED
        assert trio.current_time() - begun == pytest.approx(3.3)


async def test_a_wait_notices_what_another_node_did() -> None:
    world = World()
    world.renderer.seconds = 3.3
    async with open_node(world), open_service(world) as service:
        record = await service.submit(submission())
        assert (await service.get(record.job.task_id, 20.0)).state is JobState.SUCCEEDED
        assert trio.current_time() <= 3.3 + POLL_SECONDS


async def test_many_who_wait_look_less_often_each() -> None:
    world, looks = World(), 0
    get = world.jobs.get

    async def counting(task_id: str) -> Record | None:
        nonlocal looks
        looks += 1
        return await get(task_id)

    world.jobs.get = counting  # type: ignore[method-assign]
    await world.jobs.add([job(1)])
    async with open_service(world) as service, trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(service.get, job(1).task_id, 20.0)
        await trio.sleep(15.0)
        assert 500 < looks < 500 + 1.5 * 15 / POLL_SECONDS_PER_WAITER
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("wanted", "waited"), [(0.0, 0.0), (5.0, 5.0), (1000.0, MAX_WAIT_SECONDS)])
async def test_a_wait_is_no_longer_than_asked_for_or_allowed(wanted: float, waited: float) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    async with open_service(world) as service:
        assert (await service.get(one.task_id, wanted)).state is JobState.QUEUED
    assert trio.current_time() == waited


async def test_a_job_that_does_not_exist() -> None:
    async with open_service(World()) as service:
        for call in (service.get, service.pdf, service.cancel, service.retry):
            with pytest.raises(NotFoundError):
                await call("0")
        assert await service.attempts("0") == []


async def test_a_search_goes_on_below_the_last_one_seen() -> None:
    world = World()
    await world.jobs.add([job(number) for number in range(1, 6)])
    async with open_service(world) as service:
        first = await service.search(JobFilter(user_id=USER), 2)
        last = first[-1].job
        rest = await service.search(JobFilter(user_id=USER), 10, (last.submitted_at, last.task_id))
        assert await service.search(JobFilter(user_id=OTHER_USER), 10) == []
    assert [record.job for record in first + rest] == [job(number) for number in (5, 4, 3, 2, 1)]


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.SUCCEEDED])
async def test_no_pdf_of_a_job_that_has_none(state: JobState) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    async with open_service(world) as service:
        with pytest.raises(NotFinishedError) as caught:
            await service.pdf(one.task_id)
    assert caught.value.state is state


@pytest.mark.parametrize(("purged", "stored"), [(False, True), (True, True), (False, False)])
async def test_a_pdf_is_there_until_it_is_purged(*, purged: bool, stored: bool) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=JobState.SUCCEEDED, pdf=PdfInfo(4, "sha", purged))
    if stored:
        world.artifacts.stored[one.task_id] = b"%PDF"
    async with open_service(world) as service:
        if stored and not purged:
            assert await service.pdf(one.task_id) == (world.record(one), f"memory:{one.task_id}")
        else:
            with pytest.raises(GoneError if purged else MissingPdfError):
                await service.pdf(one.task_id)


async def test_a_pdf_is_named_with_the_zone_of_its_type() -> None:
    world, one = World(), job()
    world.types.timezone = "Asia/Tokyo"
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=JobState.SUCCEEDED, pdf=PdfInfo(4, "sha"))
    world.artifacts.stored[one.task_id] = b"%PDF"
    async with open_service(world) as service:
        record, _ = await service.pdf(one.task_id)
    assert record.job.options.timezone == "Asia/Tokyo"
    assert world.artifacts.located == [record.job]


@pytest.mark.parametrize(("days", "refusal"), [(1, MissingPdfError), (29, MissingPdfError), (31, GoneError)])
async def test_what_is_missing_is_past_its_retention_only_when_it_is(days: int, refusal: type[Exception]) -> None:
    """A lifecycle rule of the bucket may remove the PDF before the janitor does."""
    world, one = World(), job()
    await world.jobs.add([one])
    finished_at = now() - days * 86400.0
    world.jobs._change(
        one.task_id, state=JobState.SUCCEEDED, pdf=PdfInfo(4, "sha", purged=False), finished_at=finished_at
    )
    async with open_service(world) as service:
        with pytest.raises(refusal):
            await service.pdf(one.task_id)


# --- changing -----------------------------------------------------------------------------------------------


async def test_a_cancelled_job_is_stopped_at_once_and_uses_no_more() -> None:
    world = World()
    world.renderer.seconds = 1000.0
    async with open_node(world) as node, open_service(world, node) as service:
        one = (await service.submit(submission())).job
        await trio.sleep(5.0)
        async with trio.open_nursery() as nursery:
            heard: list[JobState] = []

            async def listen() -> None:
                heard.append((await service.get(one.task_id, 20.0)).state)

            nursery.start_soon(listen)
            await trio.sleep(0.5)
            record = await service.cancel(one.task_id)
        assert record.state is JobState.CANCELLED
        assert heard == [JobState.CANCELLED]
        assert trio.current_time() == 5.5  # sooner than the next poll
        await trio.sleep(0.5)
        assert not node.in_flight.all()
        assert world.renderer.busy == 0
        assert not world.queue.messages
        assert (await service.cancel(one.task_id)).state is JobState.CANCELLED  # a repetition does no harm
    assert world.jobs.terminal_moves(one.task_id) == [JobState.CANCELLED]
    assert [attempt.outcome for attempt in await world.jobs.attempts(one.task_id)] == ["cancelled"]


async def test_a_job_cancelled_while_it_waits_is_never_rendered() -> None:
    world = World()
    async with open_service(world) as service:
        one = (await service.submit(submission())).job
        await service.cancel(one.task_id)
    async with open_node(world):
        await trio.sleep(5.0)
    assert not world.renderer.rendered
    assert not world.queue.messages
    assert world.record(one).state is JobState.CANCELLED


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.QUARANTINED])
async def test_what_is_finished_cannot_be_cancelled(state: JobState) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    async with open_service(world) as service:
        with pytest.raises(IllegalTransitionError):
            await service.cancel(one.task_id)
    assert world.record(one).state is state


async def test_a_quarantined_job_is_tried_again_with_a_fresh_tally() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        one = await quarantined(world, service)
        record = await service.retry(one.task_id)
        assert (record.state, record.tally.attempts, record.error) == (JobState.QUEUED, 0, None)
        end = await service.get(one.task_id, 20.0)
    assert (end.state, end.tally.attempts) == (JobState.SUCCEEDED, 1)
    assert len(world.renderer.rendered) == 2


async def test_a_job_revived_while_the_queue_is_away_is_sent_when_it_is_back() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        one = await quarantined(world, service)
        await trio.sleep(20.0)
        world.weather.away("queue", 60.0)
        with pytest.raises(UnavailableError):
            await service.retry(one.task_id)
        assert (await world.terminal(one)).state is JobState.SUCCEEDED


async def test_a_revived_job_does_not_get_a_pdf_that_an_earlier_attempt_left() -> None:
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        one = await quarantined(world, service)
        world.artifacts.stored[one.task_id] = b"%PDF of an attempt that was cut off"
        await service.retry(one.task_id)
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
        assert b"cut off" not in world.artifacts.stored[one.task_id]


async def quarantined(world: World, service: Service) -> Job:
    one = (await service.submit(submission())).job
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_STATUS]
    assert (await world.terminal(one)).state is JobState.QUARANTINED
    return one


@pytest.mark.parametrize("seconds", [0.0, 20.0, 100.0])
async def test_a_slow_removal_never_takes_the_new_pdf(seconds: float) -> None:
    """Whichever node sends the message meanwhile, and however often a retry is requested."""
    world = World()
    async with open_node(world) as node, open_service(world, node) as service:
        one = await quarantined(world, service)
        world.artifacts.stored[one.task_id] = b"%PDF of an attempt that was cut off"

        async def slow(call: str, phase: str) -> None:
            if (call, phase) == ("artifacts.remove", "before"):
                await trio.sleep(seconds)

        async def retry() -> None:
            with suppress(IllegalTransitionError, StillQueuedError):
                await service.retry(one.task_id)

        world.weather.hook = slow
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(retry)
                await trio.sleep(seconds / 2)
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
        await trio.sleep(2 * seconds + 1.0)
    assert b"cut off" not in world.artifacts.stored[one.task_id]


async def test_a_second_message_of_a_quarantined_job_takes_no_pdf_away() -> None:
    """Another node may revive the job meanwhile."""
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=JobState.QUARANTINED)

    async def slow(call: str, phase: str) -> None:
        if (call, phase) == ("artifacts.remove", "before"):
            await trio.sleep(30.0)

    world.weather.hook = slow
    second = await world.received(one)
    async with trio.open_nursery() as nursery, open_service(world) as service:
        nursery.start_soon(Node(world, name="other").handle, *second)
        await trio.sleep(1.0)
        world.weather.hook = None
        await service.retry(one.task_id)
        await Node(world).handle(*await world.queue.receive(1, 0.0))
    assert world.record(one).state is JobState.SUCCEEDED
    assert one.task_id in world.artifacts.stored


async def test_a_queued_job_whose_message_is_lost_can_be_sent_again() -> None:
    world, one = World(), job()
    async with open_service(world) as service:
        for _ in range(2):
            waiting = (await service.submit(submission())).job
        await trio.sleep(1.0)
        with pytest.raises(StillQueuedError):
            await service.retry(waiting.task_id)
        del world.queue.messages[-1]
        with pytest.raises(StillQueuedError):
            await service.retry(waiting.task_id)
        await trio.sleep(SILENT_SECONDS)
        assert (await service.retry(waiting.task_id)).state is JobState.QUEUED
        assert [message.sent.task_id for message in world.queue.messages][1:] == [waiting.task_id]
        with pytest.raises(StillQueuedError):
            await service.retry(waiting.task_id)
        world.queue.messages.clear()
        await world.jobs.add([one])
        await service.retry(one.task_id)
        assert [message.sent.task_id for message in world.queue.messages] == [one.task_id]


@pytest.mark.parametrize("state", [state for state in JobState if state not in (JobState.QUARANTINED, JobState.QUEUED)])
async def test_only_a_quarantined_job_can_be_tried_again(state: JobState) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    async with open_service(world) as service:
        with pytest.raises(IllegalTransitionError):
            await service.retry(one.task_id)
    assert not world.queue.messages

"""What the janitor settles, and that it may be cut off anywhere and repeated."""

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.transitions import JobState
from reportd.maintenance import janitor
from reportd.maintenance.janitor import SWEEP_SECONDS
from reportd.ports import UNCONFIRMED_SECONDS, Outgoing, PdfInfo, UnavailableError
from tests.daemon.node import Node, World, job, message_of
from tests.fakes import EPOCH

pytestmark = pytest.mark.usefixtures("autojump_clock")

# --- unconfirmed jobs, old PDFs -----------------------------------------------------------------------------


async def test_a_job_whose_submission_was_cut_off_is_sent_late_and_once() -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    janitor = Node(world).janitor
    await trio.sleep(UNCONFIRMED_SECONDS)
    await janitor.send_unconfirmed()
    assert not world.queue.messages
    await trio.sleep(0.5)
    for _ in range(3):
        await janitor.send_unconfirmed()
    assert [message.sent.body for message in world.queue.messages] == [message_of(one).body]
    assert world.record(one).confirmed


async def test_only_what_the_queue_took_is_confirmed() -> None:
    world, jobs = World(), [job(1), job(2)]
    await world.jobs.add(jobs)
    await trio.sleep(100.0)
    send = world.queue.send

    async def half(messages: list[Outgoing]) -> list[Exception | None]:
        await send(messages[1:])
        return [UnavailableError("queue", "throttled"), *[None] * (len(messages) - 1)]

    world.queue.send = half  # type: ignore[assignment,method-assign]
    await Node(world).janitor.send_unconfirmed()
    assert [world.record(one).confirmed for one in jobs] == [False, True]


async def test_pdfs_go_when_their_retention_is_over() -> None:
    world = World()
    for number, age in enumerate((0.0, 86_399.0, 86_401.0, 200_000.0), 1):
        one = job(number)
        await world.jobs.add([one])
        world.artifacts.stored[one.task_id] = b"%PDF"
        pdf = PdfInfo(4, "sha")
        world.jobs._change(one.task_id, state=JobState.SUCCEEDED, finished_at=EPOCH - age, pdf=pdf)
    await Node(world).janitor.remove_expired()
    assert sorted(world.artifacts.stored) == [job(1).task_id, job(2).task_id]
    assert [record.pdf and record.pdf.purged for record in world.jobs.records.values()] == [False, False, True, True]


async def test_more_old_pdfs_than_fit_a_batch_all_go() -> None:
    world = World()
    for number in range(1, 251):
        one = job(number)
        await world.jobs.add([one])
        world.jobs._change(one.task_id, state=JobState.SUCCEEDED, finished_at=0.0, pdf=PdfInfo(4, "sha"))
    await Node(world).janitor.remove_expired()
    assert all(record.pdf and record.pdf.purged for record in world.jobs.records.values())


async def test_evidence_goes_after_three_days_and_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for number, age in enumerate((0.0, 10.0, 3 * 86_400.0 - 1, 3 * 86_400.0 + 1), 1):
        await world.evidence.put(job(number).task_id, 1, EPOCH - age, Evidence())
    await Node(world).janitor.remove_evidence()
    assert {task_id for task_id, _ in world.evidence.kept} == {job(number).task_id for number in (1, 2, 3)}
    monkeypatch.setattr(janitor, "MAX_EVIDENCE", 2)
    with trio.move_on_after(SWEEP_SECONDS):
        await Node(world).janitor.run()
    assert {task_id for task_id, _ in world.evidence.kept} == {job(number).task_id for number in (1, 2)}


# --- cut off anywhere ---------------------------------------------------------------------------------------


async def everything(world: World) -> None:
    """One case for each rule."""
    await world.jobs.add([job(3), job(4)])
    world.jobs._change(job(4).task_id, state=JobState.SUCCEEDED, finished_at=0.0, pdf=PdfInfo(4, "sha"))
    world.artifacts.stored[job(4).task_id] = b"%PDF"


def settled(world: World) -> bool:
    return (
        {message.sent.task_id for message in world.queue.messages} == {job(3).task_id}
        and not world.artifacts.stored
        and world.jobs.records[job(4).task_id].pdf == PdfInfo(4, "sha", purged=True)
    )


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_it_may_be_cut_off_at_any_call(phase: str) -> None:
    for number in range(1, 12):
        world = World()
        await everything(world)
        killed = world.weather.kill_at(number, phase)
        async with open_background() as nursery:
            nursery.start_soon(Node(world).janitor.run)
            await killed.wait()
        world.weather.hook = None
        with trio.move_on_after(200.0):
            await Node(world).janitor.run()
        assert settled(world)


@pytest.mark.parametrize("part", ["jobs", "queue", "artifacts"])
async def test_it_waits_for_a_part_that_is_away(part: str) -> None:
    world = World()
    await everything(world)
    world.weather.away(part, 120.0)
    with trio.move_on_after(120.0 + SWEEP_SECONDS):
        await Node(world).janitor.run()
    assert settled(world)

"""How triage settles each dead letter, and that it may be cut off anywhere and repeated."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config.models import Triage as TriageOptions
from reportd.core.dead_letters.triage import MAX_RETURNS
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import from_message, to_message
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.dead_letters.triage import BATCH, MAX_BATCHES, MAX_INTERNAL_ERRORS, TROUBLE
from reportd.ports import LetterStatus, Outgoing, Settlement
from tests.daemon.node import Node, World, job, message_of
from tests.fakes import EPOCH, now
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")

FAULT = Fault(FaultKind.SCRIPT_ERROR, "x is not defined")
TIMEOUT = Fault(FaultKind.TIMEOUT, "the page took longer than 60 s")


async def dead_lettered(world: World, number: int = 1, *, letters: int = 1, fault: Fault = FAULT) -> str:
    """Return a job that the worker has given up."""
    one = job(number)
    await world.jobs.add([one])
    await world.jobs.settle(Settlement(one.task_id, JobEvent.DEAD_LETTERED, now(), fault=fault))
    told = {"kind": str(fault.kind), "reason": fault.detail}
    await world.dead.send([replace(message_of(one), attributes=told)] * letters)
    return one.task_id


def actions(world: World) -> Counter[str]:
    return Counter(entry.action for entry in world.audit.entries)


# --- jobs -------------------------------------------------------------------------------------------------------


async def test_a_job_that_was_given_up_is_quarantined_with_its_error() -> None:
    world = World()
    task_id = await dead_lettered(world)
    node = Node(world)
    async with trio.open_nursery() as nursery:
        heard: list[bool] = []

        async def listen() -> None:
            heard.append(await node.waiters.wait(task_id, 10.0))

        nursery.start_soon(listen)
        await trio.sleep(1.0)
        await node.settle_visible()
    record = world.jobs.records[task_id]
    assert (record.state, record.error, record.finished_at) == (JobState.QUARANTINED, FAULT, EPOCH + 1.0)
    assert heard == [True]
    assert not world.dead.messages
    letter = world.letters.letters[task_id]
    assert (letter.kind, letter.detail, letter.standing) == (
        "script_error",
        "x is not defined",
        LetterStatus.QUARANTINED,
    )
    assert letter.body == message_of(job()).body
    assert [told.id for told in world.quarantined] == [task_id]
    (entry,) = world.audit.entries
    assert (entry.actor, entry.action, entry.subject) == ("node", "dead_letter.quarantined", task_id)


async def test_a_second_letter_of_it_changes_nothing() -> None:
    world = World()
    task_id = await dead_lettered(world, letters=3)
    await Node(world).settle_visible()
    assert world.jobs.terminal_moves(task_id) == [JobState.QUARANTINED]
    assert len(world.quarantined) == len(world.letters.letters) == 1
    assert not world.dead.messages


async def test_a_round_is_bounded_and_the_next_one_goes_on() -> None:
    world = World()
    count = BATCH * MAX_BATCHES + 3
    for number in range(1, count + 1):
        await dead_lettered(world, number)
    node = Node(world)
    await node.settle_visible()
    assert len(world.dead.messages) == 3
    await node.settle_visible()
    assert {record.state for record in world.jobs.records.values()} == {JobState.QUARANTINED}
    assert not world.dead.messages


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_what_nobody_has_given_up_goes_back_to_the_queue(state: JobState) -> None:
    """The queue's own redrive policy dead-lettered it: it never reaches quarantine untried (I3)."""
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    await world.dead.send([replace(message_of(one), attributes={"reason": "exhausted_receives"})])
    await Node(world).settle_visible()
    (message,) = world.queue.messages
    assert message.sent.body == message_of(one).body
    # A FIFO queue would drop a second, identical message as a duplicate.
    assert message.sent.attributes
    assert not world.dead.messages
    assert (world.record(one).state, world.record(one).confirmed) == (state, True)


async def test_a_job_without_a_row_goes_back_to_the_queue_once() -> None:
    world, one = World(), job()
    await world.dead.send([message_of(one)])
    node = Node(world)
    await trio.sleep(100.0)
    await node.settle_visible()
    await node.janitor.send_unconfirmed()
    assert len(world.queue.messages) == 1
    assert world.record(one).state is JobState.QUEUED


async def test_what_comes_back_untried_again_and_again_is_quarantined_in_the_end() -> None:
    world, one = World(), job()
    node = Node(world)
    for _ in range(MAX_RETURNS):
        await world.dead.send([message_of(one)])
        await node.settle_visible()
        assert world.record(one).state is JobState.QUEUED
    await world.dead.send([message_of(one)])
    await node.settle_visible()
    assert world.record(one).state is JobState.QUARANTINED
    assert len(world.queue.messages) == MAX_RETURNS
    assert (world.record(one).error or FAULT).kind is FaultKind.EXHAUSTED_RECEIVES


async def test_a_job_that_a_node_did_not_know_yet_is_tried_by_those_that_do() -> None:
    """E.g. while a new report type is rolled out (I3)."""
    world = World()
    fault = Fault(FaultKind.UNKNOWN_REPORT_TYPE, "/reportType: there is no report type of this name")
    task_id = await dead_lettered(world, fault=fault)
    await Node(world).settle_visible()
    assert world.jobs.records[task_id].state is JobState.QUEUED
    assert len(world.queue.messages) == 1
    assert world.letters.letters[task_id].returns == 1


async def test_the_letter_of_a_job_too_large_for_its_message_is_settled_from_the_store() -> None:
    world, large, gone = World(), job(1, rows="r" * 1000), job(2, rows="r" * 1000)
    await world.jobs.add([large])
    await world.jobs.settle(Settlement(large.task_id, JobEvent.DEAD_LETTERED, now(), fault=FAULT))
    await world.dead.send([replace(message_of(one), body=to_message(one, 500)) for one in (large, gone)])
    await Node(world).settle_visible()
    assert (world.record(large).state, world.record(large).job) == (JobState.QUARANTINED, large)
    # The store does not know the other job; its letter is kept for people to see.
    (other,) = [letter for letter in world.letters.letters.values() if letter.id != large.task_id]
    assert (other.task_id, other.body) == (None, to_message(gone, 500))
    assert not world.dead.messages


async def test_a_letter_that_comes_while_it_waits_is_settled_at_once() -> None:
    world = World()
    node = Node(world)
    with world.without_threads():
        async with open_background() as nursery:
            nursery.start_soon(node.triage.run)
            await trio.sleep(3.0)
            task_id = await dead_lettered(world)
            await trio.sleep(0.5)
            assert world.jobs.records[task_id].state is JobState.QUARANTINED


async def test_a_message_received_in_vain_too_often_comes_to_its_end_all_the_same() -> None:
    world, one = World(max_receive_count=3), job()
    await world.send(one)
    for _ in range(3):
        await world.queue.receive(1, 60.0)  # by nodes that die at once
    async with open_background() as nursery:
        await trio.sleep(60.0)
        nursery.start_soon(Node(world).run, trio.Event())
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert not world.dead.messages


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.QUARANTINED, JobState.CANCELLED])
async def test_the_letter_of_a_finished_job_is_dropped(state: JobState) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    await world.dead.send([message_of(one)])
    await Node(world).settle_visible()
    assert world.record(one).state is state
    assert not world.dead.messages
    assert not world.queue.messages
    assert actions(world) == {"dead_letter.dropped": 1}


# --- messages ---------------------------------------------------------------------------------------------------


async def test_what_is_no_job_is_kept_whole_before_it_leaves_its_queue() -> None:
    world = World()
    await world.dead.send([Outgoing("{", "", "", "", attributes={"kind": "malformed_message"})] * 2)
    task_id = await dead_lettered(world)
    node = Node(world)
    await node.settle_visible()
    assert world.jobs.records[task_id].state is JobState.QUARANTINED
    assert not world.dead.messages
    (kept,) = [letter for letter in world.letters.letters.values() if letter.task_id is None]
    assert (kept.body, kept.kind, kept.attributes) == ("{", "malformed_message", {"kind": "malformed_message"})
    assert "not JSON" in kept.detail
    assert [told.id for told in world.quarantined].count(kept.id) == 1


async def test_a_message_that_can_be_repaired_is_rendered() -> None:
    world, one = World(), job()
    await world.queue.send([Outgoing(f"\ufeff{message_of(one).body}".replace("userId", "user_id"), "", "", "")])
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert world.record(one).job == one
    (entry,) = world.audit.entries
    assert (entry.action, entry.subject) == ("dead_letter.repaired", one.task_id)
    blanks, name = (change["what"] for change in entry.detail["changes"])
    assert mentions(blanks, "byte order mark")
    assert mentions(name, "name")
    assert not world.letters.letters
    assert not world.quarantined


async def test_a_job_that_its_type_refused_is_repaired_in_its_record_too() -> None:
    world, one = World(), job(report_type="old__report", n=1)
    await world.send(one)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        record = await world.terminal(one)
    assert (record.state, record.job) == (JobState.SUCCEEDED, replace(one, report_type="report"))
    assert actions(world) == {"dead_letter.repaired": 1}


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_repaired_message_makes_one_job_whatever_is_cut_off(phase: str) -> None:
    body = message_of(job()).body.replace('"taskId"', '"unknown"')
    for kill in range(1, 22):
        world = World()
        await world.queue.send([Outgoing(body, "", "", "")])
        await life(world, kill, phase)
        await trio.sleep(500.0)
        assert not await life(world, 10_000, phase)
        (record,) = world.jobs.records.values()
        assert record.state is JobState.SUCCEEDED, kill
        assert len(world.artifacts.stored) == 1
        assert not world.letters.letters


async def life(world: World, until_call: int, phase: str) -> bool:
    """Run a node until it is killed or has nothing left to do. Return whether it was killed."""
    killed = world.weather.kill_at(until_call, phase)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        with trio.move_on_after(1000.0):
            await killed.wait()
    world.weather.hook = None
    return killed.is_set()


# --- waiting ----------------------------------------------------------------------------------------------------


async def test_what_may_pass_waits_outside_of_the_queue() -> None:
    world = World()
    world.triage = TriageOptions()
    task_id = await dead_lettered(world, fault=TIMEOUT)
    await Node(world).settle_visible()
    letter = world.letters.letters[task_id]
    assert (letter.standing, letter.due_at) == (LetterStatus.WAITING, EPOCH + 60.0)
    assert world.jobs.records[task_id].state is JobState.DEAD_LETTERED
    assert not world.dead.messages
    assert not world.quarantined


async def test_a_late_letter_of_a_job_that_is_tried_again_is_judged_anew() -> None:
    """The job changes after it was read and before the copy is kept."""
    world = World()
    world.triage = TriageOptions()
    task_id = await dead_lettered(world, fault=TIMEOUT)

    async def hook(call: str, when: str) -> None:
        if (call, when) == ("letters.keep", "before"):
            world.weather.hook = None
            await world.jobs.settle(Settlement(task_id, JobEvent.REDRIVEN, now()))

    world.weather.hook = hook
    node = Node(world)
    await node.settle_visible()
    assert not world.letters.letters
    assert len(world.dead.messages) == 1
    await trio.sleep(world.dead.visibility_seconds)
    await node.settle_visible()
    assert not world.dead.messages
    assert world.jobs.records[task_id].state is JobState.QUEUED


# --- cut off anywhere -------------------------------------------------------------------------------------------


async def everything(world: World) -> None:
    """One letter for each action."""
    await dead_lettered(world, 1)
    await world.dead.send([message_of(job(2)), Outgoing("{", "", "", "")])
    await world.dead.send([replace(message_of(job(3)), body="\ufeff" + message_of(job(3)).body)])
    await world.jobs.add([job(4)])
    world.jobs._change(job(4).task_id, state=JobState.SUCCEEDED)
    await world.dead.send([message_of(job(4))])


def settled(world: World) -> bool:
    records = world.jobs.records
    return (
        records[job(1).task_id].state is JobState.QUARANTINED
        and {message.sent.task_id for message in world.queue.messages} == {job(2).task_id, job(3).task_id}
        and all(records[job(number).task_id].confirmed for number in (2, 3))
        and not world.dead.messages
        and [letter.standing for letter in world.letters.letters.values()].count(LetterStatus.QUARANTINED) == 2
    )


async def triaging(world: World) -> None:
    node = Node(world)
    with world.without_threads():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.triage.run)
            nursery.start_soon(node.janitor.run)


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_it_may_be_cut_off_at_any_call(phase: str) -> None:
    for number in range(1, 45):
        world = World()
        await everything(world)
        killed = world.weather.kill_at(number, phase)
        async with open_background() as nursery:
            nursery.start_soon(triaging, world)
            await killed.wait()
        world.weather.hook = None
        with trio.move_on_after(200.0):
            await triaging(world)
        assert settled(world)
        assert world.jobs.terminal_moves(job(1).task_id) == [JobState.QUARANTINED]
        assert len(world.quarantined) <= 2


@pytest.mark.parametrize("part", ["jobs", "dead", "queue", "letters"])
async def test_it_waits_for_a_part_that_is_away(part: str) -> None:
    world = World()
    await everything(world)
    world.weather.away(part, 120.0)
    with trio.move_on_after(200.0 + world.dead.visibility_seconds):
        await triaging(world)
    assert settled(world)
    assert len(world.quarantined) == 2


def too_large(world: World) -> None:
    world.weather.fail("queue.send", ValueError("the message is too large"))


def bug(world: World) -> None:
    world.weather.fail("jobs.add", RuntimeError("a bug"))


@pytest.mark.parametrize("fault", [too_large, bug])
async def test_a_letter_that_nobody_foresaw_does_not_keep_the_others_from_being_settled(
    fault: Callable[[World], None],
) -> None:
    world = World()
    await everything(world)
    fault(world)
    with trio.move_on_after(100.0 + world.dead.visibility_seconds):
        await triaging(world)
    assert settled(world)


async def test_a_letter_at_which_the_daemon_fails_is_left_to_people_in_the_end() -> None:
    world, one = World(), job()
    await world.dead.send([message_of(one)])
    world.weather.fail("queue.send", *[ValueError("it can't be sent")] * MAX_INTERNAL_ERRORS)
    with world.without_threads(), trio.move_on_after((MAX_INTERNAL_ERRORS + 1) * world.dead.visibility_seconds):
        await Node(world).triage.run()
    assert world.record(one).state is JobState.QUARANTINED
    letter = world.letters.letters[one.task_id]
    assert letter.kind == "internal"
    assert mentions(letter.reason, "ValueError", "log")
    assert not world.dead.messages
    assert from_message(letter.body) == one


async def test_two_nodes_do_each_thing_once() -> None:
    world = World()
    for number in range(1, 60):
        await dead_lettered(world, number, letters=1 + number % 2)
    with trio.move_on_after(100.0):
        async with trio.open_nursery() as nursery:
            for name in ("a", "b"):
                node = Node(world, name=name)
                nursery.start_soon(node.triage.run)
            with world.without_threads():
                await trio.sleep_forever()
    assert Counter(state for _, _, state in world.jobs.moves if state is JobState.QUARANTINED).total() == 59
    assert len(world.quarantined) == len(world.letters.letters) == 59
    assert actions(world)["dead_letter.quarantined"] == 59
    assert not world.dead.messages


async def test_a_dead_letter_queue_that_is_away_is_told() -> None:
    world, supervisor = World(), Supervisor()
    node = Node(world, supervisor=supervisor)
    async with open_background() as nursery:
        nursery.start_soon(node.triage.run)
        world.weather.away("dead", 60.0)
        await trio.sleep(30.0)
        assert "dead" in supervisor.trouble(TROUBLE)
        await trio.sleep(90.0)
    assert supervisor.trouble(TROUBLE) == ""

"""How the worker handles a message: the order of its steps, retries, and the dead-letter queue."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
import trio
from structlog.testing import capture_logs

from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.core.jobs.job import to_message
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.retry import MAX_NODE_LOSSES
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import OnProgress, Outgoing, Pdf, RenderRequest, Settlement
from reportd.work.timeouts import LEAST
from tests.daemon.node import Node, World, job, message_of, open_node
from tests.fakes import now
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")

WARNINGS = (
    JobWarning(WarningKind.RESOURCES, "https://cdn.internal/logo.png", "404", 3),
    JobWarning(WarningKind.GLYPHS, "☑", "no font has it"),
    JobWarning(WarningKind.RESOURCES, "https://cdn.internal/style.css?token=s3cret", "500", 2),
)


async def test_the_pdf_is_stored_then_recorded_then_the_message_deleted() -> None:
    world, one = World(), job()
    messages = await world.received(one)
    world.weather.calls.clear()
    await Node(world).handle(*messages)
    assert world.weather.calls == ["jobs.start", "renderer.render", "artifacts.put", "jobs.settle", "queue.delete"]
    record = world.record(one)
    assert (record.state, record.tally.attempts, record.error) == (JobState.SUCCEEDED, 1, None)
    assert record.pdf is not None
    assert record.pdf.size_bytes == len(world.artifacts.stored[one.task_id])
    assert not world.queue.messages


async def test_what_is_missing_from_the_pdf_is_recorded_with_it() -> None:
    world, one = World(), job()
    world.renderer.warnings[one.task_id] = WARNINGS
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert (record.state, record.warnings) == (JobState.SUCCEEDED, WARNINGS)


async def test_a_pdf_that_is_not_stored_leaves_no_warnings() -> None:
    world, one = World(), job()
    world.renderer.warnings[one.task_id] = WARNINGS
    world.weather.away("artifacts", 70.0)
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert record.error is not None
    assert (record.error.kind, record.warnings) == (FaultKind.STORE_UNAVAILABLE, ())


async def test_warnings_are_logged_by_kind_without_what_the_page_wrote() -> None:
    world, one, whole = World(), job(1), job(2)
    world.renderer.warnings[one.task_id] = WARNINGS
    with capture_logs() as logs:
        await Node(world).handle(*await world.received(one, whole))
    [line] = [line for line in logs if line["event"] == "job.warnings"]
    assert (line["log_level"], line["counts"]) == ("warning", {"resources": 5, "glyphs": 1})
    assert "logo.png" not in str(logs)


async def test_the_attempt_is_on_record_before_a_browser_is_touched() -> None:
    world, one = World(), job()
    seen: list[JobState] = []

    async def look(call: str, when: str) -> None:
        if (call, when) == ("renderer.render", "before"):
            seen.append(world.record(one).state)

    messages = await world.received(one)
    world.weather.hook = look
    await Node(world).handle(*messages)
    assert seen == [JobState.RUNNING]


async def test_a_pdf_that_is_being_stored_takes_nobodys_slot() -> None:
    world, one = World(slots=1), job()
    free: list[int] = []

    async def look(call: str, _when: str) -> None:
        if call in ("renderer.render", "artifacts.put"):
            free.append(world.renderer.free)

    messages = await world.received(one)
    world.weather.hook = look
    await Node(world).handle(*messages)
    assert free == [0, 0, 1, 1]


# --- retries ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chance", "waits"), [(0.0, (2.0, 4.0)), (0.5, (3.0, 6.0)), (1.0, (4.0, 8.0))])
async def test_a_failure_is_tried_again_after_a_growing_wait_with_jitter(
    chance: float, waits: tuple[float, float]
) -> None:
    world, one = World(), job()
    world.renderer.seconds = 0.0
    world.renderer.faults[one.task_id] = [FaultKind.SCRIPT_ERROR, FaultKind.SCRIPT_ERROR]
    node = Node(world, chance=lambda: chance)
    messages = await world.received(one)
    for number, wait in enumerate(waits, 1):
        await node.handle(*messages)
        assert (world.record(one).state, world.record(one).tally.attempts) == (JobState.QUEUED, number)
        assert not await world.queue.receive(1, wait - 0.01)
        messages = await world.queue.receive(1, 0.01)
    await node.handle(*messages)
    assert (world.record(one).state, world.record(one).tally.attempts) == (JobState.SUCCEEDED, 3)
    assert world.record(one).error is None


async def test_after_the_last_attempt_the_daemon_itself_dead_letters_with_the_reason() -> None:
    world, one = World(), job(callback="kept")
    world.renderer.faults[one.task_id] = [FaultKind.SCRIPT_ERROR] * 3
    node = Node(world)
    await world.send(one)
    for _ in range(3):
        await node.handle(*await world.queue.receive(1, 60.0))
    record = world.record(one)
    assert (record.state, record.tally.attempts) == (JobState.DEAD_LETTERED, 3)
    assert record.error is not None
    assert record.error.kind is FaultKind.SCRIPT_ERROR
    assert not world.queue.messages
    (letter,) = await world.dead.receive(10, 0.0)
    assert letter.body == to_message(one)
    assert letter.attributes == {"kind": "script_error", "reason": "scripted"}


async def test_what_trying_again_cannot_help_is_dead_lettered_at_once() -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_STATUS]
    await Node(world).handle(*await world.received(one))
    assert (world.record(one).state, world.record(one).tally.attempts) == (JobState.DEAD_LETTERED, 1)
    assert (len(world.queue.messages), len(world.dead.messages)) == (0, 1)


async def test_a_bug_in_a_renderer_is_an_internal_fault_of_one_job() -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [RuntimeError("a bug")]
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert record.state is JobState.QUEUED
    assert record.error is not None
    assert record.error.kind is FaultKind.INTERNAL
    assert mentions(record.error.detail, "RuntimeError", "log")
    assert "a bug" not in record.error.detail


@pytest.mark.parametrize(
    ("broken", "state", "kind"),
    [
        (FaultError(FaultKind.TEMPLATE_ERROR, "line 3"), JobState.DEAD_LETTERED, FaultKind.TEMPLATE_ERROR),
        (KeyError("rows"), JobState.QUEUED, FaultKind.INTERNAL),
    ],
)
async def test_a_page_that_cannot_be_made_is_a_failed_attempt_without_a_browser(
    broken: Exception, state: JobState, kind: FaultKind
) -> None:
    world, one = World(), job()
    world.types.broken = broken
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert (record.state, record.tally.attempts) == (state, 1)
    assert record.error is not None
    assert record.error.kind is kind
    assert not world.renderer.rendered


# --- malformed messages and unknown types -------------------------------------------------------------------


@pytest.mark.parametrize("body", ["{", "[]", '{"taskId": "x"}', "", '{"taskId": "%s"}' % job(7).task_id])  # noqa: UP031
async def test_what_is_no_job_is_dead_lettered_as_it_came(body: str) -> None:
    world = World()
    await world.queue.send([Outgoing(body, "", "", "")])
    await Node(world).handle(*await world.queue.receive(1, 0.0))
    (letter,) = world.dead.messages
    assert letter.sent.body == body
    assert letter.sent.attributes["kind"] == "malformed_message"
    assert letter.sent.attributes["reason"]
    assert not world.queue.messages
    assert not world.jobs.records


@pytest.mark.parametrize(
    ("report_type", "parameters", "kind", "detail"),
    [
        ("other", {}, FaultKind.UNKNOWN_REPORT_TYPE, "/reportType: there is no report type of this name"),
        ("report", {"wrong": 1}, FaultKind.INVALID_PARAMETERS, "/parameters/wrong: must not be there"),
    ],
)
async def test_a_job_unfit_for_its_type_is_dead_lettered_before_it_waits_for_a_slot(
    report_type: str, parameters: dict[str, Any], kind: FaultKind, detail: str
) -> None:
    world, one = World(slots=1), job(1, report_type, **parameters)
    async with world.renderer.slot():
        with trio.fail_after(1.0):
            await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert (record.state, record.tally.attempts) == (JobState.DEAD_LETTERED, 0)
    assert record.error is not None
    assert (record.error.kind, record.error.detail) == (kind, detail)
    (letter,) = world.dead.messages
    assert letter.sent.attributes == {"kind": str(kind), "reason": detail}
    assert not world.queue.messages


async def test_a_job_with_an_option_that_its_type_does_not_allow_is_dead_lettered() -> None:
    world, one = World(), replace(job(), options=JobOptions(pdf={"scale": 2}))
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert (record.state, record.tally.attempts) == (JobState.DEAD_LETTERED, 0)
    assert record.error == Fault(FaultKind.INVALID_PARAMETERS, "/pdf/scale: is not allowed")


async def test_a_bug_in_the_check_of_a_job_dead_letters_that_job() -> None:
    world, one = World(), job()
    world.types.check = lambda *_: 1 / 0  # type: ignore[assignment,method-assign]
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert record.state is JobState.DEAD_LETTERED
    assert record.error is not None
    assert record.error.kind is FaultKind.INTERNAL


async def test_a_job_straight_from_the_queue_gets_its_row() -> None:
    world, one = World(), job()
    body = orjson.loads(to_message(one)) | {"submittedAt": 1_750_000_000_000, "unknown": [1]}
    await world.queue.send([Outgoing(orjson.dumps(body).decode(), one.task_id, one.report_type, one.user_id)])
    assert one.task_id not in world.jobs.records
    await Node(world).handle(*await world.queue.receive(1, 0.0))
    assert world.record(one).state is JobState.SUCCEEDED
    assert world.record(one).job.submitted_at == 1_750_000_000.0


async def test_a_job_too_large_for_its_message_is_taken_from_the_store() -> None:
    world, one = World(), job(rows="r" * 1000)
    await world.jobs.add([one])
    world.weather.away("jobs", 10.0)
    await world.queue.send([replace(message_of(one), body=to_message(one, 500))])
    await Node(world).handle(*await world.queue.receive(1, 0.0))
    assert (world.record(one).state, world.record(one).job) == (JobState.SUCCEEDED, one)
    assert not world.queue.messages


async def test_both_forms_of_a_message_are_the_same_work() -> None:
    world, one = World(), job(rows="r" * 1000)
    await world.jobs.add([one])
    await world.queue.send([message_of(one), replace(message_of(one), body=to_message(one, 500))])
    await Node(world).handle(*await world.queue.receive(2, 0.0))
    assert world.renderer.rendered == [(one.task_id, False)]
    assert not world.queue.messages


async def test_a_message_whose_job_is_nowhere_is_dead_lettered() -> None:
    world, one = World(), job(rows="r" * 1000)
    await world.queue.send([replace(message_of(one), body=to_message(one, 500))])
    await Node(world).handle(*await world.queue.receive(1, 0.0))
    (letter,) = world.dead.messages
    assert letter.sent.attributes["kind"] == "malformed_message"
    assert not world.queue.messages
    assert not world.renderer.rendered
    assert not world.jobs.records


async def test_a_dead_letter_too_large_for_its_queue_goes_without_the_parameters() -> None:
    world, one = World(), job(rows="r" * 1000)
    world.dead.max_message_bytes = 500
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_STATUS]
    async with open_node(world):
        await world.send(one)
        assert (await world.terminal(one)).state is JobState.QUARANTINED
    assert not world.dead.messages


# --- lost browsers and lost nodes (I5) ----------------------------------------------------------------------


async def test_a_job_whose_browser_died_twice_gets_no_third_one() -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.BROWSER_LOST] * 9
    async with open_node(world):
        await world.send(one)
        record = await world.terminal(one)
        await trio.sleep(600.0)
    assert record.state is JobState.QUARANTINED
    assert record.error is not None
    assert record.error.kind is FaultKind.BROWSER_LOST
    assert (record.tally.losses, record.tally.attempts) == (2, 0)
    assert world.renderer.rendered == [(one.task_id, False), (one.task_id, True)]


async def test_a_job_that_only_shared_the_browser_loses_no_attempt() -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.BROWSER_LOST]
    async with open_node(world):
        await world.send(one)
        record = await world.terminal(one)
    assert (record.state, record.tally.attempts, record.tally.losses) == (JobState.SUCCEEDED, 1, 1)
    assert world.renderer.rendered == [(one.task_id, False), (one.task_id, True)]


async def test_a_job_that_has_lost_two_browsers_is_not_started_once_more() -> None:
    """However its message gets back into the queue."""
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_CRASHED] * 2
    node = Node(world)
    await world.send(one)
    for _ in range(2):
        await node.handle(*await world.queue.receive(1, 60.0))
    assert await world.jobs.settle(Settlement(one.task_id, JobEvent.REDRIVEN, now())) is JobState.QUEUED
    await node.handle(*await world.received(one))
    assert world.record(one).state is JobState.DEAD_LETTERED
    assert len(world.renderer.rendered) == 2


async def test_a_job_that_is_there_whenever_a_node_dies_is_given_up() -> None:
    world, one = World(), job()
    await world.send(one)
    for _ in range(MAX_NODE_LOSSES):
        (message,) = await world.queue.receive(1, 60.0)
        with trio.move_on_after(0.5):  # the node dies while it renders
            await Node(world).handle(message)
        assert world.record(one).state is JobState.RUNNING
    await Node(world).handle(*await world.queue.receive(1, 60.0))
    record = world.record(one)
    assert record.state is JobState.DEAD_LETTERED
    assert record.error is not None
    assert (record.error.kind, record.tally.node_losses, record.tally.attempts) == (FaultKind.NODE_LOST, 5, 0)
    assert len(world.renderer.rendered) == MAX_NODE_LOSSES


async def test_an_alias_in_a_message_means_its_type() -> None:
    world = World()
    node, one = Node(world), job(1, report_type="old_report")
    await node.handle(*await world.received(one))
    assert world.record(one).state is JobState.SUCCEEDED
    assert world.record(one).job.report_type == "report"
    assert [breaker.report_type for breaker in node.worker._breakers.snapshot()] == ["report"]


async def test_a_job_that_took_longer_than_usual_gets_all_the_time_there_is_when_it_is_tried_again() -> None:
    world = World()
    node, given = Node(world, timeout_factor=10.0), []
    world.renderer.seconds = 0.5
    render = world.renderer.render

    async def noted(request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress) -> Pdf:
        given.append(request.timeout_seconds)
        return await render(request, dedicated_browser=dedicated_browser, on_progress=on_progress)

    world.renderer.render = noted  # type: ignore[method-assign,assignment]
    for number in range(LEAST):
        await node.handle(*await world.received(job(number)))
    one = job(LEAST)
    world.renderer.faults[one.task_id] = [FaultKind.TIMEOUT]
    await node.handle(*await world.received(one))
    await trio.sleep(60.0)
    await node.handle(*await world.queue.receive(1, 0.0))
    assert world.record(one).state is JobState.SUCCEEDED
    assert given == [60.0] * LEAST + [5.0, 60.0]


async def test_a_browser_that_dies_under_a_job_alone_says_something_about_its_type() -> None:
    world, one = World(), job()
    node = Node(world)
    world.renderer.faults[one.task_id] = [FaultKind.BROWSER_LOST, FaultKind.BROWSER_LOST]
    await node.handle(*await world.received(one))
    assert not node.worker._breakers.failing("report")  # another job in that browser may be at fault
    await node.handle(*await world.queue.receive(1, 0.0))
    assert node.worker._breakers.failing("report")
    assert [dedicated_browser for _, dedicated_browser in world.renderer.rendered] == [False, True]

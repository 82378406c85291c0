"""Every job store: attempts, what they cost, and who may settle them (I1, I3, I5, I6)."""

import pytest
import trio

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.retry import MAX_LOSSES, MAX_NODE_LOSSES, Tally
from reportd.core.jobs.transitions import TERMINAL, TRANSITIONS, JobEvent, JobState
from reportd.ports import Attempt, AttemptRefused, AttemptStarted, Jobs
from tests.contract.jobs.jobs_lab import CRASH, NOON, PDF, TIMEOUT, a_job, bring, recorded, settled, started


@pytest.mark.parametrize("event", JobEvent)
@pytest.mark.parametrize("state", JobState)
async def test_the_store_moves_a_job_as_the_table_says(jobs: Jobs, state: JobState, event: JobEvent) -> None:
    job = a_job()
    last = await bring(jobs, job, state)
    before, attempts = await recorded(jobs, job), await jobs.attempts(job.task_id)
    expected = TRANSITIONS.get((state, event))
    if event is JobEvent.STARTED:
        outcome = await jobs.start(job, "node-2", NOON + 5)
        moved = outcome.record.state if isinstance(outcome, AttemptStarted) else None
    elif event is JobEvent.REVIVED:
        revived = await jobs.revive(job.task_id)
        moved = revived.state if revived else None
    else:
        attempt_id = last.attempt_id if last and state is JobState.RUNNING else None
        moved = await settled(jobs, job, event, at=NOON + 5, attempt_id=attempt_id, fault=TIMEOUT)
    assert moved is expected
    after = await recorded(jobs, job)
    if expected is None:
        assert after == before
        assert await jobs.attempts(job.task_id) == attempts
    else:
        assert after.state is expected
        assert after.finished_at == (NOON + 5 if expected in TERMINAL else None)


async def test_a_message_that_came_straight_to_the_queue_makes_its_row(jobs: Jobs) -> None:
    job = a_job(callback_url="https://example.org/hook", options=JobOptions("de", pdf={"scale": 0.5}))
    start = await started(jobs, job, "node-1", NOON + 7)
    assert start.record == await recorded(jobs, job)
    assert (start.record.job, start.record.state, start.record.confirmed) == (job, JobState.RUNNING, True)
    assert (start.record.started_at, start.record.tally) == (NOON + 7, Tally(attempts=1))
    assert await jobs.attempts(job.task_id) == [Attempt(1, "node-1", NOON + 7)]


async def test_a_start_keeps_the_job_that_was_submitted(jobs: Jobs) -> None:
    job = a_job()
    await jobs.add([job])
    message = a_job(task_id=job.task_id, parameters={"forged": True})
    assert (await started(jobs, message)).record.job == job


async def test_a_success_is_recorded_with_its_pdf(jobs: Jobs) -> None:
    job = a_job()
    start = await started(jobs, job)
    assert await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF) is JobState.SUCCEEDED
    record = await recorded(jobs, job)
    assert (record.state, record.pdf, record.error) == (JobState.SUCCEEDED, PDF, None)
    assert (record.started_at, record.finished_at) == (NOON + 1, NOON + 2)
    assert await jobs.attempts(job.task_id) == [Attempt(1, "node-1", NOON + 1, NOON + 2, "succeeded")]


async def test_attempts_are_numbered_and_keep_their_outcomes(jobs: Jobs) -> None:
    job = a_job()
    for number in range(3):
        start = await started(jobs, job, f"node-{number}", NOON + 10 * number)
        assert start.record.tally.attempts == number + 1
        await settled(
            jobs, job, JobEvent.RETRIED, at=NOON + 10 * number + 5, attempt_id=start.attempt_id, fault=TIMEOUT
        )
    assert await jobs.attempts(job.task_id) == [
        Attempt(n + 1, f"node-{n}", NOON + 10 * n, NOON + 10 * n + 5, "timeout", TIMEOUT.detail) for n in range(3)
    ]
    record = await recorded(jobs, job)
    assert (record.state, record.tally, record.error) == (JobState.QUEUED, Tally(attempts=3), TIMEOUT)


@pytest.mark.parametrize(
    ("event", "fields", "tally"),
    [
        (JobEvent.RETRIED, {"fault": TIMEOUT}, Tally(attempts=1)),
        (JobEvent.RETRIED, {"fault": CRASH, "counted": False, "loss": True}, Tally(losses=1, uncounted=1)),
        (JobEvent.RETRIED, {"fault": CRASH, "counted": False}, Tally(uncounted=1)),
        (JobEvent.RELEASED, {"counted": False}, Tally()),
        (JobEvent.DEFERRED, {"counted": False}, Tally(deferrals=1)),
        (JobEvent.DEAD_LETTERED, {"fault": TIMEOUT}, Tally(attempts=1)),
        (JobEvent.DEAD_LETTERED, {"fault": CRASH, "counted": False, "loss": True}, Tally(losses=1)),
        (JobEvent.SUCCEEDED, {"pdf": PDF}, Tally(attempts=1)),
        (JobEvent.CANCELLED, {}, Tally(attempts=1)),
    ],
)
async def test_what_an_outcome_costs(jobs: Jobs, event: JobEvent, fields: dict[str, object], tally: Tally) -> None:
    job = a_job()
    start = await started(jobs, job)
    assert await settled(jobs, job, event, attempt_id=start.attempt_id, **fields) is not None
    assert (await recorded(jobs, job)).tally == tally


async def test_a_queued_job_may_be_put_off_without_an_attempt(jobs: Jobs) -> None:
    """While its breaker is open (I3)."""
    job = a_job()
    await jobs.add([job])
    for number in range(1, 4):
        assert await settled(jobs, job, JobEvent.DEFERRED) is JobState.QUEUED
        assert (await recorded(jobs, job)).tally == Tally(deferrals=number)


async def test_a_redelivery_after_a_crash_uses_no_attempt(jobs: Jobs) -> None:
    job = a_job()
    crashed = await started(jobs, job, "node-1", NOON + 1)
    again = await started(jobs, job, "node-2", NOON + 60)
    assert again.record.tally == Tally(attempts=1, node_losses=1)
    first, second = await jobs.attempts(job.task_id)
    assert (first.number, first.node, first.finished_at, first.outcome) == (1, "node-1", NOON + 60, "node_lost")
    assert second == Attempt(2, "node-2", NOON + 60)
    assert again.attempt_id != crashed.attempt_id


async def test_a_redelivery_after_a_crash_that_is_put_off_uses_no_attempt(jobs: Jobs) -> None:
    """I3: its breaker is open, perhaps because it was the probe and its node died."""
    job = a_job()
    await started(jobs, job, "node-1", NOON + 1)
    assert await settled(jobs, job, JobEvent.DEFERRED, at=NOON + 60) is JobState.QUEUED
    assert (await recorded(jobs, job)).tally == Tally(deferrals=1, node_losses=1)
    assert await jobs.attempts(job.task_id) == [Attempt(1, "node-1", NOON + 1, NOON + 60, "node_lost")]
    assert (await started(jobs, job, "node-2", NOON + 90)).record.tally.attempts == 1


async def test_a_job_whose_node_dies_every_time_is_refused(jobs: Jobs) -> None:
    job = a_job()
    for _ in range(MAX_NODE_LOSSES):
        await started(jobs, job)
    refused = await jobs.start(job, "node-9", NOON + 9)
    assert isinstance(refused, AttemptRefused)
    assert refused.fault is not None
    assert refused.fault.kind is FaultKind.NODE_LOST
    assert refused.record == await recorded(jobs, job)
    assert refused.record.tally == Tally(attempts=0, node_losses=MAX_NODE_LOSSES)
    assert [attempt.outcome for attempt in await jobs.attempts(job.task_id)] == ["node_lost"] * MAX_NODE_LOSSES
    # And it can be given up.
    assert await settled(jobs, job, JobEvent.DEAD_LETTERED, fault=refused.fault) is JobState.DEAD_LETTERED


async def test_a_job_that_lost_two_browsers_is_given_no_third(jobs: Jobs) -> None:
    """I5."""
    job = a_job()
    for _ in range(MAX_LOSSES):
        start = await started(jobs, job)
        fields = {"fault": CRASH, "counted": False, "loss": True}
        await settled(jobs, job, JobEvent.RETRIED, attempt_id=start.attempt_id, **fields)
    refused = await jobs.start(job, "node-1", NOON + 9)
    assert isinstance(refused, AttemptRefused)
    assert refused.fault is not None
    assert refused.fault.kind is FaultKind.BROWSER_LOST
    assert len(await jobs.attempts(job.task_id)) == MAX_LOSSES


@pytest.mark.parametrize("state", [*sorted(TERMINAL), JobState.DEAD_LETTERED])
async def test_a_settled_job_is_not_started_again(jobs: Jobs, state: JobState) -> None:
    """I6: the message of a job that is done comes again and changes nothing."""
    job = a_job()
    await bring(jobs, job, state)
    before = await recorded(jobs, job)
    assert await jobs.start(job, "node-2", NOON + 9) == AttemptRefused(before)
    assert await recorded(jobs, job) == before


@pytest.mark.parametrize("event", [JobEvent.RETRIED, JobEvent.RELEASED, JobEvent.DEFERRED, JobEvent.DEAD_LETTERED])
async def test_an_attempt_that_somebody_else_closed_settles_nothing(jobs: Jobs, event: JobEvent) -> None:
    job = a_job()
    stale = await started(jobs, job, "node-1")
    current = await started(jobs, job, "node-2", NOON + 60)
    before = await jobs.attempts(job.task_id)
    assert await settled(jobs, job, event, attempt_id=stale.attempt_id, fault=TIMEOUT) is None
    assert await recorded(jobs, job) == current.record
    assert await jobs.attempts(job.task_id) == before


async def test_a_late_success_still_counts_and_calls_the_other_attempt_off(jobs: Jobs) -> None:
    job = a_job()
    slow = await started(jobs, job, "node-1")
    other = await started(jobs, job, "node-2", NOON + 60)
    done = {"attempt_id": slow.attempt_id, "pdf": PDF, "at": NOON + 70}
    assert await settled(jobs, job, JobEvent.SUCCEEDED, **done) is JobState.SUCCEEDED
    assert await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=other.attempt_id, pdf=PDF) is None
    outcomes = [attempt.outcome for attempt in await jobs.attempts(job.task_id)]
    assert outcomes == ["node_lost", "cancelled"]


async def test_a_cancelled_job_has_no_open_attempt(jobs: Jobs) -> None:
    job = a_job()
    start = await started(jobs, job)
    assert await settled(jobs, job, JobEvent.CANCELLED) is JobState.CANCELLED
    assert [attempt.outcome for attempt in await jobs.attempts(job.task_id)] == ["cancelled"]
    assert await settled(jobs, job, JobEvent.SUCCEEDED, attempt_id=start.attempt_id, pdf=PDF) is None
    assert (await recorded(jobs, job)).pdf is None


async def test_a_redriven_job_starts_without_its_error_but_with_its_tally(jobs: Jobs) -> None:
    job = a_job()
    await bring(jobs, job, JobState.DEAD_LETTERED)
    assert (await recorded(jobs, job)).error == TIMEOUT
    assert await settled(jobs, job, JobEvent.REDRIVEN) is JobState.QUEUED
    record = await recorded(jobs, job)
    assert (record.error, record.tally) == (None, Tally(attempts=1))


async def test_a_quarantined_job_keeps_its_error_until_it_is_revived(jobs: Jobs) -> None:
    job = a_job()
    await bring(jobs, job, JobState.QUARANTINED)
    quarantined = await recorded(jobs, job)
    assert (quarantined.error, quarantined.finished_at) == (TIMEOUT, NOON + 2)
    revived = await jobs.revive(job.task_id)
    assert revived == await recorded(jobs, job)
    assert (revived.state, revived.tally, revived.confirmed) == (JobState.QUEUED, Tally(), False)
    assert (revived.error, revived.finished_at) == (None, None)
    assert await jobs.overdue(10, confirmed=False, overdue_seconds=-60) == [revived]
    assert (await started(jobs, job)).record.tally == Tally(attempts=1)
    assert [attempt.number for attempt in await jobs.attempts(job.task_id)] == [1, 2]


async def test_of_many_who_settle_one_job_exactly_one_wins(jobs: Jobs, other_node: Jobs) -> None:
    """I1: whoever is told a new state is alone in having brought it about."""
    for _ in range(5):
        job = a_job()
        start = await started(jobs, job)
        won: list[JobState] = []

        async def settle(store: Jobs, event: JobEvent, fault: Fault | None, attempt_id: int | None) -> None:
            state = await settled(store, job, event, fault=fault, attempt_id=attempt_id)  # noqa: B023 - awaited below
            if state is not None:
                won.append(state)  # noqa: B023 - awaited below

        async with trio.open_nursery() as nursery:
            for store in (jobs, other_node, jobs, other_node):
                nursery.start_soon(settle, store, JobEvent.SUCCEEDED, None, start.attempt_id)
                nursery.start_soon(settle, store, JobEvent.CANCELLED, None, None)
                nursery.start_soon(settle, store, JobEvent.DEAD_LETTERED, TIMEOUT, start.attempt_id)
        # A dead letter may still succeed or be cancelled; nothing follows those.
        final = (await recorded(jobs, job)).state
        assert sorted(won) in ([final], sorted([JobState.DEAD_LETTERED, final]))


async def test_of_many_who_start_one_job_each_closes_the_one_before(jobs: Jobs, other_node: Jobs) -> None:
    """Two nodes with the same message: one attempt is open at a time, and every start is recorded."""
    job = a_job()
    starts: list[AttemptStarted] = []

    async def start(store: Jobs, node: str) -> None:
        outcome = await store.start(job, node, NOON + 1)
        assert isinstance(outcome, AttemptStarted)
        starts.append(outcome)

    async with trio.open_nursery() as nursery:
        for number in range(MAX_NODE_LOSSES):
            nursery.start_soon(start, (jobs, other_node)[number % 2], f"node-{number}")
    attempts = await jobs.attempts(job.task_id)
    assert [attempt.number for attempt in attempts] == list(range(1, MAX_NODE_LOSSES + 1))
    assert [attempt.outcome for attempt in attempts] == ["node_lost"] * (MAX_NODE_LOSSES - 1) + [None]
    assert len({one.attempt_id for one in starts}) == MAX_NODE_LOSSES
    assert (await recorded(jobs, job)).tally == Tally(attempts=1, node_losses=MAX_NODE_LOSSES - 1)


async def test_many_who_add_the_same_jobs_all_get_the_same_ones(jobs: Jobs, other_node: Jobs) -> None:
    ids = [a_job().task_id for _ in range(8)]
    answers: list[list[tuple[str, int]]] = []

    async def add(store: Jobs, number: int) -> None:
        order = ids if number % 2 else ids[::-1]
        records = await store.add([a_job(task_id=task_id, parameters={"by": number}) for task_id in order])
        assert [record.job.task_id for record in records] == order
        answers.append(sorted((record.job.task_id, record.job.parameters["by"]) for record in records))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(add, (jobs, other_node)[number % 2], number)
    assert all(answer == answers[0] for answer in answers)
    assert (await jobs.counts())[JobState.QUEUED] == 8

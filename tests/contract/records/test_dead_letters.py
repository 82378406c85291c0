"""What every store of dead letters promises: nothing is kept twice, a cause is moved by one node, jobs move along."""

from dataclasses import replace
from typing import Any

import pytest
import trio

from reportd.core.dead_letters.redrive import Cause, RedriveOutcome
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import AttemptStarted, DeadLetter, DeadLetters, LetterStatus, Record, Redrive, Settlement
from tests.contract.jobs.jobs_lab import NOON, PDF, TIMEOUT, a_job, bring, started
from tests.contract.records.letters_lab import LettersLab, a_letter, cause_of

ODD_TEXT = 'čaj 茶 "quoted" 🍵 \\ \t\n'
SCRIPT = Fault(FaultKind.SCRIPT_ERROR, "x is not defined")


def only(released: list[Record] | None) -> Record:
    assert released is not None
    (record,) = released
    return record


# --- keeping ----------------------------------------------------------------------------------------------------


async def test_a_letter_comes_back_as_it_was_kept(letters_lab: LettersLab) -> None:
    job = a_job()
    await bring(letters_lab.jobs, job, JobState.DEAD_LETTERED)
    letter = a_letter(
        job,
        body=ODD_TEXT,
        reason=ODD_TEXT,
        attributes={"kind": "timeout", "reason": ODD_TEXT},
        redrives=2,
        returns=3,
        last_seen_at=NOON + 0.25,
    )
    assert await letters_lab.letters.keep(letter)
    assert await letters_lab.other_node.get(letter.id) == letter
    assert await letters_lab.letters.get("00000000-0000-4000-8000-000000000000") is None


async def test_keeping_it_again_replaces_all_but_when_it_was_first_seen(letters_lab: LettersLab) -> None:
    letter = await letters_lab.waiting()
    later = replace(
        letter, first_seen_at=NOON + 9, last_seen_at=NOON + 9, redrives=1, standing=LetterStatus.QUARANTINED
    )
    assert await letters_lab.letters.keep(later)
    assert await letters_lab.letters.get(letter.id) == replace(later, first_seen_at=NOON)


async def test_text_that_no_database_holds_is_kept_readable(letters_lab: LettersLab) -> None:
    await letters_lab.letters.keep(a_letter(None, reason="a\0b", detail="c\ud800", cause="\0"))


@pytest.mark.parametrize("state", JobState)
async def test_only_a_letter_of_a_dead_job_is_kept(letters_lab: LettersLab, state: JobState) -> None:
    """Somebody has moved the job since its letter was read."""
    job = a_job()
    await bring(letters_lab.jobs, job, state)
    dead = state in (JobState.DEAD_LETTERED, JobState.QUARANTINED)
    assert await letters_lab.letters.keep(a_letter(job)) is dead
    assert (await letters_lab.letters.get(job.task_id) is not None) is dead
    assert await letters_lab.letters.keep(a_letter(job, standing=LetterStatus.UNDERWAY))


async def test_a_letter_of_no_job_at_all_is_kept_if_it_says_so(letters_lab: LettersLab) -> None:
    assert not await letters_lab.letters.keep(a_letter(a_job()))
    assert await letters_lab.letters.keep(a_letter(None))


async def test_a_letter_of_no_job_is_kept_once(letters_lab: LettersLab) -> None:
    outcomes: list[bool] = []

    async def keep(store: DeadLetters) -> None:
        outcomes.append(await store.keep(a_letter(None)))

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, letters_lab.letters)
            nursery.start_soon(keep, letters_lab.other_node)
    assert sorted(outcomes) == [False, False, False, True]


async def test_what_is_removed_is_gone(letters_lab: LettersLab) -> None:
    one, two = await letters_lab.waiting(), await letters_lab.waiting()
    assert await letters_lab.letters.remove([one.id, "00000000-0000-4000-8000-000000000000"]) == 1
    assert await letters_lab.letters.get(one.id) is None
    assert await letters_lab.letters.get(two.id) == two


# --- groups -----------------------------------------------------------------------------------------------------


async def test_a_group_is_what_has_one_signature(letters_lab: LettersLab) -> None:
    sales = [await letters_lab.waiting(last_seen_at=NOON + n, first_seen_at=NOON + n) for n in range(5)]
    users = await letters_lab.waiting(report_type="users", standing=LetterStatus.QUARANTINED, last_seen_at=NOON + 9)
    await letters_lab.waiting(fault=SCRIPT, last_seen_at=NOON + 20)
    await letters_lab.letters.keep(replace(sales[0], standing=LetterStatus.UNDERWAY))
    newest, group = await letters_lab.letters.groups(10)
    assert (newest.kind, newest.cause) == ("script_error", "x is not defined")
    assert group == await letters_lab.letters.group(users.signature)
    assert (group.signature, group.cause) == (users.signature, "the page took longer than {n} s")
    assert group.report_types == ("sales", "users")
    assert (group.waiting, group.quarantined) == (4, 1)
    assert (group.first_seen_at, group.last_seen_at) == (NOON, NOON + 9)
    assert list(group.examples) == [users, sales[4], sales[3]]
    assert await letters_lab.letters.group("g-0000000000000000") is None


async def test_pages_of_groups_and_members_have_no_gap_and_no_double(letters_lab: LettersLab) -> None:
    for number in range(7):
        fault = Fault(FaultKind.SCRIPT_ERROR, "abcdefg"[number])
        # Some were last seen in the same instant.
        await letters_lab.waiting(fault=fault, last_seen_at=NOON + number // 2)
        await letters_lab.waiting(fault=SCRIPT, last_seen_at=NOON + number // 2)
    groups = await letters_lab.letters.groups(100)
    seen, before = [], None
    while page := await letters_lab.letters.groups(3, before):
        seen += page
        before = page[-1].last_seen_at, page[-1].signature
    assert seen == groups
    assert len(seen) == 8
    (scripts,) = [group for group in groups if group.waiting == 7]
    members, place = [], None
    while found := await letters_lab.letters.members(scripts.signature, 2, place):
        members += found
        place = found[-1].last_seen_at, found[-1].id
    assert members == await letters_lab.letters.members(scripts.signature, 100)
    assert len({member.id for member in members}) == 7
    assert [member.last_seen_at for member in members] == sorted((m.last_seen_at for m in members), reverse=True)


# --- causes and waves -------------------------------------------------------------------------------------------


async def test_a_cause_is_seen_as_soon_as_something_waits(letters_lab: LettersLab) -> None:
    one, two = await letters_lab.waiting(), await letters_lab.waiting(due_at=NOON + 90)
    users = await letters_lab.waiting(report_type="users")
    await letters_lab.waiting(standing=LetterStatus.QUARANTINED)
    views = await letters_lab.letters.causes(NOON + 60, 10)
    assert {(view.cause, view.waiting, view.due) for view in views} == {(cause_of(one), 2, 1), (cause_of(users), 1, 1)}
    assert {view.outcome for view in views} == {RedriveOutcome()}
    assert await letters_lab.letters.due(cause_of(one), NOON + 60, 10) == [one]
    assert await letters_lab.letters.due(cause_of(two), NOON + 90, 10) in ([one, two], [two, one])
    assert len(await letters_lab.letters.due(cause_of(two), NOON + 90, 1)) == 1


async def test_a_wave_goes_back_with_its_cause_in_one_step(letters_lab: LettersLab) -> None:
    one, two = await letters_lab.waiting(), await letters_lab.waiting()
    cause = replace(cause_of(one), wave=(one.id,), sent_at=NOON + 70, size=1)
    record = only(await letters_lab.letters.release([Redrive(one.id)], NOON + 70, cause))
    assert (record.job.task_id, record.state, record.confirmed, record.error) == (one.id, JobState.QUEUED, False, None)
    assert record == await letters_lab.jobs.get(one.id)
    assert await letters_lab.letters.get(one.id) == replace(one, standing=LetterStatus.UNDERWAY, redrives=1)
    assert await letters_lab.state(two) is JobState.DEAD_LETTERED
    (view,) = await letters_lab.other_node.causes(NOON + 70, 10)
    assert (view.cause, view.waiting) == (replace(cause, version=1), 1)
    assert view.outcome == RedriveOutcome(pending=1)


async def test_of_nodes_that_try_at_the_same_time_one_succeeds(letters_lab: LettersLab) -> None:
    letters = [await letters_lab.waiting() for _ in range(6)]
    cause = cause_of(letters[0])
    for version in range(3):
        outcomes: list[Any] = []

        async def attempt(place: int, outcomes: list[Any] = outcomes, version: int = version) -> None:
            store = letters_lab.letters if place else letters_lab.other_node
            letter = letters[2 * version + place]
            wanted = replace(cause, version=version, wave=(letter.id,))
            outcomes.append(await store.release([Redrive(letter.id)], NOON, wanted))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, 0)
            nursery.start_soon(attempt, 1)
        assert sorted(outcome is None for outcome in outcomes) == [False, True]
    states = [await letters_lab.state(letter) for letter in letters]
    assert states.count(JobState.QUEUED) == 3


async def test_only_what_is_dead_lettered_goes_back(letters_lab: LettersLab) -> None:
    letter, cancelled = await letters_lab.waiting(), await letters_lab.waiting()
    await letters_lab.jobs.settle(Settlement(cancelled.id, JobEvent.CANCELLED, NOON))
    released = await letters_lab.letters.release([Redrive(letter.id), Redrive(cancelled.id)], NOON)
    assert [record.job.task_id for record in released or ()] == [letter.id]
    assert await letters_lab.letters.release([Redrive(letter.id)], NOON) == []
    assert await letters_lab.state(cancelled) is JobState.CANCELLED
    assert (await letters_lab.letters.get(letter.id) or letter).redrives == 1


async def test_a_redrive_that_is_not_its_own_is_not_counted(letters_lab: LettersLab) -> None:
    letter = await letters_lab.waiting(redrives=1)
    await letters_lab.letters.release([Redrive(letter.id, own=False)], NOON)
    kept = await letters_lab.letters.get(letter.id)
    assert kept == replace(letter, standing=LetterStatus.UNDERWAY)


async def test_a_job_goes_back_with_what_was_repaired(letters_lab: LettersLab) -> None:
    letter = await letters_lab.waiting()
    record = await letters_lab.jobs.get(letter.id)
    assert record is not None
    repaired = replace(record.job, report_type="users", parameters={"days": [1, 2.5, None]})
    released = only(await letters_lab.letters.release([Redrive(letter.id, job=repaired)], NOON))
    assert released.job == repaired


async def test_a_job_that_goes_back_has_its_attempts_but_no_lost_nodes(letters_lab: LettersLab) -> None:
    job = a_job()
    await letters_lab.jobs.add([job])
    for _ in range(3):
        start = await started(letters_lab.jobs, job)
    dead = Settlement(job.task_id, JobEvent.DEAD_LETTERED, NOON, attempt_id=start.attempt_id, fault=TIMEOUT)
    await letters_lab.jobs.settle(dead)
    record = only(await letters_lab.letters.release([Redrive(job.task_id)], NOON))
    assert record.tally == Tally(attempts=1)
    again = await letters_lab.jobs.start(record.job, "node-2", NOON)
    assert isinstance(again, AttemptStarted)


ENDS = {
    JobState.SUCCEEDED: RedriveOutcome(succeeded=1),
    JobState.DEAD_LETTERED: RedriveOutcome(failed=1),
    JobState.QUARANTINED: RedriveOutcome(failed=1),
    JobState.CANCELLED: RedriveOutcome(),
}


@pytest.mark.parametrize("state", ENDS)
async def test_what_became_of_a_wave(letters_lab: LettersLab, state: JobState) -> None:
    letter = await letters_lab.waiting()
    wanted = replace(cause_of(letter), wave=(letter.id, "00000000-0000-4000-8000-000000000000"))
    record = only(await letters_lab.letters.release([Redrive(letter.id)], NOON, wanted))
    start = await started(letters_lab.jobs, record.job)
    assert (await letters_lab.letters.causes(NOON, 10))[0].outcome == RedriveOutcome(pending=1)
    event = JobEvent.DEAD_LETTERED if state is JobState.QUARANTINED else JobEvent(state)
    pdf = PDF if state is JobState.SUCCEEDED else None
    settlement = Settlement(letter.id, event, NOON, attempt_id=start.attempt_id, fault=TIMEOUT, pdf=pdf)
    await letters_lab.jobs.settle(settlement)
    if state is JobState.QUARANTINED:
        await letters_lab.jobs.settle(Settlement(letter.id, JobEvent.QUARANTINED, NOON))
    (view,) = await letters_lab.letters.causes(NOON, 10)
    assert view.outcome == ENDS[state]


async def test_who_was_tried_longest_ago_is_next(letters_lab: LettersLab) -> None:
    one, two, three = [await letters_lab.waiting(first_seen_at=NOON + n) for n in range(3)]
    order = []
    for number in range(7):
        (letter, *_) = await letters_lab.letters.due(cause_of(one), NOON + 60, 3)
        order.append(letter)
        await letters_lab.letters.release([Redrive(letter.id, own=False)], NOON + number)
        await letters_lab.jobs.settle(Settlement(letter.id, JobEvent.DEAD_LETTERED, NOON, fault=TIMEOUT))
        await letters_lab.letters.keep(letter)
    assert order == [one, two, three] * 2 + [one]


async def test_causes_are_replaced_and_forgotten_by_their_version(letters_lab: LettersLab) -> None:
    cause = Cause("g-0123456789abcdef", "sales", failures=3, failed_at=NOON + 0.5, passed_at=NOON + 0.25, size=8)
    letters = letters_lab.letters
    assert await letters.replace(cause)
    assert not await letters.replace(cause)
    (view,) = await letters.causes(NOON, 10)
    assert view.cause == replace(cause, version=1)
    assert await letters_lab.other_node.replace(replace(cause, version=1, size=16))
    assert not await letters.replace(replace(cause, version=1, size=32))
    await letters.forget(replace(cause, version=1))
    (view,) = await letters.causes(NOON, 10)
    assert (view.cause.version, view.cause.size) == (2, 16)
    await letters.forget(view.cause)
    assert await letters.causes(NOON, 10) == []


async def test_the_causes_tried_longest_ago_come_first(letters_lab: LettersLab) -> None:
    for number in (3, 1, 2):
        await letters_lab.letters.replace(Cause("g-0123456789abcdef", f"type{number}", sent_at=NOON + number))
    views = await letters_lab.letters.causes(NOON, 2)
    assert [view.cause.report_type for view in views] == ["type1", "type2"]


# --- the end ----------------------------------------------------------------------------------------------------


async def test_what_has_waited_too_long_is_found(letters_lab: LettersLab) -> None:
    old, older, _ = [await letters_lab.waiting(first_seen_at=NOON - age) for age in (50, 60, 10)]
    await letters_lab.waiting(first_seen_at=NOON - 99, standing=LetterStatus.QUARANTINED)
    assert await letters_lab.letters.overdue(NOON - 50, 10) == [older, old]
    assert await letters_lab.letters.overdue(NOON - 50, 1) == [older]


async def kept(letters_lab: LettersLab, state: JobState, standing: LetterStatus) -> DeadLetter:
    """As they may stand to each other when somebody has moved the job."""
    job = a_job()
    await bring(letters_lab.jobs, job, JobState.DEAD_LETTERED)
    letter = a_letter(job, standing=standing)
    await letters_lab.letters.keep(letter)
    if state is JobState.QUARANTINED:
        await letters_lab.jobs.settle(Settlement(job.task_id, JobEvent.QUARANTINED, NOON))
    elif state is JobState.CANCELLED:
        await letters_lab.jobs.settle(Settlement(job.task_id, JobEvent.CANCELLED, NOON))
    elif state is JobState.SUCCEEDED:
        await letters_lab.jobs.settle(Settlement(job.task_id, JobEvent.SUCCEEDED, NOON, pdf=PDF))
    elif state in (JobState.QUEUED, JobState.RUNNING):
        await letters_lab.jobs.settle(Settlement(job.task_id, JobEvent.QUARANTINED, NOON))
        await letters_lab.jobs.revive(job.task_id)
        if state is JobState.RUNNING:
            await started(letters_lab.jobs, job)
    assert await letters_lab.state(letter) is state
    return letter


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("standing", LetterStatus)
async def test_letters_go_when_their_jobs_are_settled_or_revived(
    letters_lab: LettersLab, state: JobState, standing: LetterStatus
) -> None:
    letter = await kept(letters_lab, state, standing)
    no_job = a_letter(None, standing=LetterStatus.QUARANTINED)
    await letters_lab.letters.keep(no_job)
    dead = state in (JobState.DEAD_LETTERED, JobState.QUARANTINED)
    ended = state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.QUARANTINED)
    stays = not ended if standing is LetterStatus.UNDERWAY else dead
    assert await letters_lab.letters.tidy() == (not stays)
    assert (await letters_lab.letters.get(letter.id) is not None) is stays
    assert await letters_lab.letters.get(no_job.id) == no_job


async def test_a_letter_is_missing_when_it_is_overdue_and_not_kept(letters_lab: LettersLab) -> None:
    """Its message in the DLQ was lost; what waits for its turn, or for people, was not."""
    lost, again = a_job(), a_job()
    for job in (lost, again):
        await bring(letters_lab.jobs, job, JobState.DEAD_LETTERED)
    waiting = await letters_lab.waiting()
    await letters_lab.letters.keep(a_letter(again, standing=LetterStatus.UNDERWAY))
    assert await letters_lab.letters.missing(10) == []
    # Due in the past.
    for job in (lost, again):
        await letters_lab.jobs.settle(Settlement(job.task_id, JobEvent.REDRIVEN, NOON))
        await letters_lab.jobs.settle(
            Settlement(job.task_id, JobEvent.DEAD_LETTERED, NOON, fault=TIMEOUT, deferred_seconds=-1000.0)
        )
    found = [record.job for record in await letters_lab.letters.missing(10)]
    assert sorted(found, key=str) == sorted([lost, again], key=str)
    assert len(await letters_lab.letters.missing(1)) == 1
    await letters_lab.letters.keep(a_letter(lost))
    assert [record.job for record in await letters_lab.letters.missing(10)] == [again]
    assert waiting.id not in {record.job.task_id for record in await letters_lab.letters.missing(10)}

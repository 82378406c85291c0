"""The states of a job: every pair of state and event, and rules for the whole table."""

import pytest

from reportd.core.jobs.transitions import (
    TERMINAL,
    TRANSITIONS,
    IllegalTransitionError,
    JobEvent,
    JobState,
    after,
    sources,
)

# The target of each event by state; a dot where the event is illegal.
LIFE = """
                queued     running        dead_lettered  succeeded  quarantined  cancelled
started         running    running        .              .          .            .
succeeded       succeeded  succeeded      succeeded      .          .            .
retried         .          queued         .              .          .            .
released        .          queued         .              .          .            .
deferred        queued     queued         .              .          .            .
dead_lettered   dead_lettered dead_lettered .            .          .            .
redriven        .          .              queued         .          .            .
quarantined     .          .              quarantined    .          .            .
cancelled       cancelled  cancelled      cancelled      .          .            .
revived         .          .              .              .          queued       .
"""


def _life() -> dict[tuple[JobState, JobEvent], JobState | None]:
    head, *rows = (line.split() for line in LIFE.strip().splitlines())
    return {
        (JobState(state), JobEvent(event)): None if cell == "." else JobState(cell)
        for event, *cells in rows
        for state, cell in zip(head, cells, strict=True)
    }


PRODUCT = _life()


def _reachable(start: JobState, *without: JobEvent) -> set[JobState]:
    found, pending = {start}, [start]
    while pending:
        state = pending.pop()
        following = {end for (source, event), end in TRANSITIONS.items() if source is state and event not in without}
        pending += following - found
        found |= following
    return found


def test_grid_holds_every_pair() -> None:
    assert set(PRODUCT) == {(state, event) for state in JobState for event in JobEvent}


@pytest.mark.parametrize(("state", "event"), [(state, event) for state in JobState for event in JobEvent])
def test_every_pair(state: JobState, event: JobEvent) -> None:
    expected = PRODUCT[state, event]
    if expected is not None:
        assert after(state, event) is expected
        return
    with pytest.raises(IllegalTransitionError) as caught:
        after(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert str(caught.value) == f"a job that is {state.value} can't be {event.value}"


@pytest.mark.parametrize("event", JobEvent)
def test_sources_are_the_states_in_which_an_event_is_legal(event: JobEvent) -> None:
    assert set(sources(event)) == {state for state in JobState if PRODUCT[state, event] is not None}
    assert len(sources(event)) == len(set(sources(event))) > 0


def test_terminal_states_are_those_of_the_interface() -> None:
    assert {JobState.SUCCEEDED, JobState.QUARANTINED, JobState.CANCELLED} == TERMINAL


def test_only_a_quarantined_job_leaves_a_terminal_state() -> None:
    leaving = {(state, event, end) for (state, event), end in TRANSITIONS.items() if state in TERMINAL}
    assert leaving == {(JobState.QUARANTINED, JobEvent.REVIVED, JobState.QUEUED)}


@pytest.mark.parametrize("state", sorted(set(JobState) - TERMINAL))
def test_every_state_that_is_not_terminal_can_reach_each_terminal_one(state: JobState) -> None:
    assert _reachable(state) >= TERMINAL


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_no_terminal_state_follows_another(state: JobState) -> None:
    """I1: exactly one terminal state, unless somebody revives the job."""
    assert _reachable(state, JobEvent.REVIVED) == {state}


def test_every_state_is_reached_from_a_new_job() -> None:
    assert _reachable(JobState.QUEUED) == set(JobState)


def test_there_is_no_second_success() -> None:
    """I6: after a success, no state allows a second one."""
    assert not TERMINAL & set(sources(JobEvent.SUCCEEDED))
    assert not TERMINAL & set(sources(JobEvent.STARTED))


def test_a_stored_pdf_always_counts() -> None:
    """I1: a node that finishes late, after its message went to another node, has finished the job."""
    assert set(sources(JobEvent.SUCCEEDED)) == set(JobState) - TERMINAL


def test_quarantine_follows_only_the_dead_letter_queue() -> None:
    into = {state for (state, _), end in TRANSITIONS.items() if end is JobState.QUARANTINED}
    assert into == {JobState.DEAD_LETTERED}


def test_unfinished_jobs_can_be_cancelled() -> None:
    assert set(sources(JobEvent.CANCELLED)) == set(JobState) - TERMINAL


def test_an_illegal_event_changes_nothing() -> None:
    before = dict(TRANSITIONS)
    with pytest.raises(IllegalTransitionError):
        after(JobState.SUCCEEDED, JobEvent.STARTED)
    assert before == TRANSITIONS

"""Every rule of the triage, their order, and a bound on the number of redrives."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.dead_letters.redrive import Cause, RedriveOutcome, counts_as_redrive, next_wave_size, settle_wave
from reportd.core.dead_letters.triage import (
    MAX_RETURNS,
    RULES,
    Action,
    JobHistory,
    LetterContent,
    RawLetter,
    TriageFacts,
    TriagePolicy,
    number_in,
    read,
    triage,
)
from reportd.core.faults import NATURE, Blame, Fault, FaultKind
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.retry import MAX_LOSSES, Tally
from reportd.core.jobs.submission import FieldProblem
from reportd.core.jobs.transitions import TERMINAL, JobState
from reportd.core.repair.envelopes import Change
from reportd.core.repair.message import Known

NOW = 1_750_000_000.0
POLICY = TriagePolicy()
JOB = Job("4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e", "sales", {}, "7c9e6679-7425-40de-944b-e07fc1f90ae7", NOW - 500)
FINE = LetterContent(JOB, JOB.task_id)
UNFIT = replace(FINE, problem="/parameters/rows: is missing")
REPAIRED = replace(UNFIT, changes=(Change("/taskId", "was missing", "null", '"x"'),))
TIMEOUT = Fault(FaultKind.TIMEOUT, "the page took longer than 60 s")
CLOSED = Breaker("sales")
OPEN = Breaker("sales", BreakerState.OPEN, until=NOW + 5)


def failed(**fields: Any) -> JobHistory:
    """The history of a job whose cool-down is over and whose turn it is."""
    values: dict[str, Any] = {
        "state": JobState.DEAD_LETTERED,
        "fault": TIMEOUT,
        "tally": Tally(attempts=3),
        "first_failed_at": NOW - 100,
        "last_failed_at": NOW - 60,
        "turn": True,
    }
    return JobHistory(**values | fields)


def case(
    history: JobHistory, reading: LetterContent = FINE, breaker: Breaker = CLOSED, policy: TriagePolicy = POLICY
) -> TriageFacts:
    return TriageFacts(reading, history, breaker, NOW, policy)


LOST = LetterContent(task_id=JOB.task_id)
NO_JOB = LetterContent(problem="the message is not JSON")

CASES: list[tuple[str, TriageFacts, Action]] = [
    *[("settled", case(failed(state=state)), Action.DROP) for state in TERMINAL],
    ("settled", case(failed(state=JobState.SUCCEEDED), UNFIT), Action.DROP),
    ("no_job", case(JobHistory(), NO_JOB), Action.QUARANTINE),
    ("lost", case(JobHistory(), LOST), Action.QUARANTINE),
    ("repairable", case(JobHistory(), REPAIRED), Action.REPAIR),
    ("repairable", case(failed(fault=Fault(FaultKind.INVALID_PARAMETERS, "x")), REPAIRED), Action.REPAIR),
    # A sound message of it is in the queue already.
    ("untried", case(JobHistory(state=JobState.QUEUED), REPAIRED), Action.REQUEUE),
    ("unfit", case(JobHistory(), UNFIT), Action.QUARANTINE),
    ("unfit", case(failed(fault=Fault(FaultKind.UNKNOWN_REPORT_TYPE, "x")), UNFIT), Action.QUARANTINE),
    # This node may not know the type yet.
    ("untried", case(JobHistory(state=JobState.RUNNING), UNFIT), Action.REQUEUE),
    *[
        ("untried", case(JobHistory(state=state)), Action.REQUEUE)
        for state in (None, JobState.QUEUED, JobState.RUNNING)
    ],
    ("untried", case(failed(fault=Fault(FaultKind.UNKNOWN_REPORT_TYPE, "x"))), Action.REQUEUE),
    ("untried", case(failed(fault=Fault(FaultKind.INVALID_PARAMETERS, "x"))), Action.REQUEUE),
    ("untried", case(JobHistory(returns=MAX_RETURNS - 1)), Action.REQUEUE),
    ("returned_too_often", case(JobHistory(returns=MAX_RETURNS)), Action.QUARANTINE),
    ("poison", case(failed(tally=Tally(losses=MAX_LOSSES))), Action.QUARANTINE),
    ("permanent", case(failed(fault=None)), Action.QUARANTINE),
    ("permanent", case(failed(fault=Fault(FaultKind.PAGE_STATUS, "404"))), Action.QUARANTINE),
    ("spent", case(failed(redrives=2)), Action.QUARANTINE),
    ("spent", case(failed(redrives=0), policy=TriagePolicy(max_redrives=0)), Action.QUARANTINE),
    ("outlasted", case(failed(first_failed_at=NOW - 86400)), Action.QUARANTINE),
    ("cooling", case(failed(last_failed_at=NOW - 59)), Action.WAIT),
    ("resting", case(failed(), breaker=OPEN), Action.WAIT),
    ("in_line", case(failed(turn=False)), Action.WAIT),
    ("in_line", case(failed(turn=False, returns=MAX_RETURNS)), Action.WAIT),
    ("its_turn", case(failed()), Action.REDRIVE),
    ("its_turn", case(failed(redrives=1, first_failed_at=NOW - 86399)), Action.REDRIVE),
    ("its_turn", case(failed(tally=Tally(losses=MAX_LOSSES - 1))), Action.REDRIVE),
    # The recovery wait is over: the job is the probe.
    ("its_turn", case(failed(), breaker=replace(OPEN, until=NOW)), Action.REDRIVE),
]


@pytest.mark.parametrize(("rule", "given_case", "action"), CASES)
def test_which_rule_decides_and_how(rule: str, given_case: TriageFacts, action: Action) -> None:
    verdict = triage(given_case)
    assert (verdict.rule, verdict.action) == (rule, action)
    assert verdict.reason


def test_every_rule_has_a_case_and_is_needed() -> None:
    assert {rule for rule, _, _ in CASES} == {rule.__name__ for rule in RULES}
    assert all(rule.__doc__ for rule in RULES[:-1])


PASSING = {
    FaultKind.PAGE_UNAVAILABLE,
    FaultKind.PAGE_FAILED,
    FaultKind.RESOURCE_FAILED,
    FaultKind.TIMEOUT,
    FaultKind.UNREACHABLE,
    FaultKind.BROWSER_UNAVAILABLE,
    FaultKind.NODE_LOST,
    FaultKind.OUT_OF_FILES,
    FaultKind.STORE_UNAVAILABLE,
}


@pytest.mark.parametrize("kind", FaultKind)
def test_which_causes_are_transient(kind: FaultKind) -> None:
    expected = Action.REDRIVE if kind in PASSING else Action.QUARANTINE
    if NATURE[kind].blame is Blame.MESSAGE:
        expected = Action.REQUEUE
    assert triage(case(failed(fault=Fault(kind, "why")))).action is expected


# --- reading ----------------------------------------------------------------------------------------------------

KNOWN = Known({"sales": "sales"}, lambda name, _: [] if name == "sales" else [FieldProblem("/reportType", "unknown")])


def test_a_letter_names_its_job() -> None:
    assert read(RawLetter(to_message(JOB), NOW), KNOWN) == FINE
    assert read(RawLetter(to_message(JOB, 10), NOW), KNOWN) == LOST
    assert "not JSON" in read(RawLetter("{", NOW), KNOWN).problem
    unknown = read(RawLetter(to_message(replace(JOB, report_type="unknown")), NOW), KNOWN)
    assert (unknown.problem, unknown.changes) == ("/reportType: unknown", ())
    capital = read(RawLetter(to_message(JOB).replace('"sales"', '"Sales"'), NOW), KNOWN)
    assert (capital.job, capital.problem[:10], len(capital.changes)) == (JOB, "reportType", 1)


def test_a_copy_has_the_id_of_its_original() -> None:
    original, copy = RawLetter("{", NOW), RawLetter("{", NOW + 5, {"sentAt": f"{NOW:.3f}"})
    assert original.id == copy.id != RawLetter("{", NOW + 5).id
    assert RawLetter("{", NOW, {"sentAt": "noon"}).original_at == NOW


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2.0),
        ("1970-01-01T00:01:00Z", 60.0),
        *((text, None) for text in ("", "two", "T", "9" * 400, "9" * 5000, "0001-01-01T00:00:00")),
    ],
)
def test_numbers_and_times_of_attributes(text: str, number: float | None) -> None:
    assert number_in(RawLetter("{", NOW, {"redrives": text}), "redrives") == number
    assert number_in(RawLetter("{", NOW), "redrives") is None


# --- redrives are bounded ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.floats(0.5, 600)), max_size=400),
    policy=st.builds(TriagePolicy, st.floats(0, 100), st.integers(0, 4), st.floats(100, 5000)),
)
def test_the_number_of_redrives_is_bounded(steps: list[tuple[bool, int, float]], policy: TriagePolicy) -> None:
    """With any breaker and any number of other jobs: its own redrives are counted, the others end with max_wait."""
    now = NOW
    history, cause = failed(first_failed_at=now, last_failed_at=now), Cause("g-0123456789abcdef", "sales")
    own = tried = 0
    for healthy, company, seconds in steps:
        now += seconds
        breaker = replace(CLOSED, failures=0 if healthy else 3)
        cause = settle_wave(cause, RedriveOutcome(failed=len(cause.wave)), now)
        turn = next_wave_size(cause, breaker, cause.sent_at, now, policy) > 0
        verdict = triage(TriageFacts(FINE, replace(history, turn=turn), breaker, now, policy))
        if verdict.action is not Action.REDRIVE:
            continue
        tried += 1
        counted = counts_as_redrive(cause, breaker, 1, 1 + company, NOW)
        own += counted
        cause = replace(cause, wave=(JOB.task_id,), sent_at=now)
        history = replace(history, redrives=history.redrives + counted, last_failed_at=now)
    assert own <= policy.max_redrives
    # Canaries keep the cool-down between them, and end with max_wait_seconds.
    if policy.cooldown_seconds:
        assert tried <= own + policy.max_wait_seconds / policy.cooldown_seconds + 1
    now = NOW + policy.max_wait_seconds + 0.1
    assert triage(TriageFacts(FINE, replace(history, turn=True), CLOSED, now, policy)).action is Action.QUARANTINE

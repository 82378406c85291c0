"""Which messages are repaired, example by example; a repair is complete or does not happen."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reportd_web
from reportd.adapters.worker_processes.tasks import known_of
from reportd.app.policies import report_names
from reportd.config import Config, ReportType
from reportd.core.breaker.breaker import Breaker
from reportd.core.dead_letters.triage import (
    Action,
    JobHistory,
    RawLetter,
    TriageFacts,
    TriagePolicy,
    TriageVerdict,
    read,
    triage,
)
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import Job, from_message, to_message
from reportd.core.jobs.submission import FieldProblem
from reportd.core.jobs.transitions import JobState
from reportd.core.repair.envelopes import Change
from reportd.core.repair.message import Known, derived_id, normal_name, repair, repair_job
from tests.broken_messages import GOOD, MESSAGES, PARAMETERS, Broken, filled, in_base64, said, text, without
from tests.fakes.checking import catalogue_of

SENT_AT = 1_743_496_260.5
BUILT_IN = Config().reports


def known_types() -> Known:
    """The report types that ship with the daemon, one of them with aliases."""
    sales = BUILT_IN["sales_summary"]
    aliases = ReportType(template=sales.template, parameters_schema=sales.parameters_schema, aliases=ALIASES)
    config = Config(reports={**BUILT_IN, "sales_summary": aliases})
    folders = [Path(reportd_web.__file__).parent / "reports"]
    types = catalogue_of(config, folders)
    return known_of(report_names(config), types.schemas_text())


UNKNOWN = [FieldProblem("/reportType", "there is no report type of this name")]
ALIASES = ("sales", "quarterly_sales")
KNOWN = known_types()


def judge(body: str) -> tuple[TriageVerdict, Job | None]:
    letter = RawLetter(body, SENT_AT)
    reading = read(letter, KNOWN)
    case = TriageFacts(reading, JobHistory(), Breaker("sales_summary"), SENT_AT + 1, TriagePolicy())
    return triage(case), reading.job


def test_there_are_enough_examples() -> None:
    assert len(MESSAGES) >= 60
    assert len({message.name for message in MESSAGES}) == len({message.body for message in MESSAGES}) == len(MESSAGES)


@pytest.mark.parametrize("broken", MESSAGES, ids=lambda broken: broken.name)
def test_the_verdict_on_each(broken: Broken) -> None:
    verdict, job = judge(broken.body)
    assert verdict.action == broken.verdict, verdict
    assert broken.reason in verdict.reason
    if verdict.action is Action.REPAIR:
        assert job is not None
        good = from_message(text(GOOD))
        different = [name for name in Job.__slots__ if getattr(job, name) != getattr(good, name)]
        assert different == sorted(broken.differs, key=Job.__slots__.index)


@pytest.mark.parametrize("broken", MESSAGES, ids=lambda broken: broken.name)
def test_a_repaired_message_passes_and_says_what_was_changed(broken: Broken) -> None:
    repaired = repair(broken.body, SENT_AT, KNOWN)
    if repaired is None:
        assert broken.verdict != "repair"
        return
    assert from_message(to_message(repaired.job)) == repaired.job
    assert not KNOWN.check(repaired.job.report_type, repaired.job.parameters)
    assert repaired.changes
    assert all(change.before != change.after for change in repaired.changes)


def test_repairing_again_gives_the_same_job() -> None:
    one, again = (repair(without("taskId"), SENT_AT, KNOWN) for _ in range(2))
    other = repair(without("taskId"), SENT_AT + 1, KNOWN)
    assert one == again
    assert one is not None
    assert other is not None
    assert one.job.task_id != other.job.task_id
    assert derived_id("{", SENT_AT) == derived_id("{", SENT_AT) != derived_id("{", SENT_AT + 1)


def test_a_missing_time_is_the_time_of_sending() -> None:
    repaired = repair(without("submittedAt"), SENT_AT, KNOWN)
    assert repaired is not None
    assert repaired.job.submitted_at == SENT_AT
    assert repaired.changes == (Change("/submittedAt", "was missing", "null", '"2025-04-01T08:31:00.500Z"'),)


def test_a_name_is_recognised_by_its_normal_form() -> None:
    """The normal form can differ from the type's own name."""
    known = Known({"sales_summary": "sales__summary"}, lambda name, _: [] if name == "sales__summary" else UNKNOWN)
    repaired = repair(text(GOOD), SENT_AT, known)
    assert repaired is not None
    assert repaired.job.report_type == "sales__summary"
    assert repaired.changes == (Change("/reportType", "put right", '"sales_summary"', '"sales__summary"'),)


@pytest.mark.parametrize("sent_at", [-1.0, 0.0, 1e12, 1e300, float("inf"), float("nan")])
def test_a_wrong_clock_of_the_queue_is_tolerated(sent_at: float) -> None:
    repaired = repair(without("submittedAt"), sent_at, KNOWN)
    assert repaired is not None
    assert from_message(to_message(repaired.job)) == repaired.job


def test_the_changes_are_listed() -> None:
    repaired = repair(in_base64(filled(title=7)), SENT_AT, KNOWN)
    assert repaired is not None
    unpacked, title = repaired.changes
    assert (unpacked.where, unpacked.what) == ("body", "decoded from base64")
    assert unpacked.after.startswith('{"taskId"')
    assert len(unpacked.before) < 200
    assert title == Change("/parameters/title", "put right", "7", '"7"')


def test_very_many_mistakes_are_repaired_and_summed_up() -> None:
    many = [{"product": f"p{n}", "quantity": str(n), "revenue": n} for n in range(5000)]
    repaired = repair(filled(rows=many), SENT_AT, KNOWN)
    assert repaired is not None
    assert [row["quantity"] for row in repaired.job.parameters["rows"]] == list(range(5000))
    assert len(repaired.changes) == 21
    assert repaired.changes[-1].before == "5000"


def test_values_that_the_check_accepts_are_not_changed() -> None:
    """A product that looks like a number, in the same row as a number that looks like a text."""
    rows = [{"product": "100", "quantity": "3", "revenue": 5}, {"product": "x", "quantity": 4, "revenue": 5}]
    repaired = repair(filled(rows=rows), SENT_AT, KNOWN)
    assert repaired is not None
    assert repaired.job.parameters["rows"] == [rows[0] | {"quantity": 3}, rows[1]]


def test_a_good_job_needs_no_repair() -> None:
    job = from_message(text(GOOD))
    assert isinstance(job, Job)
    assert repair_job(job, KNOWN) is None
    assert repair(text(GOOD), SENT_AT, KNOWN) is None


def test_too_deep_nesting_is_not_repaired() -> None:
    body = text(GOOD | {"parameters": "deep"}).replace('"deep"', '{"a": ' + "[" * 1000 + "]" * 1000 + "}")
    assert repair(body, SENT_AT, KNOWN) is None


def test_a_message_without_its_parameters_is_not_repaired() -> None:
    stored = without("parameters")[:-1] + ', "parametersStored": true}'
    assert repair(in_base64(stored), SENT_AT, KNOWN) is None


def test_of_two_spellings_the_correct_one_wins() -> None:
    repaired = repair("\ufeff" + said(task_id="another"), SENT_AT, KNOWN)
    assert repaired is not None
    assert repaired.job.task_id == GOOD["taskId"]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("SalesSummary", "sales_summary"),
        ("SALES-Summary", "sales_summary"),
        (" sales  summary ", "sales_summary"),
        ("sales.summary/v2", "sales_summary_v2"),
        ("Q1Sales", "q1_sales"),
    ],
)
def test_names_in_their_normal_form(name: str, normal: str) -> None:
    assert normal_name(name) == normal


# --- any input --------------------------------------------------------------------------------------------------

KEYS = st.sampled_from([*GOOD, "task_id", "ReportType", "user-id", "Type", "Message", "parametersStored"]) | st.text()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([*GOOD.values(), "sales", "12", " 7 ", "1e400", "Notification"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12)


def spoiled(message: dict[str, Any], path: tuple[str | int, ...], value: Any) -> str:
    """Return the good message with one value replaced."""
    copy = json.loads(text(message))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return text(copy)


PATHS: list[tuple[str | int, ...]] = [
    *((name,) for name in GOOD),
    *(("parameters", name) for name in PARAMETERS),
    ("parameters", "rows", 0),
    ("parameters", "rows", 1, "quantity"),
    ("parameters", "rows", 0, "product"),
    ("parameters", "period", "from"),
]
BODIES = (
    st.text()
    | VALUES.map(text)
    | st.dictionaries(KEYS, VALUES).map(text)
    | st.builds(spoiled, st.just(GOOD), st.sampled_from(PATHS), VALUES)
)
WRAPPED = st.recursive(BODIES, lambda inner: inner.map(text) | inner.map(lambda t: "\ufeff" + t), max_leaves=3)
HISTORIES = st.builds(
    JobHistory,
    state=st.none() | st.sampled_from(JobState),
    fault=st.none() | st.builds(Fault, st.sampled_from(FaultKind), st.text()),
    redrives=st.integers(0, 5),
    returns=st.integers(0, 30),
    turn=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(body=WRAPPED, sent_at=st.floats(0, 4e9), history=HISTORIES, kind=st.text(), now=st.floats(0, 4e9))
def test_no_input_makes_triage_raise(body: str, sent_at: float, history: JobHistory, kind: str, now: float) -> None:
    letter = RawLetter(body, sent_at, {"kind": kind, "sentAt": kind, "redrives": kind})
    reading = read(letter, KNOWN)
    verdict = triage(TriageFacts(reading, history, Breaker(""), now, TriagePolicy()))
    assert verdict.reason
    if verdict.action is Action.REPAIR:
        assert reading.job is not None
        again = from_message(to_message(reading.job))
        assert again == reading.job
        assert not KNOWN.check(reading.job.report_type, reading.job.parameters)
    if verdict.action in (Action.REQUEUE, Action.REDRIVE):
        assert reading.job is not None

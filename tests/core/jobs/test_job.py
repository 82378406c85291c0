"""The queue message: accepted forms, refused forms with the field's name, and lossless round trips."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reportd.core.faults import FaultKind
from reportd.core.jobs.job import (
    MAX_DEPTH,
    BadMessageError,
    Job,
    StoredJob,
    canonical_uuid,
    from_message,
    timestamp,
    to_message,
    type_name,
)
from reportd.core.jobs.options import OPTIONS, JobOptions
from tests.wording import mentions

TASK_ID = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"
USER_ID = "7d1a4c1c-9a55-4a53-8b9a-0d3f1a2b3c4d"
MESSAGE: Mapping[str, Any] = {
    "taskId": TASK_ID,
    "reportType": "sales_summary",
    "parameters": {"rows": [{"product": "茶", "revenue": 12.5}]},
    "userId": USER_ID,
    "submittedAt": "2026-01-31T09:30:00.250Z",
}
NINE_THIRTY = 1769851800.25
YEAR_2200_MS = 7258118400000
MISSING = object()
TOO_DEEP = json.loads('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1))


def _body(**changes: Any) -> str:
    message = {name: value for name, value in {**MESSAGE, **changes}.items() if value is not MISSING}
    return json.dumps(message)


def _refusal(body: str) -> BadMessageError:
    with pytest.raises(BadMessageError) as caught:
        from_message(body)
    return caught.value


def parsed_job(body: str) -> Job:
    job = from_message(body)
    assert isinstance(job, Job)
    return job


unhurried = settings(deadline=None)
any_text = st.text(st.characters(exclude_categories=()))
plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
safe_json = st.recursive(
    scalars | plain_text, lambda inner: st.lists(inner) | st.dictionaries(plain_text, inner), max_leaves=20
)
any_json = st.recursive(
    scalars | st.text() | st.integers() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
report_types = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
jobs = st.builds(
    Job,
    task_id=st.uuids().map(str),
    report_type=report_types,
    parameters=st.dictionaries(plain_text, safe_json),
    user_id=st.uuids().map(str),
    submitted_at=st.integers(0, YEAR_2200_MS).map(lambda ms: ms / 1000),
    callback_url=st.none() | plain_text,
    options=st.builds(
        JobOptions,
        locale=st.sampled_from(["", "zh-Hant-TW"]),
        pdf=st.sampled_from([{}, {"scale": 0.5, "margin": "1mm"}]),
    ),
)


# --- sending ------------------------------------------------------------------------------------------------


@unhurried
@given(jobs)
def test_round_trip(job: Job) -> None:
    assert parsed_job(to_message(job)) == job


@unhurried
@given(st.floats(0, YEAR_2200_MS / 1000))
@example(1.7039995193481445)
def test_a_message_survives_a_second_round_trip(submitted_at: float) -> None:
    """The time is cut to milliseconds once, and stays the same then. ``datetime`` rounds to microseconds."""
    first = to_message(Job(TASK_ID, "sales_summary", {}, USER_ID, submitted_at))
    parsed = parsed_job(first)
    assert to_message(parsed) == first
    assert -0.0000006 <= submitted_at - parsed.submitted_at < 0.0010001


def test_message_has_the_documented_fields() -> None:
    job = Job(TASK_ID, "sales_summary", {"a": [1, None]}, USER_ID, NINE_THIRTY)
    expected = {**MESSAGE, "parameters": {"a": [1, None]}}
    assert json.loads(to_message(job)) == expected
    with_callback = Job(TASK_ID, "sales_summary", {"a": [1, None]}, USER_ID, NINE_THIRTY, "https://hooks.internal/x")
    assert json.loads(to_message(with_callback)) == {**expected, "callbackUrl": "https://hooks.internal/x"}


@pytest.mark.parametrize(
    ("epoch_seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (NINE_THIRTY, "2026-01-31T09:30:00.250Z"),
        (1769851800.9999, "2026-01-31T09:30:00.999Z"),
        (253402300799.0, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_timestamp(epoch_seconds: float, text: str) -> None:
    assert timestamp(epoch_seconds) == text


# --- parsing ------------------------------------------------------------------------------------------------


def test_a_message_is_parsed() -> None:
    job = Job(TASK_ID, "sales_summary", MESSAGE["parameters"], USER_ID, NINE_THIRTY)
    assert parsed_job(_body()) == job


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 3, "_trace": {"id": "x"}},
        {"taskId": TASK_ID.upper(), "userId": USER_ID.upper()},
        {"submittedAt": "2026-01-31T11:30:00.250+02:00"},
        {"submittedAt": "2026-01-31T01:00:00.250-08:30"},
        {"submittedAt": "2026-01-31T09:30:00.250000+00:00"},
        {"submittedAt": "20260131T093000.250Z"},
        {"submittedAt": 1769851800250},
        {"submittedAt": 1769851800250.0},
        {"callbackUrl": None},
    ],
)
def test_other_spellings_are_the_same_job(changes: dict[str, Any]) -> None:
    assert parsed_job(_body(**changes)) == parsed_job(_body())


@unhurried
@given(
    st.dictionaries(st.text().filter(lambda name: name not in {*MESSAGE, "callbackUrl", *OPTIONS}), scalars | st.text())
)
def test_unknown_fields_are_ignored(extra: dict[str, Any]) -> None:
    assert parsed_job(_body(**extra)) == parsed_job(_body())


@pytest.mark.parametrize("name", ["a", "a1", "a_", "sales_summary", "a" * 64])
def test_names_of_report_types(name: str) -> None:
    assert parsed_job(_body(reportType=name)).report_type == name


# --- refusals -----------------------------------------------------------------------------------------------

NO_UUID = [
    MISSING,
    None,
    1,
    "",
    "x" * 36,
    TASK_ID.replace("-", ""),
    f"{{{TASK_ID}}}",
    f"urn:uuid:{TASK_ID}",
    TASK_ID + "\n",
]
NO_TIME = [
    MISSING,
    None,
    True,
    "",
    "now",
    "2026-01-31",
    "2026-01-31T09:30:00",  # whose time?
    "2026-02-30T09:30:00Z",
    "2026-01-31T09:30:00Z\n",
    "1969-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "1769851800250",
    -1,
    1e300,
    253402300800000,
    [2026],
]
MALFORMED: dict[str, list[Any]] = {
    "taskId": NO_UUID,
    "userId": NO_UUID,
    "submittedAt": NO_TIME,
    "parameters": [MISSING, None, "{}", [], 3, True, {"a": "\0"}, TOO_DEEP],
    "callbackUrl": [1, False, [], {}, "https://hooks.internal/\0"],
    "reportType": [MISSING, None, 7, "", "Sales", "sales-summary", "1a", "_a", "é", "a\n", "a b", "../a", "a" * 65],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in MALFORMED for value in MALFORMED[field]])
def test_every_malformed_field_is_named(field: str, value: Any) -> None:
    error = _refusal(_body(**{field: value}))
    assert str(error).startswith(field)
    assert " must " in str(error) or "nested deeper" in str(error)
    assert error.fault.kind is FaultKind.MALFORMED_MESSAGE
    assert error.fault.detail == str(error)
    assert error.task_id == (None if field == "taskId" else TASK_ID)


@pytest.mark.parametrize(
    ("body", "kind"),
    [("[]", "array"), ('"x"', "string"), ("3", "number"), ("1.5", "number"), ("null", "null"), ("true", "boolean")],
)
def test_a_message_that_is_not_an_object_is_named_by_its_json_type(body: str, kind: str) -> None:
    error = _refusal(body)
    assert mentions(str(error), "JSON object", kind)
    assert error.task_id is None


def test_type_names() -> None:
    assert type_name({}) == "object"
    assert type_name(MISSING) == "a missing value"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "taskId=1",
        "{'taskId': 1}",
        "\ufeff{}",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',  # UTF-8 can't hold half a surrogate pair, so it can't be stored
        '{"a": "\ud800"}',
        '{"\\udfff": 1}',
    ],
)
def test_a_message_that_is_not_json_is_refused(body: str) -> None:
    error = _refusal(body)
    assert str(error).startswith("the message is not JSON: ")
    assert len(str(error)) < 300
    assert error.task_id is None


@pytest.mark.parametrize(("opening", "closing"), [("[", ""), ('{"a":', ""), ("[", "]"), ('{"a":', "}")])
def test_no_depth_breaks_the_parser(opening: str, closing: str) -> None:
    body = opening * 100_000 + ("0" if closing else "") + closing * 100_000
    assert str(_refusal(body)).startswith("the message is not JSON: ")


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parsed_job(_body(parameters={"a": "😀"}).replace("😀", "\\ud83d\\ude00")).parameters == {"a": "😀"}


@unhurried
@given(any_text)
def test_no_text_raises_anything_else(body: str) -> None:
    _job_or_refusal(body)


@unhurried
@given(any_json)
def test_no_json_raises_anything_else(value: Any) -> None:
    _job_or_refusal(json.dumps(value))


@unhurried
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "taskId": st.just(TASK_ID) | st.uuids().map(str) | any_json,
            "userId": st.just(USER_ID) | st.text(st.sampled_from("0123456789abcdefABCDEF-{}"), max_size=40),
            "reportType": report_types | any_json,
            "parameters": st.dictionaries(st.text(), any_json) | any_json,
            "submittedAt": st.datetimes().map(lambda t: t.isoformat() + "Z") | st.integers() | st.floats() | st.text(),
            "callbackUrl": st.none() | any_json,
        },
    )
)
def test_no_near_miss_raises_anything_else(message: dict[str, Any]) -> None:
    _job_or_refusal(json.dumps(message))
    _job_or_refusal(_body(**message))


def _job_or_refusal(body: str) -> None:
    """Parse any body: it is either refused, or a job that can be sent and stored."""
    try:
        job = parsed_job(body)
    except BadMessageError:
        return
    assert parsed_job(to_message(job)).parameters == job.parameters
    assert job.task_id == canonical_uuid(job.task_id)
    assert "\0" not in (job.callback_url or "")


# --- large messages, and SQS ---------------------------------------------------------------------------------


def test_a_message_too_large_for_its_queue_leaves_the_parameters_in_the_store() -> None:
    job = Job(TASK_ID, "sales_summary", {"text": "x" * 1000}, USER_ID, NINE_THIRTY)
    whole = to_message(job)
    assert to_message(job, len(whole.encode())) == whole
    short = to_message(job, len(whole.encode()) - 1)
    assert len(short) < 300
    assert json.loads(short)["taskId"] == TASK_ID
    assert from_message(short) == StoredJob(TASK_ID)


def test_the_limit_is_in_bytes() -> None:
    job = Job(TASK_ID, "sales_summary", {"text": "茶" * 400}, USER_ID, NINE_THIRTY)
    whole = to_message(job)
    assert from_message(to_message(job, len(whole))) == StoredJob(TASK_ID)


def test_parameters_in_the_message_are_used() -> None:
    assert isinstance(from_message(_body(parametersStored=True)), Job)
    assert _refusal(_body(parameters=MISSING, parametersStored="true")).task_id == TASK_ID


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
def test_no_character_that_sqs_refuses_is_sent(character: str) -> None:
    job = Job(TASK_ID, "sales_summary", {"text": f"a{character}b"}, USER_ID, NINE_THIRTY)
    assert character not in to_message(job)
    assert parsed_job(to_message(job)) == job

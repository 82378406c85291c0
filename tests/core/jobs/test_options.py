"""The options of a job are read once, in canonical form, and named when they can't be."""

import json
import zoneinfo
from typing import Any

import orjson
import pytest
from babel.core import get_global
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.jobs.job import BadMessageError, Job, from_message, to_message
from reportd.core.jobs.options import NO_OPTIONS, OPTIONS, JobOptions, options_of, read_options
from reportd.core.jobs.submission import InvalidSubmissionError, parse

ID = "4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e"
SUBMISSION = {"reportType": "sales", "parameters": {}, "userId": ID}
MESSAGE = {**SUBMISSION, "taskId": ID, "submittedAt": 1769851800250}
FIELDS = {
    "locale": "de-AT",
    "timezone": "Europe/Vienna",
    "fileName": "Bericht 2026 報告.pdf",
    "pdf": {"format": "A5", "landscape": True, "scale": 0.5},
}
GIVEN = JobOptions("de-AT", "Europe/Vienna", "Bericht 2026 報告.pdf", FIELDS["pdf"])  # type: ignore[arg-type]


def job(options: JobOptions) -> Job:
    return Job(ID, "sales", {}, ID, 1769851800.25, options=options)


def test_a_submission_and_a_message_carry_the_same_options() -> None:
    assert parse(orjson.dumps(SUBMISSION | FIELDS)).options == GIVEN
    assert from_message(json.dumps(MESSAGE | FIELDS)) == job(GIVEN)
    assert json.loads(to_message(job(GIVEN))).items() >= FIELDS.items()
    assert from_message(to_message(job(GIVEN))) == job(GIVEN)
    assert options_of(GIVEN.fields()) == GIVEN


def test_a_job_without_options_has_none_on_the_wire() -> None:
    assert parse(orjson.dumps(SUBMISSION | dict.fromkeys(OPTIONS))).options == NO_OPTIONS
    assert from_message(json.dumps(MESSAGE | dict.fromkeys(OPTIONS) | {"pdf": {}})) == job(NO_OPTIONS)
    assert not json.loads(to_message(job(NO_OPTIONS))).keys() & OPTIONS.keys()


def test_a_message_whose_parameters_are_stored_keeps_its_options() -> None:
    long = Job(ID, "sales", {"text": "x" * 1000}, ID, 0.0, options=GIVEN)
    assert json.loads(to_message(long, 600)).items() >= {"parametersStored": True, **FIELDS}.items()


@pytest.mark.parametrize(
    ("name", "value", "canonical"),
    [
        ("locale", "DE-de", "de-DE"),
        ("locale", "zh-hant-tw", "zh-Hant-TW"),
        ("locale", "es-419", "es-419"),
        ("locale", "de-US", "de-US"),
        ("timezone", "UTC", "UTC"),
        ("timezone", "Asia/Calcutta", "Asia/Calcutta"),
        ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("fileName", " Report Q1 ", "Report Q1.pdf"),
        ("fileName", "report.PDF", "report.PDF"),
        ("fileName", "می\u200cخرم", "می\u200cخرم.pdf"),
        ("fileName", "👩\u200d🔬.pdf", "👩\u200d🔬.pdf"),
        ("fileName", "x" * 150, "x" * 150 + ".pdf"),
    ],
)
def test_other_spellings_become_the_canonical_one(name: str, value: str, canonical: str) -> None:
    options, problems = read_options({name: value})
    assert (options.fields(), problems) == ({name: canonical}, {})


NOT_VALID: dict[str, list[Any]] = {
    "locale": [
        "",
        "xx",
        "und",
        "de_DE",
        "de-DE ",
        "de-",
        "deutsch",
        "de-Latn-DE-1996",
        "en-u-ca-buddhist",
        1,
        ["de"],
        "é",
    ],
    "timezone": [
        "",
        "utc",
        "Europe/Nowhere",
        "Factory",
        "localtime",
        "../etc/passwd",
        "+02:00",
        "Etc/Unknown",
        3600,
        {},
    ],
    "fileName": [
        "",
        "  ",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "a\nb",
        "a\0",
        "a\x7f",
        "a\u2028",
        "a\u202efdp.exe",
        "x" * 151,
        1,
    ],
    "pdf": ["A4", [], 1, True, {"margin": None}, {"margin": ["1mm"]}, {"margin": "\0"}, {"margin": "1mm " * 500}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NOT_VALID.items() for value in values])
def test_an_option_that_is_not_valid_is_named_with_what_is_accepted(name: str, value: Any) -> None:
    with pytest.raises(InvalidSubmissionError) as refused:
        parse(orjson.dumps(SUBMISSION | {name: value}))
    [problem] = refused.value.problems
    assert problem.pointer == f"/{name}"
    assert problem.detail == f"must be {OPTIONS[name][2]}"
    with pytest.raises(BadMessageError, match=rf"^{name} must be ") as malformed:
        from_message(json.dumps(MESSAGE | {name: value}))
    assert malformed.value.task_id == ID


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidSubmissionError) as refused:
        parse(orjson.dumps(SUBMISSION | {"locale": 1, "pdf": 1, "userId": 1}))
    assert [problem.pointer for problem in refused.value.problems] == ["/userId", "/locale", "/pdf"]


@given(
    st.dictionaries(st.sampled_from(sorted(OPTIONS)), st.text() | st.dictionaries(st.text(), st.text() | st.floats()))
)
def test_whatever_is_accepted_is_read_back_the_same(fields: dict[str, Any]) -> None:
    options, problems = read_options(orjson.loads(orjson.dumps(fields)))
    assert read_options(options.fields()) == (options, {})
    assert problems.keys().isdisjoint(options.fields())


@given(
    st.text(max_size=160) | st.sampled_from(["x" * n + end for n in range(140, 156) for end in ("", ".pdf", ".PDF")])
)
def test_a_name_that_is_accepted_is_accepted_again_from_the_message(name: str) -> None:
    """Else a job that was answered with 202 could never be read (I1)."""
    options, problems = read_options({"fileName": name})
    if not problems:
        assert read_options(options.fields()) == (options, {})


def test_every_accepted_zone_can_be_used_on_a_machine_that_has_none() -> None:
    """Debian, for one, has the older names in a package of their own, and a container may have no zones at all."""
    names = {*get_global("zone_territories"), *get_global("zone_aliases")}
    accepted = [name for name in names if not read_options({"timezone": name})[1]]
    zoneinfo.reset_tzpath(to=[])
    try:
        assert [zoneinfo.ZoneInfo.no_cache(name).key for name in accepted] == accepted
    finally:
        zoneinfo.reset_tzpath()
    assert "US/Pacific" in accepted


def test_stored_options_that_only_a_newer_node_knows_are_left_out() -> None:
    assert options_of({"locale": "de", "ink": "magenta"}) == JobOptions(locale="de")

"""Parameters as text equal the object that the text encodes."""

import orjson

from reportd.core.jobs.job import Job, from_message, to_message
from reportd.core.jobs.parameters import Parameters, text_of, value_of

VALUE = {"a": [1, {"b": None}], "ü": "\uffff"}
USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def test_parameters_equal_the_object() -> None:
    kept = Parameters(orjson.dumps(VALUE).decode())
    assert kept == VALUE
    assert kept == VALUE
    assert kept == Parameters('{"ü":"\\uffff","a":[1,{"b":null}]}')
    assert kept == Parameters(kept.text)
    assert kept != {}
    assert kept != kept.text
    assert (kept["a"], len(kept), list(kept)) == (VALUE["a"], 2, ["a", "ü"])
    assert value_of(kept) == VALUE
    assert orjson.loads(text_of(kept)) == orjson.loads(text_of(VALUE)) == VALUE


def test_their_repr_is_cut() -> None:
    assert len(repr(Parameters('{"a":"' + "x" * 10000 + '"}'))) < 300


def test_a_job_with_parameters_as_text_has_the_same_message() -> None:
    job = Job(USER, "report", VALUE, USER, 1.5)
    kept = Job(USER, "report", Parameters(text_of(VALUE)), USER, 1.5)
    assert job == kept
    assert to_message(job) == to_message(kept)
    assert from_message(to_message(kept)) == job
    assert '"parametersStored":true' in to_message(kept, 100)

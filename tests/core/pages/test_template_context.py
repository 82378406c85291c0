"""The names that a template is given."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from reportd.core.pages.template_context import NO_CONTEXT, OWN_NAMES, TemplateContext

WHOLE = TemplateContext("task", "user", 0.0, 86400.0, "de-AT", "Asia/Tokyo")


def test_a_template_has_its_parameters_one_by_one_and_as_a_whole() -> None:
    parameters = {"rows": [1], "due-date": "x"}
    assert NO_CONTEXT.names(parameters) == {"parameters": parameters, **parameters}


def test_a_template_knows_the_job_and_its_times_in_the_job_s_zone() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    assert WHOLE.names({}) == {
        "parameters": {},
        "task_id": "task",
        "user_id": "user",
        "submitted_at": datetime(1970, 1, 1, 9, tzinfo=tokyo),
        "now": datetime(1970, 1, 2, 9, tzinfo=tokyo),
        "locale": "de-AT",
        "timezone": "Asia/Tokyo",
    }
    assert WHOLE.names({})["now"].hour == 9


def test_times_are_in_utc_without_a_zone() -> None:
    assert TemplateContext(now=0.0).names({})["now"].tzinfo is UTC


def test_a_time_that_the_zone_cannot_write_is_in_utc() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    context = TemplateContext(submitted_at=last.timestamp(), timezone="Pacific/Kiritimati")
    assert context.names({})["submitted_at"] == last


def test_no_name_is_left_out() -> None:
    assert tuple(WHOLE.names({})) == ("parameters", "task_id", "user_id", "locale", "timezone", "submitted_at", "now")
    assert set(WHOLE.names({})) == set(OWN_NAMES)


@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_parameter_hides_a_name_of_ours(name: str) -> None:
    assert WHOLE.names({name: "theirs"})[name] == "theirs"
    if name != "parameters":
        assert WHOLE.names({name: "theirs"})["parameters"] == {name: "theirs"}


def test_a_zone_that_the_machine_does_not_have_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        TemplateContext(timezone="Mars/Base").names({})

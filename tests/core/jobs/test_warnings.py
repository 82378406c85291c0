"""What a PDF lacks: the same warning is counted, their number is bounded, and fail_on makes faults of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import MAX_TEXT, MAX_WARNINGS, JobWarning, WarningCollector, WarningKind, fault_of


def test_the_same_warning_is_counted() -> None:
    found = WarningCollector()
    found.add(WarningKind.RESOURCES, "https://a/logo.png", "answered 404")
    assert found.add(WarningKind.RESOURCES, "https://a/logo.png", "answered 404", 2).count == 3
    found.add(WarningKind.RESOURCES, "https://a/logo.png", "answered 500")
    assert found.all() == (
        JobWarning(WarningKind.RESOURCES, "https://a/logo.png", "answered 404", 3),
        JobWarning(WarningKind.RESOURCES, "https://a/logo.png", "answered 500"),
    )


@given(st.lists(st.tuples(st.sampled_from(WarningKind), st.integers(0, 99), st.integers(1, 9)), max_size=200))
def test_none_is_lost_from_the_count_and_the_list_is_bounded(
    added: list[tuple[WarningKind, int, int]],
) -> None:
    found = WarningCollector()
    for kind, number, count in added:
        found.add(kind, str(number), "", count)
    warnings = found.all()
    assert len(warnings) <= MAX_WARNINGS + len(WarningKind)
    for kind in WarningKind:
        assert sum(w.count for w in warnings if w.kind is kind) == sum(count for k, _, count in added if k is kind)


def test_what_is_too_much_for_the_list_is_still_counted() -> None:
    found = WarningCollector()
    for number in range(MAX_WARNINGS + 3):
        found.add(WarningKind.RESOURCES, str(number), "answered 404", 2)
    *_, last = found.all()
    assert len(found.all()) == MAX_WARNINGS + 1
    assert (last.kind, last.what, last.count) == (WarningKind.RESOURCES, "others", 6)


def test_a_warning_is_taken_back_once_for_each_time_that_it_was_wrong() -> None:
    found = WarningCollector()
    first = found.add(WarningKind.SCRIPTS, "Error: no rows", "uncaught exception")
    second = found.add(WarningKind.SCRIPTS, "Error: no rows", "uncaught exception")
    found.take_back(second)
    assert [warning.count for warning in found.all()] == [1]
    found.take_back(first)
    found.take_back(first)
    assert found.all() == ()


def test_what_is_too_much_for_the_list_is_taken_back_too() -> None:
    found = WarningCollector()
    for number in range(MAX_WARNINGS):
        found.add(WarningKind.RESOURCES, str(number), "answered 404")
    last = found.add(WarningKind.SCRIPTS, "Error: no rows", "uncaught exception")
    found.take_back(last)
    assert len(found.all()) == MAX_WARNINGS


def test_long_texts_are_cut() -> None:
    warning = WarningCollector().add(WarningKind.SCRIPTS, "x" * 1000, "y" * 1000)
    assert (len(warning.what), len(warning.why)) == (MAX_TEXT, MAX_TEXT)
    assert warning.what.endswith("…")


@pytest.mark.parametrize(
    ("kind", "fault", "detail"),
    [
        (WarningKind.RESOURCES, FaultKind.RESOURCE_FAILED, "what why"),
        (WarningKind.FONTS, FaultKind.RESOURCE_FAILED, "what why"),
        (WarningKind.SCRIPTS, FaultKind.SCRIPT_ERROR, "what"),
        (WarningKind.GLYPHS, FaultKind.GLYPHS_MISSING, "why: what"),
        (WarningKind.CLIPPED, FaultKind.CONTENT_CLIPPED, "why: what"),
    ],
)
def test_a_listed_kind_is_a_fault_that_says_what_and_why(kind: WarningKind, fault: FaultKind, detail: str) -> None:
    warning = JobWarning(kind, "what", "why")
    assert fault_of(warning, {kind}) == Fault(fault, detail)
    assert fault_of(warning, set(WarningKind) - {kind}) is None


def test_what_a_rule_refuses_is_the_configurations_fault() -> None:
    warning = JobWarning(WarningKind.RESOURCES, "https://cdn.example/a", "is refused", refused=True)
    fault = fault_of(warning, {WarningKind.RESOURCES})
    assert fault == Fault(FaultKind.HOST_NOT_ALLOWED, "https://cdn.example/a is refused")

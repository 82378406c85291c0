"""Whose fault each kind is, and what it means for the job, its browser and the breaker."""

import re

import pytest

from reportd.core.faults import NATURE, Blame, Fault, FaultError, FaultKind, status_fault, stored_fault

TRYING_AGAIN_CANT_HELP = {
    FaultKind.MALFORMED_MESSAGE,
    FaultKind.UNKNOWN_REPORT_TYPE,
    FaultKind.INVALID_PARAMETERS,
    FaultKind.TEMPLATE_ERROR,
    FaultKind.PAGE_STATUS,
    FaultKind.PAGE_CLOSED,
    FaultKind.PAGE_TOO_LARGE,
    FaultKind.NOT_A_REPORT,
    FaultKind.REDIRECTED,
    FaultKind.EXPECTATION_FAILED,
    FaultKind.CERTIFICATE_INVALID,
    FaultKind.URL_TOO_LONG,
    FaultKind.BODY_TOO_LARGE,
    FaultKind.GLYPHS_MISSING,
    FaultKind.CONTENT_CLIPPED,
    FaultKind.NAVIGATED_AWAY,
    FaultKind.DOWNLOAD,
    FaultKind.HOST_NOT_ALLOWED,
    FaultKind.PRINT_REJECTED,
    FaultKind.EXHAUSTED_RECEIVES,
}
NOT_THE_JOBS_DOING = {
    FaultKind.BROWSER_LOST,
    FaultKind.BROWSER_UNAVAILABLE,
    FaultKind.NODE_LOST,
    FaultKind.OUT_OF_FILES,
    FaultKind.STORE_UNAVAILABLE,
    FaultKind.EXHAUSTED_RECEIVES,
}
A_BROWSER_DIED = {FaultKind.PAGE_CRASHED, FaultKind.PAGE_TOO_HEAVY, FaultKind.BROWSER_LOST}


def test_every_kind_has_a_nature_and_nothing_else_has() -> None:
    assert set(NATURE) == set(FaultKind)


@pytest.mark.parametrize("kind", FaultKind)
def test_nature_of_each_kind(kind: FaultKind) -> None:
    nature = Fault(kind, "why").nature
    assert nature.retry is (kind not in TRYING_AGAIN_CANT_HELP)
    assert nature.counts is (kind not in NOT_THE_JOBS_DOING)
    assert nature.kills_browser is (kind in A_BROWSER_DIED)


@pytest.mark.parametrize("kind", FaultKind)
def test_only_page_and_upstream_faults_reach_the_breaker(kind: FaultKind) -> None:
    """A full disk or a bad message says nothing about a report type, and must not stop it."""
    nature = NATURE[kind]
    assert nature.counts_for_breaker is (nature.blame in {Blame.PAGE, Blame.UPSTREAM})
    if kind in NOT_THE_JOBS_DOING or kind in {FaultKind.MALFORMED_MESSAGE, FaultKind.INTERNAL}:
        assert not nature.counts_for_breaker


@pytest.mark.parametrize(
    ("kind", "blame"),
    [
        (FaultKind.MALFORMED_MESSAGE, Blame.MESSAGE),
        (FaultKind.UNKNOWN_REPORT_TYPE, Blame.MESSAGE),
        (FaultKind.INVALID_PARAMETERS, Blame.MESSAGE),
        (FaultKind.TIMEOUT, Blame.PAGE),
        (FaultKind.PAGE_CRASHED, Blame.PAGE),
        (FaultKind.PAGE_STATUS, Blame.PAGE),
        (FaultKind.PAGE_UNAVAILABLE, Blame.UPSTREAM),
        (FaultKind.CERTIFICATE_INVALID, Blame.UPSTREAM),
        (FaultKind.URL_TOO_LONG, Blame.MESSAGE),
        (FaultKind.BODY_TOO_LARGE, Blame.MESSAGE),
        (FaultKind.PAGE_FAILED, Blame.PAGE),
        (FaultKind.UNREACHABLE, Blame.UPSTREAM),
        (FaultKind.BROWSER_LOST, Blame.NODE),
        (FaultKind.BROWSER_UNAVAILABLE, Blame.NODE),
        (FaultKind.NODE_LOST, Blame.NODE),
        (FaultKind.OUT_OF_FILES, Blame.NODE),
        (FaultKind.STORE_UNAVAILABLE, Blame.STORE),
        (FaultKind.INTERNAL, Blame.US),
    ],
)
def test_whose_fault_it_is(kind: FaultKind, blame: Blame) -> None:
    assert NATURE[kind].blame is blame


@pytest.mark.parametrize("kind", FaultKind)
def test_kinds_are_fit_for_a_label_and_for_the_column(kind: FaultKind) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.value)
    assert len(kind.value) <= 32


def test_error_carries_its_fault() -> None:
    error = FaultError(FaultKind.TIMEOUT, "not done within 60 s")
    assert error.fault == Fault(FaultKind.TIMEOUT, "not done within 60 s")
    assert str(error) == "timeout: not done within 60 s"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_statuses_that_may_pass_are_tried_again(status: int) -> None:
    fault = status_fault(status, "https://reports.internal/render")
    assert fault == Fault(FaultKind.PAGE_UNAVAILABLE, f"https://reports.internal/render answered {status}")
    assert fault.nature.retry


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 407, 409, 410, 422, 424, 426, 428, 430, 499])
def test_other_statuses_are_final(status: int) -> None:
    fault = status_fault(status, "https://reports.internal/render")
    assert fault == Fault(FaultKind.PAGE_STATUS, f"https://reports.internal/render answered {status}")
    assert not fault.nature.retry


@pytest.mark.parametrize("status", [414, 431])
def test_statuses_about_the_length_of_the_url_are_the_jobs_own_fault(status: int) -> None:
    fault = status_fault(status, "https://reports.internal/render", 70_000)
    detail = f"https://reports.internal/render answered {status}; the URL has 70000 characters"
    assert fault == Fault(FaultKind.URL_TOO_LONG, detail)
    assert not fault.nature.retry
    assert not fault.nature.counts_for_breaker


def test_parameters_that_are_too_large_for_the_server_are_the_jobs_own_fault() -> None:
    detail = "http://reports.example/ answered 413; the parameters have 900000 bytes"
    assert status_fault(413, "http://reports.example/", sent_bytes=900_000) == Fault(FaultKind.BODY_TOO_LARGE, detail)
    assert status_fault(413, "http://reports.example/").kind is FaultKind.PAGE_STATUS


def test_a_stored_fault_of_a_kind_that_only_a_newer_node_knows_is_shown_with_its_name() -> None:
    assert stored_fault("timeout", "why") == Fault(FaultKind.TIMEOUT, "why")
    assert stored_fault("out_of_ink", "why") == Fault(FaultKind.INTERNAL, "out_of_ink: why")

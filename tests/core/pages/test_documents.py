"""What a server answered with 200, and whether it can be the report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.faults import FaultKind
from reportd.core.pages.assets import base_url
from reportd.core.pages.documents import (
    REPORT_TYPES,
    document_fault,
    is_folder,
    lists,
    may_redirect,
    path_of,
    same_place,
    shown,
    without_secrets,
)

REPORT = "https://app.test/render?params=%7B%7D"


@pytest.mark.parametrize("media_type", REPORT_TYPES)
@pytest.mark.parametrize(
    "found", [REPORT, "https://app.test/render", "http://app.test/render/", "https://APP.test:8443/render?x=2#part"]
)
def test_the_same_path_is_no_redirect(found: str, media_type: str) -> None:
    assert document_fault(REPORT, found, media_type, allowed=False) is None


@pytest.mark.parametrize(
    "found", ["https://app.test/login", "https://app.test/", "https://login.test/render", "https://app.test/render/new"]
)
def test_another_path_or_host_is_one(found: str) -> None:
    fault = document_fault(REPORT, found, "text/html", allowed=False)
    assert fault is not None
    assert fault.kind is FaultKind.REDIRECTED
    assert shown(found) in fault.detail
    assert "params" not in fault.detail
    assert document_fault(REPORT, found, "text/html", allowed=True) is None
    assert document_fault(REPORT, found, "text/html", allowed=[path_of(found) + "/"]) is None
    assert document_fault(REPORT, found, "text/html", allowed=["/elsewhere"]) is not None


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/pdf", "image/png", ""])
def test_only_a_document_can_be_a_report(media_type: str) -> None:
    fault = document_fault(REPORT, REPORT, media_type, allowed=False)
    assert fault is not None
    assert fault.kind is FaultKind.NOT_A_REPORT
    assert (media_type or "no media type") in fault.detail


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/x", "http://a//x"),
        ("http://a", "http://a/"),
        ("http://a/x/../y", "http://a/y"),
        ("http://a/a%20b", "http://a/a b"),
    ],
)
def test_spellings_of_a_path(one: str, other: str) -> None:
    assert same_place(one, other)


@given(st.from_regex(r"(/[a-z]{1,5}){1,3}", fullmatch=True), st.from_regex(r"(/[a-z]{1,5}){1,3}", fullmatch=True))
def test_a_list_allows_its_paths_only(path: str, other: str) -> None:
    assert may_redirect("http://a/report", f"http://b{path}?q", [path])
    assert may_redirect("http://a/report", f"http://b{other}", [path]) is (other == path)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:pass@app.test:8443/a/b?token=1#x", "https://app.test:8443/a/b"),
        ("data:image/png;base64,iVBORw0KGgo", "data:image/png;base64,…"),
        ("about:blank", "about:blank"),
        ("mailto:a@app.test?subject=secret", "mailto:a@app.test"),
        ("file:///etc/hosts", "file:///etc/hosts"),
        ("logo.png?at=12:30", "logo.png"),
        ("//cdn.test/logo.png?token=1", "//cdn.test/logo.png"),
        ("https://[secret", "https:…"),
        (f"{base_url('0123456789ab')}css/logo.png?x=1", "css/logo.png"),
        (base_url("0123456789ab"), base_url("0123456789ab")),
        (f"https://app.test/?{base_url('0123456789ab')}a.png", "https://app.test/"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, text: str) -> None:
    assert shown(url) == text


def test_a_text_is_shown_without_the_secrets_of_its_urls() -> None:
    text = "failed: https://user:pass@app.test/a?token=1, then 'wss://b/live?key=2' and http://[bad?x=3"
    assert without_secrets(text) == "failed: https://app.test/a then 'wss://b/live' and http:…"


@pytest.mark.parametrize(
    ("path", "folder"),
    [("", True), ("/", True), ("/a", False), ("/a/", True), ("/a/?x=/b", True), ("/a/..", True), ("/a/%2e", True)],
)
def test_which_paths_end_with_a_slash(path: str, *, folder: bool) -> None:
    assert is_folder(f"https://reports.internal{path}") is folder


def test_which_redirects_are_named() -> None:
    url = "https://reports.internal/render/?x=1"
    assert lists(allowed=True, url=url)
    assert not lists(allowed=False, url=url)
    assert lists(("/render",), url)
    assert not lists(("/other",), url)

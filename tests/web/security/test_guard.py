"""Rules of every call: other sites change nothing (I11), headers, methods, paths, and bugs."""

from typing import Any

import httpx
import pytest

from reportd_web.security.guard import log
from reportd_web.security.origin import SAFE_METHODS, Hosts, from_elsewhere
from tests.web.running import Running, calls, submission
from tests.web.secured import Secured
from tests.web.serving import get, serving
from tests.wording import mentions

HOST = "127.0.0.1:8080"
NOBODY = "/reports/99999999-2222-4333-8444-555555555555"
PAGE = NOBODY.replace("/reports/", "/jobs/")
LETTER = NOBODY.replace("/reports/", "/letters/")
NO_LETTER = "/dead-letters/99999999-2222-4333-8444-555555555555"
CHANGES = [
    ("POST", "/reports/generate-async"),
    ("DELETE", NOBODY),
    ("POST", f"{NOBODY}/retry"),
    ("POST", "/breakers/sales_summary/open"),
    ("POST", "/breakers/sales_summary/close"),
    ("POST", "/breakers/sales_summary/probe"),
    ("POST", "/types/sales_summary/open"),
    ("POST", "/types/sales_summary/close"),
    ("POST", "/types/sales_summary/probe"),
    ("POST", f"{PAGE}/cancel"),
    ("POST", f"{PAGE}/retry"),
    ("POST", f"{LETTER}/requeue"),
    ("POST", f"{LETTER}/drop"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("DELETE", NO_LETTER),
    ("POST", f"{NO_LETTER}/requeue"),
]
"""Every call that changes state."""


async def send(running: Running, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = submission() if path.endswith("async") else None
    return await running.client.request(method, path, json=body, headers=headers)


async def test_every_call_that_changes_state_is_tried(running: Running) -> None:
    changing = {(method, path) for method, path in calls(running.app) if method not in SAFE_METHODS}
    names = {
        NOBODY: "/reports/{taskId}",
        PAGE: "/jobs/{taskId}",
        NO_LETTER: "/dead-letters/{id}",
        LETTER: "/letters/{id}",
        "sales_summary": "{reportType}",
    }
    tried = set()
    for method, path in CHANGES:
        for name, template in names.items():
            path = path.replace(name, template)  # noqa: PLW2901
        tried.add((method, path))
    assert changing == tried


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "http://127.0.0.1:8081"},
    {"Origin": f"http://{HOST}.evil.example"},
    {"Origin": f"http://evil.example/{HOST}"},
    {"Origin": f"http://user@{HOST}"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "SAME-ORIGIN"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"},
    {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"},
    {"Origin": "http://127.0.0.1.nip.example:8080", "Host": "127.0.0.1.nip.example:8080"},
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_other_site_changes_nothing(running: Running, method: str, path: str, headers: dict[str, str]) -> None:
    answer = await send(running, method, path, headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "another site" in answer.json()["detail"]
    assert await running.rows() == 0
    assert not running.breakers.resting()


OWN: list[dict[str, str]] = [
    {},
    {"Origin": f"http://{HOST}"},
    {"Origin": f"https://{HOST}"},
    {"Origin": "http://localhost:8080", "Host": "localhost:8080"},
    {"Origin": "http://[::1]:8080", "Host": "[::1]:8080"},
    {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HOST}"},
    {"Sec-Fetch-Site": "none"},
    # Behind a proxy that keeps the host, and one that changes it.
    {"Origin": "https://reports.example.com", "Host": "reports.example.com"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://reports.example.com"},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_own_page_and_no_browser_may(running: Running, headers: dict[str, str]) -> None:
    assert (await send(running, *CHANGES[0], headers)).status_code == 202
    assert (await send(running, *CHANGES[1], headers)).status_code == 404


async def test_other_site_may_link_here(running: Running) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    assert (await running.client.get("/", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("::1", True), ("10.0.0.5", False), ("", False)]
)
def test_a_name_on_plain_http_is_foreign_only_where_nobody_else_uses_one(address: str, *, expected: bool) -> None:
    headers = {b"origin": b"http://reports.internal:8080", b"host": b"reports.internal:8080"}
    assert from_elsewhere(headers, address) is expected


# Headers


async def test_headers_of_every_answer(running: Running) -> None:
    task_id = await running.submit()
    await running.succeed(task_id)
    paths = ["/", "/status", "/healthz", "/readyz", "/openapi.json", "/static/status.css", "/reports", "/no", NOBODY]
    answers = [await running.client.get(path) for path in [*paths, f"/reports/{task_id}/pdf"]]
    answers.append(await send(running, *CHANGES[0], {}))
    answers.append(await send(running, *CHANGES[0], {"Origin": "null"}))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"]
        assert answer.headers["content-type"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_static_files_are_asked_for_again_but_not_sent_again(running: Running) -> None:
    answer = await running.client.get("/static/status.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["cache-control"] == "no-cache"
    again = await running.client.get("/static/status.css", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


# Methods


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/reports/generate-async", "POST"),
        ("/reports", "GET, HEAD"),
        (NOBODY, "DELETE, GET, HEAD"),
        (f"{NOBODY}/pdf", "GET, HEAD"),
        (f"{NOBODY}/retry", "POST"),
        ("/", "GET, HEAD"),
        ("/status", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/static/status.css", "GET, HEAD"),
    ],
)
async def test_other_methods_are_405_and_say_which_are_possible(running: Running, path: str, allowed: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"):
        if method in allowed.split(", "):
            continue
        answer = await running.client.request(method, path)
        assert answer.status_code == 405, method
        assert answer.headers["allow"] == allowed
        if method != "HEAD":
            assert mentions(answer.json()["detail"], f"{method} ", f"accepted: {allowed}")


@pytest.mark.parametrize("path", ["/", "/status", "/healthz", "/readyz", "/openapi.json", "/reports"])
async def test_head_where_get_is(running: Running, path: str) -> None:
    got, head = await running.client.get(path), await running.client.head(path)
    assert head.status_code == got.status_code
    assert head.headers == got.headers


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/no",
        "/reports/a/b/c",
        "/REPORTS",
        "/status.html",
        "/docs",
        "/redoc",
        "/static",
        "/static/",
        "/static/no.css",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2fetc%2fpasswd",
        "/static/%00",
        "/static/" + "a" * 300,
        "/reports%2f99999999-2222-4333-8444-555555555555%2fx",
        "/%F0%9F%98%80",
        "/%ff%fe",
        "/a%0d%0aX-Injected:%20yes",
        "/" + "a" * 4000,
    ],
)
async def test_other_paths_are_404(running: Running, path: str) -> None:
    answer = await running.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-injected" not in answer.headers
    # RFC 9457: a URI reference.
    assert answer.json()["instance"].isascii()
    assert " " not in answer.json()["instance"]


@pytest.mark.parametrize("path", ["/reports/", "/breakers/", "/healthz/", "/readyz//"])
async def test_slash_at_the_end_makes_no_difference(running: Running, path: str) -> None:
    answer = await running.client.get(path)
    assert answer.status_code == 200
    assert answer.content == (await running.client.get(path.rstrip("/"))).content


async def test_submission_with_a_slash_at_the_end_is_accepted(running: Running) -> None:
    assert (await running.client.post("/reports/generate-async/", json=submission())).status_code == 202


async def test_percent_encoded_path_is_the_same(running: Running) -> None:
    task_id = await running.submit()
    encoded = "".join(f"%{ord(character):02x}" for character in task_id)
    assert (await running.client.get(f"/reports/{encoded}")).json()["taskId"] == task_id
    assert (await running.client.get(f"/%72eports/{task_id}")).json()["taskId"] == task_id


# Bugs


async def test_bug_is_500_without_its_details_and_is_logged(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, Any]] = []

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret of the implementation")

    monkeypatch.setattr(log, "error", lambda event, **fields: logged.append({"event": event, **fields}))
    monkeypatch.setattr(running.service, "get", broken)
    answer = await running.client.get(f"{NOBODY}?wait=1")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert mentions(answer.json()["detail"], "daemon", "log")
    assert "secret" not in answer.text
    (entry,) = logged
    assert (entry["event"], entry["method"], entry["path"]) == ("http.internal_error", "GET", NOBODY)
    assert isinstance(entry["exc_info"], ZeroDivisionError)


# Hosts


OTHER_NAMES = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "xlocalhost",
    "",
]
OTHER_NAMES += ["127.0.0.1@evil.example", "evil.example#127.0.0.1", "[::1].evil.example", "0x7f.1", "a b", "évil"]
OUR_NAMES = [
    "127.0.0.1",
    "127.0.0.1:8080",
    "[::1]:8080",
    "10.0.0.5",
    "localhost",
    "LOCALHOST:1",
    "localhost.",
    "a.localhost",
]
OUR_NAMES += ["reports.example.com", "Reports.Example.com:443"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080"])
async def test_without_tokens_another_name_reads_nothing_and_does_nothing(running: Running, host: str) -> None:
    """A site that is open in a browser of this machine can point its own name here (DNS rebinding)."""
    task_id = await running.submit()
    every = {(method, path.replace("{taskId}", task_id)) for method, path in calls(running.app)}
    every |= {("GET", "/static/status.css"), ("GET", "/no/such"), ("OPTIONS", "/"), ("HEAD", "/")}
    for method, path in sorted(every):
        answer = await send(running, method, path, {"Host": host})
        assert answer.status_code == 421, (method, path)
        if method != "HEAD":
            assert answer.json()["errors"][0]["pointer"] == "/Host"
            assert "localhost, reports.example.com" in answer.json()["detail"]
    assert await running.rows() == 1


def test_names_that_are_nobody_elses() -> None:
    hosts = Hosts("https://reports.example.com:8443/x")
    assert [name for name in OUR_NAMES if not hosts.include(name.encode())] == []
    assert [name for name in OTHER_NAMES if hosts.include(name.encode("latin-1"))] == []
    assert not Hosts("").include(b"reports.example.com")


async def test_who_names_no_host_is_no_browser(running: Running) -> None:
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send("GET /healthz HTTP/1.0\r\n\r\n")
        assert (await connection.answer()).status == 200
        connection = await served.connect()
        await connection.send(get("/healthz", Host="evil.example"))
        assert (await connection.answer()).status == 421


async def test_with_tokens_any_name_will_do(secured: Secured) -> None:
    headers = {**secured.bearer("read"), "Host": "evil.example"}
    for path in ("/status", "/reports", "/healthz", "/"):
        assert (await secured.client.get(path, headers=headers)).status_code == 200

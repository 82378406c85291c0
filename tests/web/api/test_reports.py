"""The calls for reports: get, long-poll, list, cancel, retry."""

import re
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
import trio
from trio.testing import MockClock

from reportd.core.jobs.transitions import JobState
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import UnavailableError
from tests.web.running import USER, Running
from tests.wording import mentions

OTHER_USER = "11111111-2222-4333-8444-555555555555"
NOBODY = "99999999-2222-4333-8444-555555555555"
FIELDS = {
    "taskId",
    "reportType",
    "userId",
    "state",
    "attempts",
    "deferrals",
    "progress",
    "edition",
    "submittedAt",
    "startedAt",
    "finishedAt",
    "error",
    "pdf",
    "warnings",
    "options",
    "callback",
}


async def get(running: Running, path: str, **query: Any) -> dict[str, Any]:
    answer = await running.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


# One


async def test_queued_report(running: Running) -> None:
    task_id = await running.submit()
    report = await get(running, f"/reports/{task_id}")
    assert set(report) == FIELDS
    assert report["submittedAt"].endswith("Z")
    expected = {"taskId": task_id, "reportType": "sales_summary", "userId": USER, "state": "queued", "attempts": 0}
    assert expected.items() <= report.items()
    assert [report[name] for name in ("startedAt", "finishedAt", "error", "pdf")] == [None] * 4


async def test_a_report_says_which_edition_of_its_template_printed_it(running: Running) -> None:
    task_id = await running.submit()
    assert (await get(running, f"/reports/{task_id}"))["edition"] is None
    await running.work()
    edition = (await get(running, f"/reports/{task_id}"))["edition"]
    assert re.fullmatch("[0-9a-f]{12}", edition)
    assert f"<code>{edition}</code> of its template" in (await running.client.get(f"/jobs/{task_id}")).text


async def test_a_running_report_says_how_far_it_is_in_every_form(running: Running) -> None:
    task_id = await running.submit()
    await running.progress(task_id, 0.25)
    assert (await get(running, f"/reports/{task_id}"))["progress"] == 0.25
    assert (await get(running, f"/reports/{task_id}", wait="0.1"))["progress"] == 0.25
    assert [report["progress"] for report in (await get(running, "/reports"))["reports"]] == [0.25]
    assert [job["progress"] for job in (await get(running, "/status"))["recent"]] == [0.25]


async def test_a_report_says_what_its_job_says_for_itself(running: Running) -> None:
    assert (await get(running, f"/reports/{await running.submit()}"))["options"] == {}
    own: dict[str, Any] = {"locale": "de-AT", "timezone": "Europe/Vienna", "fileName": "Umsatz.pdf"}
    task_id = await running.submit(**own)
    assert (await get(running, f"/reports/{task_id}", wait=0.01))["options"] == own


async def test_succeeded_report_says_where_its_pdf_is(running: Running) -> None:
    task_id = await running.submit()
    sha256 = await running.succeed(task_id, b"%PDF-1.7")
    report = await get(running, f"/reports/{task_id}")
    assert set(report) == FIELDS
    assert (report["state"], report["attempts"], report["error"]) == ("succeeded", 1, None)
    assert report["submittedAt"] < report["startedAt"] < report["finishedAt"]
    assert report["pdf"] == {"url": f"/reports/{task_id}/pdf", "bytes": 8, "sha256": sha256}


async def test_a_report_says_what_its_pdf_lacks_wherever_it_is_shown(running: Running) -> None:
    """From the renderer by the worker and the store to the report, the list and the callback."""
    whole = await running.submit()
    await running.work()
    task_id = await running.submit(callbackUrl="https://hooks.example.com/done")
    running.renderer.warnings[task_id] = (
        JobWarning(WarningKind.RESOURCES, "https://cdn.internal/logo.png", "404", 3),
        JobWarning(WarningKind.RESOURCES, "https://other.example/x.js", "host not allowed", refused=True),
    )
    await running.work()
    warnings = [
        {"kind": "resources", "what": "https://cdn.internal/logo.png", "why": "404", "count": 3},
        {"kind": "resources", "what": "https://other.example/x.js", "why": "host not allowed", "count": 1},
    ]
    report = await get(running, f"/reports/{task_id}")
    assert (report["state"], report["warnings"]) == ("succeeded", warnings)
    assert (await get(running, f"/reports/{whole}"))["warnings"] == []
    listed = (await get(running, "/reports"))["reports"]
    assert {one["taskId"]: one["warnings"] for one in listed} == {task_id: warnings, whole: []}
    ((callback,), _) = await running.outbox.claim(1, 60.0)
    assert orjson.loads(callback.body)["data"]["warnings"] == warnings
    openapi = await running.client.get("/openapi.json")
    schema = openapi.json()["components"]["schemas"]["Report"]
    jsonschema_rs.validate(schema, report)
    assert "warnings" in schema["required"]


async def test_quarantined_report_says_why(running: Running) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "the page has no chart")
    report = await get(running, f"/reports/{task_id}")
    assert (report["state"], report["pdf"]) == ("quarantined", None)
    assert report["error"] == {"kind": "script_error", "detail": "the page has no chart"}


async def test_task_id_in_capitals_is_the_same(running: Running) -> None:
    task_id = await running.submit()
    assert (await get(running, f"/reports/{task_id.upper()}"))["taskId"] == task_id


@pytest.mark.parametrize("name", [NOBODY, "x", "%00", "%2e%2e%2f", "1" * 5000, "{taskId}", "%F0%9F%98%80"])
async def test_unknown_report_is_404(running: Running, name: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/pdf"), ("POST", "/retry")):
        answer = await running.client.request(method, f"/reports/{name}{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_database_that_is_down_is_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise UnavailableError("database", "no answer")

    task_id = await running.submit()
    monkeypatch.setattr(running.database, "read", down)
    monkeypatch.setattr(running.database, "write", down)
    calls = ("GET", ""), ("GET", "?wait=1"), ("GET", "/pdf"), ("DELETE", ""), ("POST", "/retry")
    for method, path in calls:
        answer = await running.client.request(method, f"/reports/{task_id}{path}")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["detail"] == "database: no answer"
    assert (await running.client.get("/reports")).status_code == 503


# Waiting


async def test_wait_ends_at_once_when_the_report_is_finished(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd.intake.service.POLL_SECONDS", 1000.0)
    task_id = await running.submit()
    states: list[str] = []

    async def wait() -> None:
        states.append((await get(running, f"/reports/{task_id}", wait=30))["state"])

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while not running.changes._waiting:
                await trio.sleep(0.01)
            await running.succeed(task_id)
    assert states == ["succeeded"]


@pytest.fixture
def clock() -> MockClock:
    """Reads go through threads, which a mock clock does not see: it must idle for a while before it jumps."""
    # The database answers from a thread. On a busy machine that takes long, and the clock must not jump meanwhile.
    return MockClock(autojump_threshold=0.5)


async def test_wait_sees_what_another_node_has_finished(
    running: Running, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await running.submit()
    began = clock.current_time()
    async with trio.open_nursery() as nursery:

        async def elsewhere() -> None:
            await trio.sleep(3.5)
            monkeypatch.setattr(running.changes, "notify", lambda _: None)
            await running.succeed(task_id)

        nursery.start_soon(elsewhere)
        report = await get(running, f"/reports/{task_id}", wait=30)
    assert report["state"] == "succeeded"
    assert clock.current_time() - began < 25


@pytest.mark.parametrize("seconds", ["3", "2.5", "0.001", "1e-3"])
async def test_wait_ends_when_the_time_is_over(running: Running, clock: MockClock, seconds: str) -> None:
    task_id = await running.submit()
    began = clock.current_time()
    assert (await get(running, f"/reports/{task_id}", wait=seconds))["state"] == "queued"
    assert float(seconds) <= clock.current_time() - began < float(seconds) + 0.5


async def test_wait_does_not_hold_a_finished_report(running: Running, clock: MockClock) -> None:
    task_id = await running.submit()
    await running.succeed(task_id)
    began = clock.current_time()
    await get(running, f"/reports/{task_id}", wait=30)
    assert clock.current_time() == began


@pytest.mark.parametrize(
    "wait", ["31", "30.1", "-1", "x", "", "nan", "inf", "1e9", "1_0", "\u0663", "0x1", " 1", "1,5", "9" * 400]
)
async def test_wait_that_is_no_number_of_seconds_is_422(running: Running, wait: str) -> None:
    answer = await running.client.get(f"/reports/{await running.submit()}", params={"wait": wait})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["in"], error["pointer"]) == ("query", "/wait")
    assert mentions(error["detail"], "seconds", "0 to 30")


# Cancel and retry


async def test_cancel(running: Running) -> None:
    task_id = await running.submit()
    answer = await running.client.delete(f"/reports/{task_id}")
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert answer.json()["finishedAt"] is not None
    assert (await running.record(task_id)).state is JobState.CANCELLED


async def test_cancelling_twice_is_the_same(running: Running) -> None:
    task_id = await running.submit()
    answers = [await running.client.delete(f"/reports/{task_id}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


async def test_finished_report_can_not_be_cancelled(running: Running) -> None:
    task_id = await running.submit()
    await running.succeed(task_id)
    answer = await running.client.delete(f"/reports/{task_id}")
    assert answer.status_code == 409
    assert mentions(answer.json()["detail"], "succeeded", "cancelled")
    assert (await running.record(task_id)).state is JobState.SUCCEEDED


async def test_retry_queues_a_quarantined_report_again(running: Running) -> None:
    task_id = await running.submit()
    await running.queue.delete([message.receipt for message in await running.queue.receive(1, 0)])
    await running.quarantine(task_id)
    answer = await running.client.post(f"/reports/{task_id}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/reports/{task_id}"
    expected = {"state": "queued", "attempts": 0, "error": None, "finishedAt": None}
    assert expected.items() <= answer.json().items()
    assert await running.messages() == 1


@pytest.mark.parametrize("state", ["queued", "succeeded", "cancelled"])
async def test_only_a_quarantined_report_can_be_retried(running: Running, state: str) -> None:
    task_id = await running.submit()
    if state == "succeeded":
        await running.succeed(task_id)
    elif state == "cancelled":
        await running.client.delete(f"/reports/{task_id}")
    answer = await running.client.post(f"/reports/{task_id}/retry")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await running.record(task_id)).state == state


async def test_retry_with_the_queue_down_is_503_and_is_sent_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_: object) -> list[Exception | None]:
        raise UnavailableError("queue", "no answer")

    task_id = await running.submit()
    await running.quarantine(task_id)
    monkeypatch.setattr(running.queue, "send", down)
    answer: httpx.Response = await running.client.post(f"/reports/{task_id}/retry")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert [record.job.task_id for record in await running.jobs.overdue(10, confirmed=False, overdue_seconds=-60)] == [
        task_id
    ]

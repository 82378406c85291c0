"""The buttons: each acts and returns to the page that shows the result, or shows why it was refused."""

import time
from typing import Any

import httpx
import pytest
import trio

from reportd.core.breaker.breaker import BreakerState
from reportd.core.dead_letters.signature import signature
from reportd.core.jobs.transitions import JobState
from reportd.ports import AuditEntry, UnavailableError
from tests.web.api.test_dead_letters import TIMEOUT, quarantined
from tests.web.running import Running
from tests.web.secured import Secured

NOBODY = "99999999-2222-4333-8444-555555555555"
OWN = {"Origin": "http://127.0.0.1:8080"}


async def press(running: Running, path: str, **fields: str) -> httpx.Response:
    return await running.client.post(path, data=fields or {"reason": ""}, headers=OWN)


def breaker(running: Running, name: str = "sales_summary") -> Any:
    return next(one for one in running.breakers.snapshot() if one.report_type == name)


@pytest.mark.parametrize(
    ("before", "order", "after"),
    [
        ("close", "open", BreakerState.FORCED_OPEN),
        ("open", "close", BreakerState.CLOSED),
        ("open", "probe", BreakerState.OPEN),
    ],
)
async def test_a_breaker_is_moved(running: Running, before: str, order: str, after: BreakerState) -> None:
    await press(running, f"/types/sales_summary/{before}")
    answer = await press(running, f"/types/sales_summary/{order}", reason=" its database moves ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/#types")
    moved = breaker(running)
    assert (moved.state, moved.reason, moved.by) == (after, "its database moves", "local")
    assert "its database moves" in (await running.client.get("/")).text or after is BreakerState.CLOSED


async def test_what_was_done_is_on_record_with_who_did_it(secured: Secured) -> None:
    running = secured.running
    task_id, other, failed = await secured.task(), await secured.task(), await secured.task()
    await running.quarantine(failed)
    headers = secured.cookie("operate") | OWN
    await running.client.post("/types/sales_summary/open", data={"reason": "why not"}, headers=headers)
    assert (await running.client.post(f"/jobs/{task_id}/cancel", headers=headers)).status_code == 303
    assert (await running.client.delete(f"/reports/{other}", headers=secured.bearer("submit"))).status_code == 200
    assert (await running.client.post(f"/reports/{failed}/retry", headers=secured.bearer("submit"))).status_code == 202
    entries: list[AuditEntry] = []
    with trio.move_on_after(5):
        while len(entries) < 4:
            entries = await running.audit.latest(10)
    found = {(entry.actor, entry.action, entry.subject) for entry in entries}
    assert found == {
        ("operate", "breaker.forced_open", "sales_summary"),
        ("operate", "job.cancelled", task_id),
        ("submit", "job.cancelled", other),
        ("submit", "job.retried", failed),
    }
    assert all(abs(entry.at - time.time()) < 60 for entry in entries)


@pytest.mark.parametrize(
    ("path", "fields", "status", "said"),
    [
        ("/types/no_such/open", {}, 404, "there is no report type of this name"),
        ("/types/%3Cscript%3E/open", {}, 404, "there is no report type of this name"),
        ("/types/sales_summary/probe", {}, 409, "its jobs are rendered"),
        ("/types/sales_summary/open", {"reason": "x" * 201}, 422, "not acceptable: reason"),
        ("/types/sales_summary/open", {"reason": "\0"}, 422, "not acceptable: reason"),
        ("/types/sales_summary/open", {"reason": "x" * 5000}, 413, "the body must be at most 4096 bytes"),
        (f"/jobs/{NOBODY}/cancel", {}, 404, "there is no such report"),
        (f"/jobs/{NOBODY}/retry", {}, 404, "there is no such report"),
        (f"/letters/{NOBODY}/drop", {}, 404, "there is no such dead letter"),
        ("/letters/%3Cscript%3E/requeue", {}, 404, "there is no such dead letter"),
    ],
)
async def test_why_nothing_was_done(
    running: Running, path: str, fields: dict[str, str], status: int, said: str
) -> None:
    answer = await press(running, path, **fields)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert said in answer.text
    assert "<script>" not in answer.text
    assert breaker(running).state is BreakerState.CLOSED


async def test_a_part_that_is_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise UnavailableError("redis", "no answer")

    monkeypatch.setattr(running.breakers, "command", down)
    answer = await press(running, "/types/sales_summary/open")
    assert answer.status_code == 503
    assert "redis: no answer" in answer.text
    assert "retry-after" in answer.headers


async def test_a_job_is_cancelled_and_another_one_retried(running: Running) -> None:
    waiting, bad = await running.submit(), await running.submit()
    await running.quarantine(bad)
    for task_id, order, state in ((waiting, "cancel", JobState.CANCELLED), (bad, "retry", JobState.QUEUED)):
        answer = await press(running, f"/jobs/{task_id}/{order}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{task_id}")
        assert (await running.record(task_id)).state is state
        again = await press(running, f"/jobs/{task_id}/{order}")
        assert again.status_code == (303 if order == "cancel" else 409)


async def test_dead_letters_are_put_back_and_dropped_one_and_all(running: Running) -> None:
    one, two, three = [await quarantined(running) for _ in range(3)]
    group = signature(TIMEOUT.kind, TIMEOUT.detail)
    html = (await running.client.get("/")).text
    assert f'action="/letters/{group}/requeue"' in html
    assert f'formaction="/letters/{one}/drop"' in html
    answer = await press(running, f"/letters/{one}/requeue")
    assert (answer.status_code, answer.headers["location"]) == (303, "/#letters")
    assert (await running.record(one)).state is JobState.QUEUED
    await press(running, f"/letters/{two}/drop")
    assert await running.letters.get(two) is None
    assert (await running.record(two)).state is JobState.QUARANTINED
    await press(running, f"/letters/{group}/requeue")
    assert (await running.record(three)).state is JobState.QUEUED
    assert "None." in (await running.client.get("/")).text
    for order in ("requeue", "drop"):
        answer = await press(running, f"/letters/{group}/{order}")
        assert answer.status_code == 404
        assert "there is no such dead letter" in answer.text
    assert {entry.action for entry in await running.audit.latest(9)} == {"dead_letter.requeued", "dead_letter.dropped"}


async def test_another_users_job_is_none_of_a_tenants(secured: Secured) -> None:
    task_id = await secured.task()
    for order in ("cancel", "retry"):
        answer = await secured.client.post(f"/jobs/{task_id}/{order}", headers=secured.bearer("other"))
        assert answer.status_code == 404
    assert (await secured.client.post(f"/jobs/{task_id}/cancel", headers=secured.bearer("tenant"))).status_code == 303
    assert (await secured.running.record(task_id)).state is JobState.CANCELLED


async def test_buttons_are_shown_to_those_who_may_press_them(secured: Secured) -> None:
    for name, is_reader in (("read", True), ("operate", False)):
        html = (await secured.client.get("/", headers=secured.cookie(name))).text
        assert ('class="reader"' in html) is is_reader
        assert '<form method="post" action="/logout"><button>Log out</button></form>' in html
    task_id = await secured.task()
    for name, may in (("read", False), ("operate", True), ("tenant", True)):
        html = (await secured.client.get(f"/jobs/{task_id}", headers=secured.bearer(name))).text
        assert (f'action="/jobs/{task_id}/cancel"' in html) is may


async def test_where_no_tokens_are_asked_for_there_is_no_logging_out(running: Running) -> None:
    html = (await running.client.get("/")).text
    assert "/logout" not in html
    assert 'class="reader"' not in html

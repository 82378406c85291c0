"""The breakers over HTTP: their list, an operator's commands, and the audit record."""

import json
from typing import Any

import httpx
import pytest
import trio

from reportd.config.report_types import BUILT_IN
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import AuditEntry
from reportd_web.api.breakers import MAX_REASON
from tests.fleet import BadLine
from tests.web.running import MAX_BODY_BYTES, Running
from tests.wording import mentions

SALES = "sales_summary"


async def shown(running: Running) -> dict[str, Any]:
    """The breaker of SALES in the list."""
    answer = await running.client.get("/breakers")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    by_name = {breaker["reportType"]: breaker for breaker in answer.json()["breakers"]}
    assert list(by_name) == sorted(BUILT_IN)
    found: dict[str, Any] = by_name[SALES]
    return found


async def order(running: Running, word: str, name: str = SALES, **body: Any) -> httpx.Response:
    return await running.client.post(f"/breakers/{name}/{word}", json=body or None)


async def fail(running: Running, times: int = 3) -> None:
    for _ in range(times):
        with pytest.raises(FaultError):
            async with running.breakers.admit(SALES, 60.0):
                raise FaultError(FaultKind.TIMEOUT, "<b>60</b> s")


async def recorded(running: Running, count: int) -> list[AuditEntry]:
    """Wait for ``count`` entries; return the last ones, oldest first."""
    with trio.fail_after(10):
        while len(entries := await running.audit.latest(100, SALES)) < count:
            await trio.sleep(0.01)
    return entries[::-1]


async def test_a_breaker_that_nothing_happened_to(running: Running) -> None:
    assert await shown(running) == {
        "reportType": SALES,
        "state": "closed",
        "resting": False,
        "since": None,
        "openSince": None,
        "failedProbes": 0,
        "until": None,
        "probeUntil": None,
        "failures": 0,
        "reason": "",
        "faults": [],
        "by": "",
    }
    assert (await running.client.get("/breakers")).json()["trouble"] is None


async def test_an_open_breaker_says_why_by_whom_and_until_when(running: Running) -> None:
    await fail(running, 2)
    before = await shown(running)
    assert (before["state"], before["failures"], before["faults"]) == ("closed", 2, 2 * ["timeout: <b>60</b> s"])
    await fail(running, 1)
    opened = await shown(running)
    assert (opened["state"], opened["resting"], opened["by"]) == ("open", True, "n1")
    assert (opened["reason"], opened["faults"]) == ("3 failures in a row", 3 * ["timeout: <b>60</b> s"])
    assert opened["since"] < opened["until"]


async def test_the_lease_of_a_probe_is_shown(running: Running) -> None:
    await fail(running)
    assert (await order(running, "probe")).status_code == 200
    async with running.breakers.admit(SALES, 60.0) as admission:
        assert admission.probe
        probing = await shown(running)
        assert (probing["state"], probing["resting"]) == ("half_open", True)
        assert probing["probeUntil"] > probing["since"]
        admission.succeeded(1.0)
    assert ((await shown(running))["state"], (await shown(running))["probeUntil"]) == ("closed", None)


async def test_open_lasts_until_close(running: Running) -> None:
    answer = await order(running, "open", reason="the database moves")
    assert answer.status_code == 200
    assert answer.json() == await shown(running)
    held = answer.json()
    assert (held["state"], held["resting"], held["until"]) == ("forced_open", True, None)
    assert (held["reason"], held["by"]) == ("the database moves", "local")
    closed = await order(running, "close")
    assert (closed.status_code, closed.json()["state"], closed.json()["resting"]) == (200, "closed", False)


async def test_close_can_hold(running: Running) -> None:
    held = await order(running, "close", hold=True, reason="go on")
    assert (held.status_code, held.json()["state"]) == (200, "forced_closed")
    await fail(running, 10)
    assert (await shown(running))["state"] == "forced_closed"
    assert (await order(running, "close", hold=False)).json()["state"] == "closed"
    await fail(running, 3)
    assert (await shown(running))["state"] == "open"


async def test_probe_ends_the_rest(running: Running) -> None:
    await fail(running)
    assert (await shown(running))["resting"]
    answer = await order(running, "probe")
    assert (answer.json()["state"], answer.json()["resting"]) == ("open", False)


async def test_an_alias_means_its_type(running: Running) -> None:
    assert (await order(running, "open", "sales")).json()["reportType"] == SALES
    assert (await shown(running))["state"] == "forced_open"


async def test_every_word_is_on_record_once_with_who_and_why(running: Running) -> None:
    await fail(running)
    for word, body in (("probe", {}), ("open", {"reason": "moving"}), ("close", {"reason": "moved"})):
        assert (await order(running, word, **body)).status_code == 200
    entries = await recorded(running, 4)
    assert [(entry.action, entry.actor, entry.detail["reason"]) for entry in entries] == [
        ("breaker.tripped", "n1", "3 failures in a row"),
        ("breaker.hurried", "local", "by hand"),
        ("breaker.forced_open", "local", "moving"),
        ("breaker.reset", "local", "moved"),
    ]
    assert entries[0].detail == {
        "before": "closed",
        "after": "open",
        "reason": "3 failures in a row",
        "faults": 3 * ["timeout: <b>60</b> s"],
    }


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nobody", "SALES_SUMMARY", "%00", "sales_summary%2F", "%F0%9F%92%A5"])
async def test_an_unknown_type_is_not_found(running: Running, name: str) -> None:
    for word in ("open", "close", "probe"):
        answer = await order(running, word, name)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert await running.audit.latest(10) == []


async def test_what_makes_no_sense_is_refused_with_how_it_stands(running: Running) -> None:
    refused = await order(running, "probe")
    assert refused.status_code == 409
    assert mentions(refused.json()["detail"], "sales_summary is closed")
    await order(running, "open", reason="moving")
    refused = await order(running, "open", reason="mine, too")
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith("Z by local: moving")
    assert refused.json()["detail"].startswith("sales_summary is held open since 20")
    assert (await shown(running))["reason"] == "moving"


BAD: list[tuple[str, Any, str]] = [
    ("open", [], ""),
    ("open", None, ""),
    ("open", "why", ""),
    ("open", {"reason": 3}, "/reason"),
    ("open", {"reason": None}, "/reason"),
    ("open", {"reason": "x" * (MAX_REASON + 1)}, "/reason"),
    ("open", {"reason": "a\0b"}, "/reason"),
    ("open", {"why": "x"}, "/why"),
    ("open", {"hold": True}, "/hold"),
    ("probe", {"hold": True}, "/hold"),
    ("close", {"hold": 1}, "/hold"),
    ("close", {"hold": None}, "/hold"),
]


@pytest.mark.parametrize(("word", "body", "pointer"), BAD)
async def test_a_bad_body_is_refused_by_field(running: Running, word: str, body: Any, pointer: str) -> None:
    path, headers = f"/breakers/{SALES}/{word}", {"Content-Type": "application/json"}
    answer = await running.client.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await shown(running))["state"] == "closed"


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"reason": "\\ud800"}', "application/json", 400),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "", 415),
        (b" " * MAX_BODY_BYTES + b"{}", "application/json", 413),
        (b"", "text/plain", 200),
        (b"", "", 200),
        (b"{}", "application/json", 200),
    ],
)
async def test_a_body_is_json_or_left_out(running: Running, content: bytes, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await running.client.post(f"/breakers/{SALES}/open", content=content, headers=headers)
    assert answer.status_code == status, answer.text


async def test_while_redis_is_away_nothing_is_promised(running: Running) -> None:
    line = BadLine()
    running.breakers._store = line
    line.away = True
    answer = await order(running, "open", reason="moving")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await shown(running))["state"] == "closed"
    (entry,) = await recorded(running, 1)
    assert (entry.action, entry.actor) == ("breaker.unanswered", "local")
    assert entry.detail == {"order": "open", "reason": "moving"}
    await running.breakers._refresh()
    assert "can't be reached" in (await running.client.get("/breakers")).json()["trouble"]
    line.away = False
    assert (await order(running, "open")).status_code == 200

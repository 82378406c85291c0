"""Dead letters over HTTP: list, show, requeue and drop, for one letter or a group, and the audit record."""

from dataclasses import replace
from typing import Any

import pytest

from reportd.core.dead_letters.signature import normalised, signature
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import to_message
from reportd.core.jobs.transitions import JobEvent
from reportd.dead_letters.service import MAX_AT_ONCE
from reportd.ports import DeadLetter, LetterStatus, Settlement
from tests.web.running import Running

NOON = 1_750_000_000.0
NOBODY = "99999999-2222-4333-8444-555555555555"
TIMEOUT = Fault(FaultKind.TIMEOUT, "the page took longer than 60 s")
HTML = "<script>alert(1)</script> 茶"


def a_letter(letter_id: str, fault: Fault, **fields: Any) -> DeadLetter:
    letter = DeadLetter(
        id=letter_id,
        task_id=letter_id,
        signature=signature(fault.kind, fault.detail),
        report_type="sales_summary",
        kind=fault.kind,
        detail=fault.detail,
        cause=normalised(fault.detail),
        standing=LetterStatus.QUARANTINED,
        reason="it was tried again 2 times in vain",
        first_seen_at=NOON,
        last_seen_at=NOON,
        body="{",
        attributes={"kind": fault.kind},
        redrives=2,
    )
    return replace(letter, **fields)


async def quarantined(running: Running, fault: Fault = TIMEOUT, **fields: Any) -> str:
    task_id = await running.submit()
    await running.quarantine(task_id, fault.detail)
    body = to_message((await running.record(task_id)).job)
    assert await running.letters.keep(a_letter(task_id, fault, body=body, **fields))
    return task_id


async def waiting(running: Running, **fields: Any) -> str:
    task_id = await running.submit()
    await running._settle(task_id, JobEvent.DEAD_LETTERED, fault=TIMEOUT)
    assert await running.letters.keep(a_letter(task_id, TIMEOUT, standing=LetterStatus.WAITING, **fields))
    return task_id


async def no_job(running: Running, letter_id: str = NOBODY, body: str = HTML) -> str:
    fault = Fault(FaultKind.MALFORMED_MESSAGE, "the message is not JSON")
    assert await running.letters.keep(a_letter(letter_id, fault, task_id=None, report_type="", body=body))
    return letter_id


async def get(running: Running, path: str = "", **query: Any) -> dict[str, Any]:
    answer = await running.client.get(f"/dead-letters{path}", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_there_are_none(running: Running) -> None:
    assert await get(running) == {"groups": [], "nextCursor": None}


async def test_groups_and_their_letters(running: Running) -> None:
    one = await quarantined(running, last_seen_at=NOON + 5)
    two = await waiting(running)
    await no_job(running)
    timeouts, malformed = (await get(running))["groups"]
    letter = {
        "id": one,
        "group": timeouts["id"],
        "taskId": one,
        "reportType": "sales_summary",
        "kind": "timeout",
        "detail": "the page took longer than 60 s",
        "verdict": "quarantined",
        "reason": "it was tried again 2 times in vain",
        "redrives": 2,
        "firstSeenAt": "2025-06-15T15:06:40.000Z",
        "lastSeenAt": "2025-06-15T15:06:45.000Z",
    }
    assert timeouts["letters"][0] == letter
    assert [each["id"] for each in timeouts["letters"]] == [one, two]
    assert {name: value for name, value in timeouts.items() if name != "letters"} == {
        "id": signature("timeout", TIMEOUT.detail),
        "kind": "timeout",
        "cause": "the page took longer than {n} s",
        "reportTypes": ["sales_summary"],
        "verdict": "waiting",
        "count": 2,
        "waiting": 1,
        "quarantined": 1,
        "firstSeenAt": "2025-06-15T15:06:40.000Z",
        "lastSeenAt": "2025-06-15T15:06:45.000Z",
    }
    assert (malformed["verdict"], malformed["reportTypes"], malformed["letters"][0]["taskId"]) == (
        "quarantined",
        [],
        None,
    )
    assert await get(running, f"/{timeouts['id']}") == {**timeouts, "nextCursor": None}
    body = to_message((await running.record(one)).job)
    assert await get(running, f"/{one.upper()}") == {**letter, "attributes": {"kind": "timeout"}, "body": body}
    assert (await get(running, f"/{NOBODY}"))["body"] == HTML


async def test_pages_of_groups_and_of_letters(running: Running) -> None:
    for number in range(5):
        await quarantined(running, Fault(FaultKind.SCRIPT_ERROR, "abcde"[number]))
    ids = [group["id"] for group in (await get(running))["groups"]]
    for path, items, count in (("", "groups", 5), (f"/{signature('timeout', TIMEOUT.detail)}", "letters", 7)):
        if path:
            for number in range(count):
                await quarantined(running, last_seen_at=NOON + number // 2)
        seen: list[str] = []
        page = await get(running, path, limit=2)
        while True:
            seen += [each["id"] for each in page[items]]
            if page["nextCursor"] is None:
                break
            page = await get(running, path, limit=2, cursor=page["nextCursor"])
        assert len(seen) == len(set(seen)) == count
        assert path or seen == ids


BAD_QUERIES = ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=", "cursor=f_gAAAAAAAA", "state=queued"]


@pytest.mark.parametrize("query", BAD_QUERIES)
@pytest.mark.parametrize("path", ["", f"/{NOBODY}"])
async def test_bad_query_is_refused(running: Running, query: str, path: str) -> None:
    await no_job(running)
    assert (await running.client.get(f"/dead-letters{path}?{query}")).status_code == 422


@pytest.mark.parametrize("target", [NOBODY, "g-0123456789abcdef", "g-0123456789ABCDEF", "x", "%00", "é", "g-"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/requeue")])
async def test_what_is_not_there_is_not_found(running: Running, method: str, path: str, target: str) -> None:
    answer = await running.client.request(method, f"/dead-letters/{target}{path}")
    assert answer.status_code == 404
    assert "dead letter" in answer.json()["detail"]
    assert not await running.audit.latest(10)


# --- putting back -----------------------------------------------------------------------------------------------


async def test_a_quarantined_job_goes_back_with_fresh_attempts(running: Running) -> None:
    task_id = await quarantined(running)
    answer = await running.client.post(f"/dead-letters/{task_id}/requeue")
    assert (answer.status_code, answer.json()) == (202, {"requeued": 1, "remaining": 0})
    record = await running.record(task_id)
    assert (record.state, record.tally.attempts, record.error) == ("queued", 0, None)
    assert await running.messages() == 2
    assert await get(running) == {"groups": [], "nextCursor": None}
    (entry,) = await running.audit.latest(10)
    assert (entry.actor, entry.action, entry.subject) == ("local", "dead_letter.requeued", task_id)


async def test_a_waiting_job_goes_back_at_once_and_keeps_its_count(running: Running) -> None:
    task_id = await waiting(running)
    answer = await running.client.post(f"/dead-letters/{task_id}/requeue")
    assert answer.json() == {"requeued": 1, "remaining": 0}
    assert (await running.record(task_id)).state == "queued"
    assert (await running.record(task_id)).confirmed
    assert await running.messages() == 2
    assert (await running.client.get(f"/dead-letters/{task_id}")).status_code == 404
    kept = await running.letters.get(task_id)
    assert kept is not None
    assert (kept.redrives, kept.standing) == (2, LetterStatus.UNDERWAY)


async def test_what_is_no_job_goes_back_as_it_came(running: Running) -> None:
    await no_job(running)
    assert (await running.client.post(f"/dead-letters/{NOBODY}/requeue")).json() == {"requeued": 1, "remaining": 0}
    (message,) = await running.queue.receive(10, 0.0)
    assert message.body == HTML
    assert await running.letters.get(NOBODY) is None


async def test_a_job_that_somebody_else_has_put_back_is_not_put_back_twice(running: Running) -> None:
    task_id = await quarantined(running)
    await running.client.post(f"/reports/{task_id}/retry")
    await running.client.post(f"/dead-letters/{task_id}/requeue")
    assert await running.messages() == 2
    assert await running.letters.get(task_id) is None


async def test_a_whole_group_goes_back(running: Running) -> None:
    fault = Fault(FaultKind.SCRIPT_ERROR, "x is not defined")
    group = [await quarantined(running), await quarantined(running), await waiting(running)]
    other = await quarantined(running, fault)
    target = signature("timeout", TIMEOUT.detail)
    answer = await running.client.post(f"/dead-letters/{target}/requeue")
    assert answer.json() == {"requeued": 3, "remaining": 0}
    assert [(await running.record(task_id)).state for task_id in group] == ["queued"] * 3
    assert [each["id"] for each in (await get(running))["groups"]] == [signature(fault.kind, fault.detail)]
    assert (await running.record(other)).state == "quarantined"
    (entry,) = await running.audit.latest(10)
    assert (entry.subject, entry.detail) == (target, {"count": 3})


async def test_of_a_very_large_group_a_part_goes_at_a_time(running: Running) -> None:
    for number in range(MAX_AT_ONCE + 2):
        await no_job(running, f"00000000-0000-4000-8000-{number:012}")
    target = (await get(running))["groups"][0]["id"]
    answers = [(await running.client.request("DELETE", f"/dead-letters/{target}")).json() for _ in range(2)]
    assert answers == [{"dropped": MAX_AT_ONCE, "remaining": 2}, {"dropped": 2, "remaining": 0}]


# --- dropping ---------------------------------------------------------------------------------------------------


async def test_a_dropped_job_stays_quarantined(running: Running) -> None:
    task_id = await quarantined(running)
    answer = await running.client.delete(f"/dead-letters/{task_id}")
    assert (answer.status_code, answer.json()) == (200, {"dropped": 1, "remaining": 0})
    assert (await running.record(task_id)).state == "quarantined"
    assert await running.letters.get(task_id) is None
    (entry,) = await running.audit.latest(10)
    assert (entry.actor, entry.action, entry.subject) == ("local", "dead_letter.dropped", task_id)


async def test_a_waiting_job_that_is_dropped_is_quarantined(running: Running) -> None:
    """Its job would wait for ever, and so would the client."""
    task_id = await waiting(running)
    await running.client.delete(f"/dead-letters/{task_id}")
    record = await running.record(task_id)
    assert (record.state, record.error) == ("quarantined", TIMEOUT)
    settlement = Settlement(task_id, JobEvent.REDRIVEN, NOON)
    assert await running.jobs.settle(settlement) is None


async def test_a_queue_that_is_away_is_503_and_nothing_is_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(messages: list[Any]) -> list[Exception | None]:
        return [ValueError("it is too large")] * len(messages)

    await no_job(running)
    monkeypatch.setattr(running.queue, "send", refuse)
    answer = await running.client.post(f"/dead-letters/{NOBODY}/requeue")
    assert answer.status_code == 503
    assert (await get(running, f"/{NOBODY}"))["body"] == HTML

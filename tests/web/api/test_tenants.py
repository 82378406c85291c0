"""A token bound to a user: it sees that user's jobs, and no trace of others."""

from uuid import uuid4

import pytest

from tests.web.running import USER, submission
from tests.web.secured import OTHER_USER, Secured

SUBMIT = "/reports/generate-async"


async def test_a_tenant_submits_for_nobody_else(secured: Secured) -> None:
    for headers in secured.ways("tenant"):
        answer = await secured.client.post(SUBMIT, json=submission(userId=OTHER_USER), headers=headers)
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert (error["in"], error["pointer"]) == ("body", "/userId")
        assert error["detail"] == f"must be {USER}, the user whom this token is bound to"
    assert await secured.running.rows() == 0
    answer = await secured.client.post(SUBMIT, json=submission(userId=USER.upper()), headers=secured.bearer("tenant"))
    assert answer.status_code == 202
    assert (await secured.running.record(answer.json()["taskId"])).job.user_id == USER


async def test_what_is_wrong_with_a_submission_is_said_first(secured: Secured) -> None:
    answer = await secured.client.post(SUBMIT, json={"userId": OTHER_USER}, headers=secured.bearer("tenant"))
    assert answer.status_code == 422


async def test_the_key_of_another_user_finds_nothing(secured: Secured) -> None:
    key = {"Idempotency-Key": "q1"}
    mine = await secured.client.post(SUBMIT, json=submission(), headers={**secured.bearer("tenant"), **key})
    other = await secured.client.post(
        SUBMIT, json=submission(userId=OTHER_USER), headers={**secured.bearer("other"), **key}
    )
    assert mine.json()["taskId"] != other.json()["taskId"]


async def test_a_list_holds_the_tenants_own_on_every_page(secured: Secured) -> None:
    own = [await secured.task(user) for _ in range(3) for user in (USER, OTHER_USER)][::2]
    found, cursor = [], ""
    while True:
        url = f"/reports?limit=2{cursor}"
        page = (await secured.client.get(url, headers=secured.bearer("tenant"))).json()
        found += [report["taskId"] for report in page["reports"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert sorted(found) == sorted(own)
    everybodys = (await secured.client.get("/reports", headers=secured.bearer("read"))).json()["reports"]
    assert len(everybodys) == 6


@pytest.mark.parametrize("query", ["", "&state=queued", "&reportType=sales_summary"])
async def test_a_list_of_another_user_is_refused(secured: Secured, query: str) -> None:
    await secured.task(OTHER_USER)
    answer = await secured.client.get(f"/reports?userId={OTHER_USER}{query}", headers=secured.bearer("tenant"))
    assert answer.status_code == 403
    assert [(e["in"], e["pointer"]) for e in answer.json()["errors"]] == [("query", "/userId")]
    own = await secured.client.get(f"/reports?userId={USER}{query}", headers=secured.bearer("tenant"))
    assert own.json()["reports"] == []


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "?wait=0.1"), ("GET", "/pdf"), ("HEAD", "/pdf")])
async def test_anothers_report_looks_like_one_that_never_was(secured: Secured, method: str, rest: str) -> None:
    task_id = await secured.task(OTHER_USER)
    await secured.running.succeed(task_id)
    answers = [
        await secured.client.request(method, f"/reports/{wanted}{rest}", headers=secured.bearer("tenant"))
        for wanted in (task_id, str(uuid4()))
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    one, other = [answer.text.split('"instance"')[0] for answer in answers]
    assert one == other
    own = await secured.client.request(method, f"/reports/{task_id}{rest}", headers=secured.bearer("other"))
    assert own.status_code == 200


async def test_anothers_report_can_neither_be_cancelled_nor_retried(secured: Secured) -> None:
    waiting, bad = await secured.task(OTHER_USER), await secured.task(OTHER_USER)
    await secured.running.quarantine(bad)
    for name, status in (("tenant", 404), ("other", 200)):
        headers = secured.bearer(name)
        cancelled = await secured.client.delete(f"/reports/{waiting}", headers=headers)
        retried = await secured.client.post(f"/reports/{bad}/retry", headers=headers)
        assert cancelled.status_code == status
        assert retried.status_code == (404 if status == 404 else 202)
        states = [(await secured.running.record(task_id)).state for task_id in (waiting, bad)]
        assert states == (["queued", "quarantined"] if status == 404 else ["cancelled", "queued"])

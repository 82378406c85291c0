"""The list of reports: order, filters, and pages without gaps or repetitions."""

import base64
import math
import struct
from typing import Any
from uuid import uuid4

import pytest

from reportd.core.jobs.job import Job
from tests.web.running import PARAMETERS, USER, Running

OTHER_USER = "11111111-2222-4333-8444-555555555555"
NOBODY = "99999999-2222-4333-8444-555555555555"


async def get(running: Running, path: str, **query: Any) -> dict[str, Any]:
    answer = await running.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


async def ids(running: Running, **query: Any) -> list[str]:
    return [report["taskId"] for report in (await get(running, "/reports", **query))["reports"]]


async def test_list_is_newest_first_and_like_the_single_reports(running: Running) -> None:
    submitted = [await running.submit() for _ in range(3)]
    page = await get(running, "/reports")
    assert [report["taskId"] for report in page["reports"]] == submitted[::-1]
    assert page["reports"][0] | {"options": {}, "callback": None} == await get(running, f"/reports/{submitted[-1]}")
    assert page["nextCursor"] is None


async def test_empty_list(running: Running) -> None:
    assert await get(running, "/reports") == {"reports": [], "nextCursor": None}


async def test_list_is_filtered(running: Running) -> None:
    one, two = await running.submit(), await running.submit(userId=OTHER_USER)
    days = {"period": PARAMETERS["period"], "days": [{"date": "2025-01-01", "activeUsers": 5}]}
    three = await running.submit(reportType="user_activity", parameters=days)
    await running.quarantine(two)
    assert await ids(running, state="queued") == [three, one]
    assert await ids(running, state="quarantined") == [two]
    assert await ids(running, state="succeeded") == []
    assert await ids(running, reportType="user_activity") == [three]
    assert await ids(running, reportType="of a producer of its own") == []
    assert await ids(running, userId=OTHER_USER.upper()) == [two]
    assert await ids(running, userId=USER, state="queued", reportType="sales_summary") == [one]


async def test_pages_have_no_gap_and_no_double_while_jobs_arrive(running: Running) -> None:
    first = [await running.submit() for _ in range(7)]
    seen: list[str] = []
    page = await get(running, "/reports", limit=3)
    while True:
        seen += [report["taskId"] for report in page["reports"]]
        await running.submit()
        if page["nextCursor"] is None:
            break
        page = await get(running, "/reports", limit=3, cursor=page["nextCursor"])
    assert seen == first[::-1]


async def test_pages_split_jobs_of_the_same_instant(running: Running) -> None:
    jobs = [Job(str(uuid4()), "sales_summary", PARAMETERS, USER, 1e9) for _ in range(5)]
    await running.jobs.add(jobs)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = await get(running, "/reports", **query)
        seen += [report["taskId"] for report in page["reports"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert sorted(seen) == sorted(job.task_id for job in jobs)


async def test_page_that_ends_the_list_has_no_cursor(running: Running) -> None:
    for _ in range(4):
        await running.submit()
    assert (await get(running, "/reports", limit=4))["nextCursor"] is None
    assert (await get(running, "/reports", limit=3))["nextCursor"] is not None


BAD_QUERIES = [
    ("state=done", "/state", "must be one of queued, running"),
    ("state=", "/state", "must be one of queued"),
    ("state=QUEUED", "/state", "must be one of queued"),
    ("userId=ada", "/userId", "must be a UUID"),
    ("limit=0", "/limit", "from 1 to 200"),
    ("limit=201", "/limit", "from 1 to 200"),
    ("limit=-1", "/limit", "from 1 to 200"),
    ("limit=", "/limit", "from 1 to 200"),
    ("limit=1.5", "/limit", "from 1 to 200"),
    ("limit=%D9%A1", "/limit", "from 1 to 200"),
    ("reportType=a%00b", "/reportType", "must be the name of a report type"),
    ("cursor=", "/cursor", "must be the nextCursor of an earlier answer"),
    ("cursor=x", "/cursor", "must be the nextCursor of an earlier answer"),
    ("cursor=%00", "/cursor", "must be the nextCursor of an earlier answer"),
    ("cursor=%F0%9F%98%80", "/cursor", "must be the nextCursor of an earlier answer"),
    ("cursor=" + "A" * 5000, "/cursor", "must be the nextCursor of an earlier answer"),
    ("sate=queued", "/sate", "accepted: cursor, limit, reportType, state, userId"),
    ("a/b=1", "/a~1b", "accepted: cursor"),
    ("state=queued&state=running", "/state", "must be given once at most"),
]


@pytest.mark.parametrize(("query", "pointer", "accepted"), BAD_QUERIES)
async def test_bad_query_names_the_parameter(running: Running, query: str, pointer: str, accepted: str) -> None:
    answer = await running.client.get(f"/reports?{query}")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["in"], error["pointer"]) == ("query", pointer)
    assert accepted in error["detail"]


async def test_cursor_of_any_time_is_survived(running: Running) -> None:
    await running.submit()
    for moment, count in ((math.inf, 1), (-math.inf, 0), (1e308, 1), (-0.0, 0)):
        cursor = base64.urlsafe_b64encode(struct.pack(">d", moment) + NOBODY.encode()).decode()
        assert len(await ids(running, cursor=cursor)) == count
    nan = base64.urlsafe_b64encode(struct.pack(">d", math.nan) + NOBODY.encode()).decode()
    assert (await running.client.get("/reports", params={"cursor": nan})).status_code == 422

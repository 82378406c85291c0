"""Evidence of failed attempts on the page of a job: text stays text, and only operators see any of it."""

import pytest

from reportd.core.faults import FaultKind
from reportd.core.jobs.evidence import Evidence
from tests.web.pages.test_status_page import words
from tests.web.running import USER, Running
from tests.web.secured import Secured

JPEG = b"\xff\xd8\xff\xe0 as a browser makes it"
SEEN = Evidence(
    JPEG,
    ("log: rows 3", "error: </pre></bdi><script>alert(1)</script> <img src=x onerror=alert(2)>"),
    ("https://cdn.internal/<b>logo.png answered 404 (3 times)",),
    'waiting until the page is ready (selector #chart"><b>); pending: /rows.json',
)
TITLE = "What failed attempts left"


async def fail(running: Running, *, evidence: Evidence | None = SEEN, headers: dict[str, str] | None = None) -> str:
    """Let the worker fail an attempt. Return the task."""
    task_id = await running.submit(headers)
    running.renderer.faults[task_id] = [FaultKind.TIMEOUT]
    if evidence is not None:
        running.renderer.evidence[task_id] = evidence
    await running.work()
    return task_id


async def test_the_page_shows_what_a_failed_attempt_left(running: Running) -> None:
    task_id = await fail(running)
    html = (await running.client.get(f"/jobs/{task_id}")).text
    text = words(html)
    assert f'<img src="/jobs/{task_id}/evidence/1.jpg"' in html
    for said in (TITLE, "Attempt 1", SEEN.activity, *SEEN.requests, *SEEN.console):
        assert said in text, said
    assert text.index(SEEN.console[1]) < text.index(SEEN.console[0]), "newest first"
    for sign in ("<script>", "<img src=x", "<b>logo", "</pre></bdi>", '#chart"'):
        assert sign not in html.partition("<main")[2], sign


async def test_the_newest_attempt_comes_first(running: Running) -> None:
    task_id = await fail(running)
    record = await running.record(task_id)
    await running.jobs.start(record.job, "test", 2e9)
    await running.evidence.put(task_id, 2, 2e9, Evidence(activity="printing"))
    text = words((await running.client.get(f"/jobs/{task_id}")).text)
    assert text.index("Attempt 2") < text.index("Attempt 1")


async def test_the_screenshot_is_a_picture_and_nothing_else(running: Running) -> None:
    task_id = await fail(running)
    answer = await running.client.get(f"/jobs/{task_id}/evidence/1.jpg")
    assert (answer.status_code, answer.content) == (200, JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_there_is_no_other_screenshot(running: Running) -> None:
    task_id = await fail(running, evidence=Evidence(activity="printing"))
    html = (await running.client.get(f"/jobs/{task_id}")).text
    assert TITLE in html
    assert ".jpg" not in html
    for attempt in ("1", "2", str(2**31), "9" * 30):
        answer = await running.client.get(f"/jobs/{task_id}/evidence/{attempt}.jpg")
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no screenshot of this attempt")
    for path in (f"/jobs/{task_id}/evidence/1", f"/jobs/{task_id}/evidence/-1.jpg", "/jobs/x/evidence/1.jpg"):
        assert (await running.client.get(path)).status_code == 404


async def test_a_job_without_evidence_says_nothing_of_it(running: Running) -> None:
    task_id = await fail(running, evidence=None)
    assert TITLE not in (await running.client.get(f"/jobs/{task_id}")).text


@pytest.mark.parametrize(
    ("name", "page", "picture"),
    [("read", 200, 403), ("tenant", 200, 403), ("other", 404, 403), ("operate", 200, 200), ("all", 200, 200)],
)
async def test_only_operators_see_it(secured: Secured, name: str, page: int, picture: int) -> None:
    task_id = await fail(secured.running, headers=secured.bearer("all"))
    assert (await secured.running.record(task_id)).job.user_id == USER
    for headers in secured.ways(name):
        answer = await secured.client.get(f"/jobs/{task_id}", headers=headers)
        assert answer.status_code == page
        for sign in (TITLE, "evidence", "rows 3", "rows.json"):
            assert (sign in answer.text) == (picture == 200), sign
        answer = await secured.client.get(f"/jobs/{task_id}/evidence/1.jpg", headers=headers)
        assert answer.status_code == picture
        assert (JPEG in answer.content) == (picture == 200)
    anonymous = await secured.client.get(f"/jobs/{task_id}/evidence/1.jpg")
    assert anonymous.status_code == 401

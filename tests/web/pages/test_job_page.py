"""A job's page: its data and its buttons."""

import pytest

from reportd.core.jobs.job import Job
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import AuditEntry, UnavailableError
from tests.web.pages.test_status_page import words
from tests.web.running import USER, Running
from tests.web.secured import Secured

NOBODY = "99999999-2222-4333-8444-555555555555"


async def shown(running: Running, task_id: str) -> str:
    answer = await running.client.get(f"/jobs/{task_id}")
    assert answer.status_code == 200
    return answer.text


async def test_a_job_that_waits(running: Running) -> None:
    task_id = await running.submit()
    html = await shown(running, task_id)
    text = words(html)
    assert "<title>queued: sales_summary · reportd</title>" in html
    for said in (f"task {task_id}", f"user {USER}", "attempts 0", "deferred never", "submitted", '"product": "Tea"'):
        assert said in text, said
    assert 'data-again="2"' in html
    assert f'action="/jobs/{task_id}/cancel"' in html
    assert "/retry" not in html
    assert "/pdf" not in html


async def test_a_job_whose_page_says_how_far_it_is(running: Running) -> None:
    task_id, silent = await running.submit(), await running.submit()
    await running.progress(task_id, 0.376)
    html = await shown(running, task_id)
    assert 'max="1" value="0.376">' in html
    assert "progress 38 %" in words(html)
    assert "<progress" not in await shown(running, silent)
    assert "running 38 %" in words((await running.client.get("/")).text)


async def test_a_job_that_succeeded(running: Running) -> None:
    task_id = await running.submit()
    sha256 = await running.succeed(task_id, b"%PDF" * 1000)
    html = await shown(running, task_id)
    text = words(html)
    assert f'href="/reports/{task_id}/pdf"' in html
    assert f"4 000 bytes, SHA-256 {sha256[:16]}" in text
    assert "attempt 1 on test: succeeded after 1.0 s" in text
    for word in ("data-again", "/cancel", "/retry", "Missing"):
        assert word not in html


async def test_what_a_job_says_for_itself(running: Running) -> None:
    options = JobOptions("ar", "Asia/Riyadh", "\u062a <b>.pdf", {"pageRanges": "1-2", "landscape": True})
    job = Job(NOBODY, "sales_summary", {}, USER, 0.0, options=options)
    await running.jobs.add([job])
    html = await shown(running, NOBODY)
    for said in ("locale ar", "timezone Asia/Riyadh", 'pdf.pageRanges "1-2"', "pdf.landscape true"):
        assert said in words(html), said
    assert "<bdi>\u062a &lt;b&gt;.pdf</bdi>" in html


async def test_what_the_pdf_lacks(running: Running) -> None:
    task_id = await running.submit()
    what, why = "https://cdn.internal/<img src=x onerror=alert(1)>", "404 </bdi><script>"
    running.renderer.warnings[task_id] = (
        JobWarning(WarningKind.RESOURCES, what, why, 1200),
        JobWarning(WarningKind.GLYPHS, "\u202e☑", "no font has it"),
    )
    await running.work()
    html = await shown(running, task_id)
    text = words(html)
    for sign in ("<script>", "<img"):
        assert sign not in html.partition("<main")[2], sign
    assert "Missing from the PDF" in text
    assert f"resources 1 200\N{MULTIPLICATION SIGN} {what} {why}" in text
    assert "<bdi>\u202e☑</bdi>" in html, "a change of direction ends with its element"
    assert "/static/watch.svg" in html


async def test_a_job_that_failed(running: Running) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "<script>alert(1)</script>")
    html = await shown(running, task_id)
    text = words(html)
    assert "<script>" not in html
    assert "script error fault of its page <script>alert(1)</script>" in text
    assert "attempt 1 on test: script error after 1.0 s <script>alert(1)</script>" in text
    assert f'action="/jobs/{task_id}/retry"' in html
    assert "/static/bad.svg" in html


async def test_what_people_did_with_it(running: Running) -> None:
    task_id = await running.submit()
    await running.audit.record(
        [AuditEntry(2e9, "ada", "job.cancelled", task_id), AuditEntry(2e9, "bob", "other", "other")]
    )
    text = words(await shown(running, task_id))
    assert "cancelled by ada" in text
    assert "bob" not in text


async def test_parameters_that_nobody_would_read_to_the_end(running: Running) -> None:
    rows = [{"product": f"<b>{number}", "quantity": 1, "revenue": 1} for number in range(500)]
    task_id = await running.submit(parameters={"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": rows})
    html = await shown(running, task_id)
    assert "more characters are not shown" in html
    assert len(html) < 60_000
    assert "<b>1" not in html


async def test_no_such_job(running: Running) -> None:
    answer = await running.client.get(f"/jobs/{NOBODY}")
    assert answer.status_code == 404
    assert "there is no such report" in answer.text
    assert (await running.client.get("/jobs/x")).status_code == 404


async def test_the_database_is_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise UnavailableError("database", "no answer")

    monkeypatch.setattr(running.database, "read", down)
    answer = await running.client.get(f"/jobs/{NOBODY}")
    assert answer.status_code == 503
    assert "database: no answer" in answer.text


async def test_a_tenant_sees_his_own(secured: Secured) -> None:
    task_id = await secured.task()
    assert (await secured.client.get(f"/jobs/{task_id}", headers=secured.bearer("tenant"))).status_code == 200
    assert (await secured.client.get(f"/jobs/{task_id}", headers=secured.bearer("other"))).status_code == 404

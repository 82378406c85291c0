"""The status page and the other status calls. Texts of jobs must not run as HTML (I11)."""

import re
import time
from dataclasses import fields
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from reportd.core.status.snapshot import Snapshot
from reportd.ports import UnavailableError
from tests.web.busy import busy
from tests.web.payloads import PAYLOADS, poisoned
from tests.web.running import Running


class Page(HTMLParser):
    """Parses the tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data[:80]}")

    def handle_pi(self, data: str) -> None:
        pytest.fail(f"a processing instruction: {data[:80]}")

    def unknown_decl(self, data: str) -> None:
        pytest.fail(f"a declaration: {data[:80]}")


async def page_of(running: Running, text: str) -> str:
    """Put ``text`` into every field, also where the checks would refuse it."""

    async def poisonous() -> Snapshot:
        return poisoned(busy(1.8e9), text)

    running.snapshot = poisonous  # type: ignore[method-assign]
    answer = await running.client.get("/")
    assert answer.status_code == 200
    return answer.text


def shape(page: Page) -> list[tuple[str, list[str]]]:
    """Return its tags with their attribute names."""
    return [(tag, [name for name, _ in attributes]) for tag, attributes in page.tags]


@pytest.mark.stands_still("the parser of HTML that this test uses is slow at 500 times <")
async def test_no_payload_runs_as_html(running: Running) -> None:
    plain = Page(await page_of(running, "harmless"))
    assert plain.shown.count("harmless") > 100
    for payload in PAYLOADS:
        page = Page(await page_of(running, payload))
        assert shape(page) == shape(plain), payload[:80]
        readable = payload.replace("\0", "\ufffd").replace("\r", "\n")
        assert readable[:100] in page.shown.replace("\0", "\ufffd").replace("\r", "\n"), payload[:80]


async def test_payload_that_a_job_really_brings_is_shown_as_text(running: Running) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "<script>alert(1)</script>")
    html = (await running.client.get("/")).text
    assert html.count("<script") == html.count('<script type="module" src="/static/status.js">') == 1
    assert "script error: <script>alert(1)</script>" in Page(html).shown


async def test_no_answer_that_a_payload_is_in_can_be_taken_for_html(running: Running) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "<script>alert(1)</script>")
    urls = [f"/reports/{task_id}", "/reports", "/<script>", "/reports?<script>=1"]
    for url in urls:
        answer = await running.client.get(url)
        assert "script" in answer.text
        assert re.fullmatch(r"application/(problem\+)?json", answer.headers["content-type"])
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/jobs/{task_id}", "/jobs/99999999-2222-4333-8444-555555555555"])
async def test_policy_lets_nothing_run_but_our_own_and_nobody_frame(running: Running, path: str) -> None:
    answer = await running.client.get(path.format(task_id=await running.submit()))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script>|<style|style=|\bon\w+=|https?://", answer.text)


# What it shows


def words(html: str) -> str:
    """Return the visible text, with single blanks between pieces."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def test_page_shows_figures_and_recent_jobs(running: Running) -> None:
    waiting, done, bad = [await running.submit() for _ in range(3)]
    await running.succeed(done, b"%PDF" * 1000)
    await running.quarantine(bad)
    html = (await running.client.get("/")).text
    text = words(html)
    assert "All clear" in text
    assert "sales_summary closed 0 /2 1 " in text
    assert "waiting 3 in flight 0 delayed 0 held by breakers 0 dead-lettered 0 done in 1.5 s submit to PDF, p95" in text
    assert "1 succeeded, 1 quarantined, 0 cancelled." in text
    assert "script error: the page has no chart" in text
    links = {dict(attributes)["href"] for tag, attributes in Page(html).tags if tag == "a"}
    assert {f"/jobs/{bad}", f"/jobs/{done}", f"/reports/{done}/pdf", f"/jobs/{waiting}"} <= links
    for link in links:
        assert (await running.client.get(link or "")).status_code == 200, link


async def test_a_type_whose_template_is_not_in_force_says_why(running: Running) -> None:
    running.troubles["sales_summary"] = "the files of sales_summary are not in force: <b>"
    html = (await running.client.get("/")).text
    assert "sales_summary the files of sales_summary are not in force: <b>" in words(html)
    status = (await running.client.get("/status")).json()
    told = {kind["reportType"]: kind["trouble"] for kind in status["types"] if kind["trouble"]}
    assert told == running.troubles


SAID = [
    "user_activity is OPEN for 14 s , next probe in 6 s , 37 waiting, no attempts used",
    "Fault of its page timeout: not done within 60 s, while waiting for the page to load; 3 failures in a row",
    "payroll held OPEN 2 h 1 min 0 /8 88 1 h 56 min 0 Close",
    "quarterly half-open 2 s 1 /1 12 2 min 3 3.4 s , 9.8 s 10 % Force open",
    "waiting 137 in flight 8 delayed 41 held by breakers 0 dead-lettered 26 done in 33 s submit to PDF, p95 74 s",
    "17 script error fault of its page TypeError",
    "17 quarantined Requeue all Drop all",
    "6 to be retried in 42 s",
    "Nodes and browsers 2 running, 3 wanted web-1-4211",
    "web-2-731 up 1 min 3 3/4 busy, 2 waiting, 1 stalled, 1 restart",
    "Browser Busy Memory Jobs so far 4219 2 640 MiB 212 4377 retiring 1 910 MiB 499",
    "web-3-90 last seen 4 min ago",
]


async def test_each_section_of_a_busy_night(running: Running) -> None:
    running.shown = shown(busy(time.time()))
    text = words((await running.client.get("/")).text)
    for said in SAID:
        assert said in text, said


def shown(snapshot: Snapshot) -> dict[str, Any]:
    return {one.name: getattr(snapshot, one.name) for one in fields(snapshot)}


async def test_page_of_a_new_daemon(running: Running) -> None:
    text = Page((await running.client.get("/")).text).shown
    assert "All clear" in text
    assert "Nothing submitted yet." in text


async def test_trouble_is_on_top_of_the_page(running: Running) -> None:
    running.parts = {"queue": (False, "no answer"), "database": (True, "answers"), "browsers": (False, "none starts")}
    html = (await running.client.get("/")).text
    assert "<title>● queue, browsers · reportd</title>" in html
    text = Page(html).shown
    assert "All clear" not in text
    assert "queue: no answer" in text
    assert "browsers: none starts" in text
    assert "answers" not in text


async def test_page_is_there_when_the_database_is_not(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise UnavailableError("database", "no answer")

    monkeypatch.setattr(running.database, "read", down)
    running.parts = {"database": (False, "no answer")}
    answer = await running.client.get("/")
    assert answer.status_code == 200
    assert "database: no answer" in answer.text
    assert "Nothing submitted yet." not in answer.text
    status = (await running.client.get("/status")).json()
    assert (status["queue"], status["jobs"], status["recent"]) == (None, None, None)
    assert status["verdict"]["findings"][0]["text"] == "database: no answer"


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def test_text_can_be_read_in_both_schemes(running: Running) -> None:
    css = (await running.client.get("/static/status.css")).text
    schemes = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = {
            name: luminance(f"#{value}" if len(value) == 6 else "#" + "".join(digit * 2 for digit in value))
            for name, value in re.findall(r"--(\w+): #([0-9a-f]+);", scheme)
        }
        for text in ("ink", "soft", "good", "watch", "bad", "link"):
            for ground in ("paper", "card", "calm", "warm", "hot"):
                light, dark = sorted((colours[text], colours[ground]), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# What it weighs


async def test_the_page_with_all_it_needs_is_small(running: Running) -> None:
    running.shown = shown(busy(time.time()))
    html = (await running.client.get("/")).text
    paths = {"/", *re.findall(r'(?:href|src)="(/static/[^"]*)"', html)}
    assert paths == {"/", "/static/status.css", "/static/status.js", "/static/bad.svg"}
    sizes = {path: len((await running.client.get(path)).content) for path in paths}
    assert sum(sizes.values()) < 60_000, sizes


# For programs


async def test_status_is_the_same_as_json(running: Running) -> None:
    await running.submit()
    answer = await running.client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["jobs"]["queued"] == 1
    assert answer.json()["scaling"] == {
        "backlog": 1,
        "backlogPerSlot": 0.5,
        "backlogSeconds": 0.5,
        "renderSeconds": 1.0,
        "running": 0,
        "nodesWanted": 1,
        "targetSeconds": 600.0,
        "held": 0,
    }


async def test_alive(running: Running) -> None:
    running.parts = {"database": (False, "no answer")}
    answer = await running.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_not_alive_says_why(running: Running) -> None:
    running.trouble = "the event loop stood still for 10.0 s"
    answer = await running.client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == running.trouble
    assert "retry-after" in answer.headers


async def test_metrics_are_in_the_text_format_that_prometheus_reads(running: Running) -> None:
    answer = await running.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "# TYPE reportd_jobs_total counter" in answer.text


@pytest.mark.parametrize("ready", [True, False])
async def test_readiness_names_each_part(running: Running, *, ready: bool) -> None:
    running.parts = {"database": (True, "answers"), "queue": (ready, "as it is")}
    answer = await running.client.get("/readyz")
    assert answer.status_code == (200 if ready else 503)
    assert ("retry-after" in answer.headers) is not ready
    parts = {"database": {"ok": True, "detail": "answers"}, "queue": {"ok": ready, "detail": "as it is"}}
    assert answer.json() == {"ready": ready, "parts": parts}

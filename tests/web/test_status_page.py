"""The status page, and what says how the daemon is. Nothing that a job brings along may run as HTML (I11)."""

import re
from html.parser import HTMLParser

import pytest

from reportd.core.faults import Fault, FaultKind
from reportd.core.job import Job
from reportd.core.retry import Tally
from reportd.core.transitions import State
from reportd.ports import Record, UnavailableError
from tests.web.running import PARAMETERS, Running

TASK = "99999999-2222-4333-8444-555555555555"

PAYLOADS = [
    "<script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1)</script>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<form action=https://evil.example><input name=a autofocus>",
    "<!--", "-->", "<![CDATA[", "<?php", "<%= 1 %>",
    "{{ 7 * 7 }}", "{% include 'status.html' %}", "{{ self.__init__.__globals__ }}",
    '" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus='", "`onclick=alert(1)",
    "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "&#x3c;script&#x3e;", "\\u003cscript\\u003e", "%3Cscript%3E",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\ufeff<script>", "\uff1cscript\uff1e", "<\u200bscript>", "\u202egpj.<script>\u202c", "a\u0000<b>",
    "<sc<script>ript>", "<SCRIPT SRC=//evil.example>", "<script\n>", "<script/x>", "<<script>", "<script",
    "</title><script>alert(1)</script>", "</textarea><script>", "</style><script>",
    "x" * 5000 + "<script>", "<" * 500, "A\r\nSet-Cookie: a=b\r\n\r\n<script>",
]  # fmt: skip


class Page(HTMLParser):
    """Every tag and attribute of a page, and its text."""

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


async def page_of(running: Running, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """With ``text`` wherever a text that comes from outside can stand, and where one can't get past the checks."""

    async def found(*_: object) -> list[Record]:
        job = Job(TASK, text, PARAMETERS, text, 1e9, text)
        return [Record(job, State.QUARANTINED, Tally(), error=Fault(FaultKind.SCRIPT_ERROR, text))]

    monkeypatch.setattr(running.service, "search", found)
    running.parts = {"browsers": (False, text)}
    answer = await running.client.get("/")
    assert answer.status_code == 200
    return answer.text


async def test_no_payload_runs_as_html(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Page(await page_of(running, monkeypatch, "harmless"))
    assert plain.shown.count("harmless") == 3
    for payload in PAYLOADS:
        page = Page(await page_of(running, monkeypatch, payload))
        assert page.tags == plain.tags, payload[:80]
        readable = payload.replace("\0", "\ufffd").replace("\r", "\n")
        assert readable[:100] in page.shown.replace("\0", "\ufffd").replace("\r", "\n"), payload[:80]


async def test_payload_that_a_job_really_brings_is_shown_as_text(running: Running) -> None:
    task_id = await running.submit()
    await running.quarantine(task_id, "<script>alert(1)</script>")
    html = (await running.client.get("/")).text
    assert "<script" not in html
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


async def test_policy_lets_nothing_run_and_nobody_frame(running: Running) -> None:
    answer = await running.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert not {"script-src", "script-src-elem", "object-src"} & set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|<style|style=|\bon\w+=|https?://", answer.text)


# What it shows


async def test_page_shows_figures_and_recent_jobs(running: Running) -> None:
    waiting, done, bad = [await running.submit() for _ in range(3)]
    await running.succeed(done, b"%PDF" * 1000)
    await running.quarantine(bad)
    html = (await running.client.get("/")).text
    page = Page(html)
    text = " ".join(page.shown.split())
    assert "All clear" in text
    assert "waiting3 rendering0 of 2 succeeded1 quarantined1 browsers1 " in text
    assert "script error: the page has no chart" in text
    links = [dict(attributes)["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"/reports/{bad}", f"/reports/{done}", f"/reports/{done}/pdf", f"/reports/{waiting}"]
    for link in links:
        assert (await running.client.get(link or "")).status_code == 200


async def test_page_of_a_new_daemon(running: Running) -> None:
    text = Page((await running.client.get("/")).text).shown
    assert "All clear" in text
    assert "Nothing submitted yet." in text


async def test_trouble_is_on_top_of_the_page(running: Running) -> None:
    running.parts = {"queue": (False, "no answer"), "database": (True, "answers"), "browsers": (False, "none starts")}
    html = (await running.client.get("/")).text
    assert "<title>Trouble · reportd</title>" in html
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
    assert (await running.client.get("/status")).status_code == 503


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
        for text in ("ink", "soft", "good", "bad", "link"):
            for ground in ("paper", "card"):
                light, dark = sorted((colours[text], colours[ground]), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# For programs


async def test_status_is_the_same_as_json(running: Running) -> None:
    await running.submit()
    answer = await running.client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["jobs"]["queued"] == 1


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

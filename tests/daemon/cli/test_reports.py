"""``reportd get`` and ``submit --wait``: what a report lacks is told on stderr, and stdout stays for programs."""

import json
from typing import Any

import httpx
import pytest

from reportd.cli import client
from reportd.cli.main import main

TASK = "8f0b7a52-6a4f-5c53-9f5d-0e3a1c2b4d6e"
WARNINGS = [
    {"kind": "resources", "what": "https://cdn.internal/logo.png", "why": "404", "count": 3},
    {"kind": "scripts", "what": "\x1b[2J\u202eError:\nx", "why": "line 7\a", "count": 1},
]
TOLD = [
    "reportd: warning, resources: https://cdn.internal/logo.png: 404 (3 times)",
    "reportd: warning, scripts: \ufffd[2J\ufffdError:\ufffdx: line 7\ufffd",
]


class Daemon:
    """Answers each call with the same report. ``before``: what it differs in at first, look by look."""

    def __init__(self, *before: dict[str, Any], **report: Any) -> None:
        self.before = list(before)
        self.report = {"taskId": TASK, "state": "succeeded", "attempts": 1, "error": None, "pdf": None} | report

    def open_client(self, _: object) -> httpx.Client:
        return httpx.Client(base_url="http://127.0.0.1:8080", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.submitted = json.loads(request.content)
            return httpx.Response(202, json=self.report)
        return httpx.Response(200, json=self.report | (self.before.pop(0) if self.before else {}))


def run(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *arguments: str) -> int:
    monkeypatch.setattr(client, "_open_client", daemon.open_client)
    return main(list(arguments))


def test_get_prints_a_line_for_each_warning_and_nothing_that_a_terminal_obeys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Daemon(warnings=WARNINGS), "get", TASK) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == TOLD
    assert json.loads(out)["warnings"] == WARNINGS


def test_submit_prints_them_after_it_has_waited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Daemon(warnings=WARNINGS), "submit", "sales", "--params", "{}", "--wait") == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[1:] == TOLD
    assert out == f"{TASK}\n"


def test_submit_shows_how_far_the_page_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [None, 0.25, 0.25, 0.996]
    daemon = Daemon(*({"state": "running", "progress": step} for step in steps), progress=None)
    assert run(monkeypatch, daemon, "submit", "sales", "--params", "{}", "--wait") == 0
    lines = [line.partition("s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "running, attempt 1",
        "running, attempt 1, 25%",
        "running, attempt 1, 100%",
        "succeeded, attempt 1",
    ]


@pytest.mark.parametrize("report", [{"warnings": []}, {}])
def test_a_whole_report_and_one_of_an_older_daemon_print_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: dict[str, Any]
) -> None:
    assert run(monkeypatch, Daemon(**report), "get", TASK) == 0
    assert capsys.readouterr().err == ""


def test_the_error_of_a_page_is_nothing_that_a_terminal_obeys_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"kind": "script_error", "detail": "\x1b]0;title\a"}
    daemon = Daemon(state="quarantined", error=error, warnings=[])
    assert run(monkeypatch, daemon, "submit", "sales", "--params", "{}", "--wait") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "reportd: quarantined, script_error: \ufffd]0;title\ufffd"


def test_a_submission_says_what_its_job_is_to_be_like(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon()
    own = ["--locale", "de-DE", "--timezone", "Europe/Berlin", "--file-name", "Umsatz"]
    pdf = ["--pdf", "format=A5", "--pdf", "landscape=true", "--pdf", "margin="]
    assert run(monkeypatch, daemon, "submit", "sales", "--params", "{}", *own, *pdf) == 0
    assert daemon.submitted["pdf"] == {"format": "A5", "landscape": True, "margin": ""}
    assert (daemon.submitted["locale"], daemon.submitted["timezone"]) == ("de-DE", "Europe/Berlin")
    assert daemon.submitted["fileName"] == "Umsatz"
    assert run(monkeypatch, daemon, "submit", "sales", "--params", "{}") == 0
    assert set(daemon.submitted) == {"reportType", "parameters", "userId"}


@pytest.mark.parametrize("command", ["submit", "get", "breakers", "dead-letters"])
def test_the_help_shows_no_address_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("REPORTD_URL", "http://ada:hunter2@127.0.0.1:1/hunter2")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr()
    assert "$REPORTD_URL" in printed.out
    assert "hunter2" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("http://ada:hunter2@127.0.0.1:1/?token=hunter2", 1, "http://127.0.0.1:1/ does not answer"),
        ("http://127.0.0.1:hunter2/", 2, "$REPORTD_URL is no address"),
    ],
)
def test_an_address_without_an_answer_is_told_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, status: int, words: str
) -> None:
    monkeypatch.setenv("REPORTD_URL", url)
    assert main(["get", TASK]) == status
    printed = capsys.readouterr()
    assert words in printed.err
    assert "hunter2" not in printed.out + printed.err

"""The command line, as a person uses it: what it prints and how it exits."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

import reportd_web
from reportd.cli.fonts import SCRIPTS
from reportd.config.report_types import BUILT_IN
from tests.e2e.process import finished, open_daemon
from tests.wording import mentions

SAMPLE = Path(reportd_web.__file__).parent / "reports" / "sales_summary.sample.json"


async def reportd(*arguments: str, stdin: str = "", url: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
    """``more``: of the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPORTD_")}
    environ = kept | ({"REPORTD_URL": url} if url else {}) | more
    return await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "reportd.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environ,
        )
    )


@pytest.mark.browser
async def test_submit_get_and_failure_against_a_running_daemon(tmp_path: Path) -> None:
    config = '[triage]\nmax_redrives = 0\n[queue]\nmax_attempts = 1\n[reports.broken]\nurl = "http://127.0.0.1:1/"\n'
    config += '[reports.tiny]\ntemplate = "t.html"\n'
    (tmp_path / "t.html").write_text("<p>{{ word }}</p>")
    async with open_daemon(tmp_path, config) as daemon:
        output = tmp_path / "report.pdf"
        done = await reportd("submit", "sales_summary", "--params", f"@{SAMPLE}", "-o", str(output), url=daemon.url)
        assert done.returncode == 0, done.stderr
        assert output.read_bytes().startswith(b"%PDF-")
        task_id = done.stdout.strip()
        assert "succeeded" in done.stderr

        shown = await reportd("get", task_id, url=daemon.url)
        assert json.loads(shown.stdout)["state"] == "succeeded"
        again = tmp_path / "again.pdf"
        assert (await reportd("get", task_id, "-o", str(again), url=daemon.url)).returncode == 0
        assert again.read_bytes() == output.read_bytes()

        piped = await reportd("submit", "tiny", "--params", "-", "--wait", stdin='{"word": "hello"}', url=daemon.url)
        assert piped.returncode == 0, piped.stderr

        failed = await reportd("submit", "broken", "--params", "{}", "--wait", url=daemon.url)
        assert failed.returncode == 1
        assert "quarantined, unreachable" in failed.stderr

        await _see_to_dead_letters(daemon.url, failed.stdout.strip())

        refused = await reportd("submit", "sales_summary", "--params", '{"rows": 3}', url=daemon.url)
        assert refused.returncode == 1
        assert "/parameters/rows" in refused.stderr

        unknown = await reportd("get", "7c9e6679-7425-40de-944b-e07fc1f90ae7", url=daemon.url)
        assert unknown.returncode == 1
        assert "there is no such report" in unknown.stderr


@pytest.mark.browser
async def test_an_operator_holds_jobs_back_and_lets_them_flow(tmp_path: Path) -> None:
    config = '[breaker]\nrecovery_seconds = 1\n[reports.tiny]\ntemplate = "t.html"\naliases = ["small"]\n'
    (tmp_path / "t.html").write_text("<p>{{ word }}</p>")
    async with open_daemon(tmp_path, config) as daemon:
        opened = await reportd("breakers", "open", "small", "--reason", "the \x1b[31mdatabase", url=daemon.url)
        assert opened.returncode == 0, opened.stderr
        heading, line = opened.stdout.splitlines()
        assert heading.split() == ["TYPE", "STATE", "SINCE", "UNTIL", "FAILURES", "PROBES", "FAILED", "BY", "REASON"]
        assert re.fullmatch(r"tiny +forced_open +20\S+Z +- +0 +0 +local +the \ufffd\[31mdatabase", line)

        submitted = await reportd("submit", "small", "--params", '{"word": "hello"}', url=daemon.url)
        task_id = submitted.stdout.strip()
        await trio.sleep(1)
        waiting = json.loads((await reportd("get", task_id, url=daemon.url)).stdout)
        assert (waiting["state"], waiting["attempts"], waiting["reportType"]) == ("queued", 0, "tiny")

        again = await reportd("breakers", "open", "tiny", url=daemon.url)
        assert again.returncode == 1
        assert mentions(again.stderr, "Conflict", "tiny is held open since 20")
        unknown = await reportd("breakers", "close", "tin/y?", url=daemon.url)
        assert unknown.returncode == 1
        assert "Not Found" in unknown.stderr

        closed = await reportd("breakers", "close", "tiny", url=daemon.url)
        assert closed.returncode == 0, closed.stderr
        async with daemon.client() as client:
            assert (await finished(client, task_id))["state"] == "succeeded"
        shown = await reportd("breakers", url=daemon.url)
        assert [row.split()[:2] for row in shown.stdout.splitlines()[1:]] == [
            [name, "closed"] for name in sorted({"tiny", *BUILT_IN})
        ]
        assert await daemon.stop() == 0
        with closing(sqlite3.connect(daemon.data_dir / "reportd.db")) as database:
            rows = database.execute("SELECT actor, action, subject FROM audit ORDER BY at").fetchall()
        assert rows == [("local", "breaker.forced_open", "tiny"), ("local", "breaker.reset", "tiny")]


async def _see_to_dead_letters(url: str, task_id: str) -> None:
    listed = await reportd("dead-letters", "list", url=url)
    group = listed.stdout.split()[0]
    assert group.startswith("g-")
    assert "quarantined" in listed.stdout
    assert "unreachable: http://" in listed.stdout
    assert json.loads((await reportd("dead-letters", "show", group, url=url)).stdout)["count"] == 1
    letter = json.loads((await reportd("dead-letters", "show", task_id, url=url)).stdout)
    assert (letter["group"], json.loads(letter["body"])["taskId"]) == (group, task_id)

    requeued = await reportd("dead-letters", "requeue", group, url=url)
    assert (requeued.returncode, requeued.stdout) == (0, "1 requeued\n")
    with trio.fail_after(60):
        while not (await reportd("dead-letters", "list", url=url)).stdout:
            await trio.sleep(0.2)
    dropped = await reportd("dead-letters", "drop", task_id, "--url", url)
    assert (dropped.returncode, dropped.stdout) == (0, "1 dropped\n")
    assert (await reportd("dead-letters", "list", url=url)).stdout == ""
    gone = await reportd("dead-letters", "show", task_id, url=url)
    assert gone.returncode == 1
    assert "there is no such dead letter" in gone.stderr


@pytest.mark.parametrize("command", [["submit", "sales_summary", "--params", "{}"], ["breakers"]], ids=str)
async def test_without_a_daemon_it_says_what_to_do(command: list[str]) -> None:
    done = await reportd(*command, url="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "is `reportd serve` running?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["open"], ["halt", "sales_summary"]], ids=str)
async def test_an_order_that_is_none_is_wrong_usage(arguments: list[str]) -> None:
    assert (await reportd("breakers", *arguments)).returncode == 2


@pytest.mark.parametrize("params", ["{", "@/nonexistent/file"])
async def test_parameters_that_cannot_be_read_are_wrong_usage(params: str) -> None:
    done = await reportd("submit", "sales_summary", "--params", params)
    assert done.returncode == 2
    assert mentions(done.stderr, "--params", "JSON, @FILE or -")


async def test_doctor_finds_everything_here() -> None:
    done = await reportd("doctor")
    assert done.returncode == 0, done.stdout
    for part in ("browser", "setpriv", *(f"{script} fonts" for script, _, _ in SCRIPTS), "data folder"):
        assert f"ok    {part}: " in done.stdout


async def test_doctor_tries_a_container_where_one_is_wanted() -> None:
    done = await reportd("doctor", REPORTD_POOL__ISOLATION="container")
    assert done.returncode == 0, done.stdout
    assert "ok    container: " in done.stdout
    assert "container" not in (await reportd("doctor")).stdout


@pytest.mark.parametrize("command", ["doctor", "serve"])
async def test_without_bubblewrap_no_container_is_promised(tmp_path: Path, command: str) -> None:
    for program in ("setpriv", "sh", "fc-list"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    config = tmp_path / "reportd.toml"
    config.write_text(
        f'data_dir = "{tmp_path}/data"\nhttp.bind = "127.0.0.1:0"\n[reports.a]\nurl = "http://x.test/"\n'
        'isolation = "container"\n'
    )
    with trio.fail_after(30):
        done = await reportd(command, "--config", str(config), PATH=str(tmp_path))
    assert done.returncode == 1
    expected = 'isolation = "container" is not possible: bwrap not found: apt install bubblewrap'
    assert expected in (done.stdout if command == "doctor" else done.stderr)


async def test_doctor_says_what_to_install() -> None:
    kept = os.environ | {"REPORTD_POOL__EXECUTABLE": "/nonexistent/chromium"}
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "reportd.cli.main", "doctor"], capture_output=True, text=True, check=False, env=kept
        )
    )
    assert done.returncode == 2
    assert mentions(done.stderr, "pool.executable: /nonexistent/chromium ", "accepted: ")
    assert mentions(done.stdout, "FAIL  browser: ", "/nonexistent/chromium", "install")

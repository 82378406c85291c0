"""Tokens of a daemon in a process of its own: from the command line, over a restart, and in none of its logs."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio

import reportd_web
from tests.e2e.process import USER, Daemon, open_daemon
from tests.wording import mentions

OTHER_USER = "11111111-2222-4333-8444-555555555555"
SAMPLE = Path(reportd_web.__file__).parent / "reports" / "sales_summary.sample.json"
PARAMS = ("submit", "sales_summary", "--params", f"@{SAMPLE}")


async def reportd(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPORTD_")}
    return await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "reportd.cli.main", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=kept | environ,
        )
    )


async def new_token(file: Path, *arguments: str) -> str:
    """Made and admitted as the README says; the token itself."""
    done = await reportd("token", *arguments)
    assert done.returncode == 0, done.stderr
    with file.open("a") as lines:
        lines.write(done.stdout)
    (secret,) = [word for word in done.stderr.split() if word.startswith("reportd_")]
    assert secret not in done.stdout
    return secret


@pytest.mark.browser
async def test_tokens_from_the_command_line_and_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(0o600)
    back_end = await new_token(file, "web", "submit,read")
    operator = await new_token(file, "ada", "operate")
    tenant = await new_token(file, "acme", "submit,read", "--user", USER)
    async with open_daemon(tmp_path, f'[auth]\ntokens_file = "{file}"\n') as daemon:
        url = {"REPORTD_URL": daemon.url}
        refused = await reportd(*PARAMS, **url)
        assert refused.returncode == 1
        assert "Unauthorized: a token is needed" in refused.stderr
        assert "lacks the role submit" in (await reportd(*PARAMS, **url, REPORTD_TOKEN=operator)).stderr

        (tmp_path / "secret").write_text(f"{tenant}\n")
        kept = ("--token-file", str(tmp_path / "secret"))
        done = await reportd(*PARAMS, "--user", USER, "--wait", *kept, **url, REPORTD_TOKEN="wrong")
        assert done.returncode == 0, done.stderr
        task_id = done.stdout.strip()
        output = tmp_path / "report.pdf"
        assert (await reportd("get", task_id, "-o", str(output), *kept, **url)).returncode == 0
        assert output.read_bytes().startswith(b"%PDF-")
        others = await reportd(*PARAMS, "--user", OTHER_USER, *kept, **url)
        assert mentions(others.stderr, "/userId: ", USER)
        theirs = (await reportd(*PARAMS, "--user", OTHER_USER, **url, REPORTD_TOKEN=back_end)).stdout.strip()
        assert "there is no such report" in (await reportd("get", theirs, *kept, **url)).stderr

        await _login_outlives_a_restart(daemon, operator)
        log = daemon.log.read_text()
        assert not [secret for secret in (back_end, operator, tenant) if secret in log]


async def _login_outlives_a_restart(daemon: Daemon, token: str) -> None:
    async with daemon.client() as client:
        assert (await client.get("/status")).status_code == 401
        assert (await client.post("/login", data={"token": token})).status_code == httpx.codes.SEE_OTHER
        assert (await client.get("/status")).status_code == 200
        assert await daemon.stop() == 0
        await daemon.start()
        assert (await client.get("/status")).status_code == 200


async def test_a_file_with_faults_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("web submit\n")
    async with open_daemon(tmp_path, f'[auth]\ntokens_file = "{tmp_path}/tokens"\n', start=False) as daemon:
        daemon.launch()
        with trio.fail_after(30):
            assert await daemon.ended() == 2
        assert (
            f"auth.tokens_file: {tmp_path}/tokens: line 1: has 2 parts; accepted: NAME ROLE" in daemon.log.read_text()
        )


@pytest.mark.parametrize("arguments", [("a b", "read"), ("ada", "admin"), ("ada", "read", "--user", "ada")])
async def test_a_token_that_could_not_be_used_is_not_made(arguments: tuple[str, ...]) -> None:
    done = await reportd("token", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "accepted: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(("--token-file", "/nonexistent"), {}), ((), {"REPORTD_TOKEN": "hünter2"}), ((), {"REPORTD_TOKEN": "hunter 2"})],
)
async def test_a_token_that_cannot_be_sent_is_wrong_usage(arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    done = await reportd(*PARAMS, *arguments, **environ)
    assert done.returncode == 2
    assert done.stderr.startswith("reportd: ")
    assert "nter" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_doctor_looks_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("web submit\n")
    for text in ("web submit\n", f"web submit sha256:{'a' * 64}\n"):
        (tmp_path / "tokens").write_text(text)
        done = await reportd("doctor", REPORTD_AUTH__TOKENS_FILE=str(tmp_path / "tokens"))
        wrong = "sha256" not in text
        assert (done.returncode == 2, "auth.tokens_file: " in done.stderr) == (wrong, wrong)
        assert ("ok    tokens: " in done.stdout) is not wrong

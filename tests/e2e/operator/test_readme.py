"""The examples of the README, run as they stand, and the drawings of ARCHITECTURE.md, held against the code."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest
import trio

from reportd.core.breaker import breaker
from reportd.core.jobs import transitions
from tests.e2e.process import open_daemon

ROOT = Path(__file__).parents[3]


@pytest.mark.browser
async def test_the_examples_of_the_readme_work(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    submit, fetch, command = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    async with open_daemon(tmp_path) as daemon:
        accepted = await _shell(submit, daemon.url, tmp_path)
        assert accepted.startswith("HTTP/1.1 202")
        task_id = re.search(r'"taskId":"([^"]+)"', accepted)
        assert task_id is not None
        assert f"location: /reports/{task_id[1]}" in accepted
        shown = await _shell(fetch, daemon.url, tmp_path, TASK_ID=task_id[1])
        assert '"state":"succeeded"' in shown
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
        (tmp_path / "report.pdf").unlink()
        await _shell(command, daemon.url, tmp_path, REPORTD_URL=daemon.url)
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


async def _shell(script: str, url: str, folder: Path, **environ: str) -> str:
    """Run it in ``folder`` with the daemon's address in place of the default one."""
    script = script.replace("http://127.0.0.1:8080", url)
    script = script.replace(".venv/bin/reportd", f"{sys.executable} -m reportd.cli").replace("@web/", f"@{ROOT}/web/")
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            ["sh", "-euc", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=folder,
            env=os.environ | environ,
        )
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("number", "table"), [(0, transitions.TRANSITIONS), (1, breaker.TRANSITIONS)])
def test_the_states_are_drawn_as_they_are(number: int, table: Mapping[tuple[StrEnum, StrEnum], StrEnum]) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    drawing = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", text, re.DOTALL)[number]
    lines = [f"    {state} --> {after}: {event}" for (state, event), after in table.items()]
    assert drawing.splitlines() == lines, "the drawing should be:\n" + "\n".join(lines)


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link

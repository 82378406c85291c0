"""The shell examples of the documents, run as they stand, and their answers, compared by shape."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

from tests.documents.blocks import DOCS, NOT_RUN, ROOT, SHIPPED, blocks_of, name_of
from tests.documents.test_examples import put_invoice
from tests.e2e.process import open_daemon

REPORTS = """
[reports.invoice]
template = "invoice.html"
parameters_schema = "invoice.schema.json"
[reports.quarterly]
url = "https://reports.internal/render?params={params}"
"""


def is_run(text: str) -> bool:
    return text.partition("\n")[0] not in NOT_RUN


RUN = [file for file in SHIPPED if any(is_run(block.text) for block in blocks_of(file, "sh"))]


@pytest.mark.browser
@pytest.mark.parametrize("document", RUN, ids=name_of)
async def test_the_examples_work(document: Path, tmp_path: Path) -> None:
    put_invoice(tmp_path)
    put_command(tmp_path)
    said, task_id, compared = "", "", 0
    async with open_daemon(tmp_path, REPORTS) as daemon:
        for block in blocks_of(document, "sh", "http"):
            if block.language == "http":
                compare(said, block.text)
                compared += 1
            elif is_run(block.text):
                said = await shell(block.text, daemon.url, tmp_path, TASK_ID=task_id, RENDER_TOKEN="none")
                if found := re.search(r'"taskId":"([^"]+)"', said):
                    task_id = found[1]
                assert_pdfs(tmp_path)
    assert compared == len(blocks_of(document, "http"))


@pytest.mark.browser
async def test_the_readme_ends_with_a_report(tmp_path: Path) -> None:
    """Each way to get it."""
    _, submit, fetch, command, _ = blocks_of(ROOT / "README.md", "sh")
    put_command(tmp_path)
    async with open_daemon(tmp_path) as daemon:
        accepted = await shell(submit.text, daemon.url, tmp_path)
        task_id = re.search(r'"taskId":"([^"]+)"', accepted)
        assert task_id is not None
        assert f"location: /reports/{task_id[1]}" in accepted
        shown = await shell(fetch.text, daemon.url, tmp_path, TASK_ID=task_id[1])
        assert '"state":"succeeded"' in shown
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
        (tmp_path / "report.pdf").unlink()
        await shell(command.text, daemon.url, tmp_path)
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_whatever_is_answered_is_asked_for_before() -> None:
    for document in DOCS.rglob("*.md"):
        blocks = blocks_of(document, "sh", "http")
        for before, block in zip([None, *blocks], blocks, strict=False):
            if block.language == "http":
                assert before is not None
                assert "curl -i" in before.text, str(block)


def assert_pdfs(folder: Path) -> None:
    """What an example has saved is a PDF; the next one begins without it."""
    for pdf in folder.glob("*.pdf"):
        assert pdf.read_bytes().startswith(b"%PDF-"), pdf
        pdf.unlink()


def put_command(folder: Path) -> None:
    """``reportd``, as if it were installed."""
    program = folder / "bin" / "reportd"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reportd.cli.main "$@"\n')
    program.chmod(0o755)


async def shell(script: str, url: str, folder: Path, **environ: str) -> str:
    """Run it in ``folder`` with the daemon's address in place of the default one."""
    script = script.replace("http://127.0.0.1:8080", url)
    script = script.replace(".venv/bin/reportd", "reportd").replace("@web/", f"@{ROOT}/web/")
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            ["sh", "-euc", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=folder,
            env=os.environ | {"PATH": path, "REPORTD_URL": url} | environ,
        )
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compare(answer: str, documented: str) -> None:
    """Same status, at least these headers, and a body of the same shape."""
    status, headers, body = parts(answer)
    wanted_status, wanted_headers, wanted_body = parts(documented)
    assert status == wanted_status, answer
    assert set(wanted_headers) <= set(headers), answer
    assert headers.get("content-type") == wanted_headers.get("content-type", headers.get("content-type"))
    assert shape(body, wanted_body) == shape(wanted_body, wanted_body)


def parts(answer: str) -> tuple[str, dict[str, str], Any]:
    head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return status.split()[1], headers, orjson.loads(body)


def shape(value: Any, wanted: Any) -> Any:
    """The names and types of a value. Of a list, the type of what is in it, unless the example has an empty one."""
    if isinstance(value, dict):
        inner = wanted if isinstance(wanted, dict) else {}
        return {name: shape(part, inner.get(name)) for name, part in sorted(value.items())}
    if isinstance(value, list):
        return [shape(part, wanted[0]) for part in value[:1]] if isinstance(wanted, list) and wanted else []
    return type(value).__name__

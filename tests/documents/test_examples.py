"""The code blocks of the documents: what can be checked without a daemon. tests/e2e/operator/test_readme.py runs the
rest.
"""

import argparse
import base64
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jsonschema_rs
import orjson
import pytest

from reportd.adapters.outbound.standard_webhooks import signed_headers
from reportd.adapters.templates.templates import Templates
from reportd.cli.main import _parser, main
from reportd.core.jobs.job import Job, from_message
from reportd.core.tokens import parse
from reportd.intake.edition_reader import EditionReader
from reportd_web.api.schemas import problem_schema, report_schema
from tests.documents.blocks import DOCS, DOCUMENTS, NOT_RUN, ROOT, SHIPPED, Block, blocks_of, name_of
from tests.fakes.checking import inline_checker
from tests.render_keys import a_key

INTERFACE = DOCS / "INTERFACE.md"
TEMPLATES = DOCS / "TEMPLATES.md"

TEXTS = {
    "web-back-end submit,read sha256:9c41…": "test_the_file_of_tokens_can_be_read",
    "ACL SETUSER reportd on >PASSWORD": "tests/contract/breakers/test_breakers_refused.py",
    "cli → app → ": "tests/documents/test_architecture.py",
}
"""How a block of plain text begins, and what checks it."""


def every(*languages: str) -> list[Block]:
    return [block for document in SHIPPED for block in blocks_of(document, *languages)]


def one(document: Path, language: str, heading: str) -> str:
    (block,) = [block for block in blocks_of(document, language) if block.heading == heading]
    return block.text


def put_invoice(folder: Path) -> None:
    """The files of the example in TEMPLATES.md."""
    (html,) = [block for block in blocks_of(TEMPLATES, "html") if block.heading == "A template"]
    schema, sample = [block for block in blocks_of(TEMPLATES, "json") if block.heading == "A template"]
    for name, block in (("invoice.html", html), ("invoice.schema.json", schema), ("invoice.sample.json", sample)):
        (folder / name).write_text(block.text)
    (footer,) = [block for block in blocks_of(TEMPLATES, "jinja") if block.first_line == "{# footer.html #}"]
    (folder / "footer.html").write_text(footer.text)


SECRETS = {
    "callback-secret": "whsec_" + "QUJD" * 10,
    "database-url": "postgresql://db/reportd",
    "quarterly-token": "Bearer abc",
    "render-2026-11.pem": a_key("2026-11").text,
    "render-2026-05.pem": a_key("2026-05").text,
}
"""The files of secrets that the examples name."""


def put_secrets(folder: Path) -> None:
    for name, text in SECRETS.items():
        (folder / name).touch(0o600)
        (folder / name).write_text(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_has_a_language_that_is_checked(document: Path) -> None:
    known = {"sh", "http", "json", "toml", "html", "python", "mermaid", "text", "js", "jinja", "css"}
    if document in SHIPPED:
        assert {block.language for block in blocks_of(document)} <= known
    assert re.findall(r"(?m)^\n {4}\S.*$", document.read_text()) == [], "code is fenced, so that it can be found"


def test_every_text_is_checked_somewhere() -> None:
    for block in every("text"):
        assert block.first_line.startswith(tuple(TEXTS)), str(block)


# --- commands ---------------------------------------------------------------------------------------------------


def test_what_is_not_run_is_there() -> None:
    assert set(NOT_RUN) <= {block.first_line for block in every("sh")}


@pytest.mark.parametrize("block", every("sh"), ids=str)
def test_a_shell_can_read_it(block: Block) -> None:
    subprocess.run(["sh", "-n", "-c", block.text], check=True)


def commands() -> Iterator[tuple[str, list[str]]]:
    for block in every("sh"):
        for line in block.text.splitlines():
            if found := re.match(r"(?:sudo )?(?:\.venv/bin/)?((?:reportd|make) .*)", line):
                yield str(block), shlex.split(found[1], comments=True)


@pytest.mark.parametrize(("where", "words"), list(commands()))
def test_commands_are_there(where: str, words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        assert re.search(rf"(?m)^{arguments[0]}:", (ROOT / "Makefile").read_text()), where
    else:
        assert isinstance(_parser().parse_args(arguments), argparse.Namespace), where


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("block", every("toml"), ids=str)
def test_a_configuration_passes_the_check(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put_invoice(tmp_path)
    put_secrets(tmp_path)
    file = tmp_path / "reportd.toml"
    file.write_text(block.text)
    assert main(["check-config", "--config", str(file)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", every("json"), ids=lambda block: f"{name_of(block.document)}: {block.heading}")
def test_json_is_json(block: Block) -> None:
    assert isinstance(orjson.loads(block.text), dict)


def test_the_file_of_tokens_can_be_read() -> None:
    text = re.sub(
        r"sha256:(\w{4})…", lambda found: f"sha256:{found[1] * 16}", one(DOCS / "CONFIGURATION.md", "text", "[auth]")
    )
    assert [token.name for token in parse(text)] == ["web-back-end", "grafana", "ada@ops", "acme"]


def test_the_problem_is_one() -> None:
    problem = orjson.loads(one(INTERFACE, "json", "Errors"))
    assert set(problem) == {*problem_schema()["properties"], "limit", "waiting", "accepted"}


def test_the_queue_message_is_a_job() -> None:
    assert isinstance(from_message(one(INTERFACE, "json", "The queue message")), Job)


def test_the_callback_has_the_fields_of_a_report() -> None:
    body = orjson.loads(one(INTERFACE, "json", "Callbacks"))
    assert set(body) == {"type", "timestamp", "data"}
    assert [*body["data"], "options", "callback"] == list(report_schema()["properties"])


def test_a_callback_can_be_verified_as_it_says() -> None:
    names: dict[str, Any] = {}
    exec(one(INTERFACE, "python", "Callbacks"), names)  # noqa: S102 - our own document
    secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    headers = signed_headers("msg_1", time.time(), b"{}", secret)
    assert names["verified"](headers, b"{}", secret)
    assert not names["verified"](headers, b"{ }", secret)
    assert not names["verified"](signed_headers("msg_1", time.time() - 3600, b"{}", secret), b"{}", secret)


# --- templates --------------------------------------------------------------------------------------------------


def test_the_template_can_be_filled_with_its_sample(tmp_path: Path) -> None:
    put_invoice(tmp_path)
    sample = orjson.loads((tmp_path / "invoice.sample.json").read_bytes())
    jsonschema_rs.validate(orjson.loads((tmp_path / "invoice.schema.json").read_bytes()), sample)
    html = Templates([tmp_path]).render("invoice.html", sample)
    for said in ("Invoice 2025-0042", "1 Apr 2025", "智能台灯", "€287.50"):
        assert said in html


def test_the_files_of_the_example_are_found_where_it_says(tmp_path: Path) -> None:
    heading = "Files of a template"
    texts = {"invoice.html": one(TEMPLATES, "html", heading), "css/invoice.css": one(TEMPLATES, "css", heading)}
    for name in ("logo.svg", "css/type.css", "fonts/brand.woff2"):
        texts[name] = ""
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    reader = EditionReader([tmp_path], Templates([tmp_path]), inline_checker())
    reading = reader.read_here("invoice.html", "invoice", 2**20)
    assert reading is not None
    assert reading.edition is not None, reading.problems
    assert set(reading.edition.assets) == set(texts) - {"invoice.html"}


def filter_rows() -> list[tuple[str, str]]:
    rows = re.findall(r"(?m)^\| (`.*\\\|.*`) \| (.+) \|$", TEMPLATES.read_text())
    return [(example.replace("\\|", "|"), text) for example, text in rows]


def test_every_filter_is_documented() -> None:
    filters = set(Templates([])._environment.filters)
    ours = filters - set(jinja2.Environment(autoescape=True).filters)
    text = TEMPLATES.read_text().replace("\\|", "|")
    code = re.findall("`([^`\n]+)`", text) + [block.text for block in blocks_of(TEMPLATES, "jinja")]
    documented = {name for example in code for name in re.findall(r" \| (\w+)", example)}
    assert ours <= documented <= filters


@pytest.mark.parametrize(("example", "text"), [row for row in filter_rows() if re.match(r'`["\d\[{]', row[0])])
def test_filters_do_what_the_table_says(example: str, text: str) -> None:
    environment = Templates([])._environment
    results = [environment.from_string(f"{{{{ {code} }}}}").render() for code in re.findall("`([^`]+)`", example)]
    said = re.findall("`([^`]+)`", text)[: len(results)]
    assert [result.replace("\u202f", " ") for result in results] == said

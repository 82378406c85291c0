"""ARCHITECTURE.md, compared with the code: states, folders, layers, invariants and paths."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from reportd.core.breaker import breaker
from reportd.core.jobs import transitions
from tests.documents.blocks import DOCS, ROOT, blocks_of

FILE = ROOT / "ARCHITECTURE.md"
PAGE = FILE.read_text()
DAEMON = ROOT / "daemon" / "reportd"


@pytest.mark.parametrize(("number", "table"), [(0, transitions.TRANSITIONS), (1, breaker.TRANSITIONS)])
def test_the_states_are_drawn_as_they_are(number: int, table: Mapping[tuple[StrEnum, StrEnum], StrEnum]) -> None:
    drawing = blocks_of(FILE, "mermaid")[number].text
    lines = ["stateDiagram-v2", *(f"    {state} --> {after}: {event}" for (state, event), after in table.items())]
    assert drawing.splitlines() == lines, "the drawing should be:\n" + "\n".join(lines)


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose first cell is that, but for its head."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("root", ["daemon/reportd", "web/reportd_web", "tests"])
def test_every_folder_has_its_line(root: str) -> None:
    folder = ROOT / root
    there = {f"{part.name}/" for part in folder.iterdir() if part.is_dir() and part.name != "__pycache__"}
    if root == "daemon/reportd":
        for parent in ("core", "adapters"):
            there |= {
                f"{parent}/{part.name}/" for part in (folder / parent).iterdir() if (part / "__init__.py").exists()
            }
    named = {name for row in rows(f"folder of `{root}`") for name in re.findall(r"`([^`]+)`", row[0])}
    assert named == there


def test_the_layers_are_those_that_are_checked() -> None:
    (contract, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    parts = [layer.split(" : ") for layer in contract["layers"]]
    words = [layer[0] if len(layer) == 1 else f"{{ {', '.join(layer)} }}" for layer in parts]
    (text,) = blocks_of(FILE, "text")
    assert " ".join(text.text.split()) == " → ".join(words)


def test_each_invariant_has_tests_that_speak_of_it() -> None:
    table = rows("invariant")
    assert [row[0] for row in table] == [f"I{number}" for number in range(1, 17)]
    for name, text, tests in table:
        assert text
        files = re.findall(r"`(tests/[^`]+)`", tests)
        assert files
        for file in files:
            assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), f"{file} does not name {name}"


def test_every_path_is_there() -> None:
    for path in re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.py|\.css|\.js|\.service))`", PAGE):
        places = [ROOT / path, DAEMON / path, ROOT / "web" / "reportd_web" / path, ROOT / "tests" / path]
        if "/" not in path:
            places += list(DAEMON.rglob(path))
        assert any(place.exists() for place in places), path


@pytest.mark.parametrize("record", sorted((DOCS / "decisions").glob("[0-9]*.md")), ids=lambda file: file.name)
def test_every_path_of_a_decision_is_there(record: Path) -> None:
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", record.read_text()):
        assert (ROOT / path).exists() or (DAEMON / path).exists(), path

"""docs/CONFIGURATION.md and packaging/reportd.toml say of every key what the models say, and of no other."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from reportd.config import Config, ReportType, load
from reportd.config.environment import name_of
from reportd.config.keys import accepted, field_at, leaves
from reportd.core.faults import NATURE, Nature

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "packaging" / "reportd.toml").read_text()
PAGE = (ROOT / "docs" / "CONFIGURATION.md").read_text()
HOME = {"HOME": "/home/ada"}

# Keys that are empty in the documents and set by ``load``.
DEFAULTS = Config().redacted() | {"data_dir": ""}


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def loaded(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "reportd.toml"
    file.write_text(text)
    return load(file, HOME)


# The example file: prose begins with "# ", a key with "#".


def uncommented() -> str:
    return re.sub(r"(?m)^#(?=[a-z])", "", EXAMPLE)


def test_the_example_changes_nothing_as_it_is(tmp_path: Path) -> None:
    assert loaded(tmp_path, EXAMPLE) == load(None, HOME)


def test_the_example_uncommented_is_the_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, uncommented()) == load(None, HOME)


def test_the_example_has_every_key() -> None:
    tree = tomllib.loads(uncommented())
    paths = [*leaves(), *leaves(("reports", "sales_summary"))]
    for path in paths:
        assert at(tree, path) == at(DEFAULTS, path), path
    assert len(re.findall(r"(?m)^#[a-z]", EXAMPLE)) == len(paths)
    assert set(tree["reports"]) == {"sales_summary"}


def test_the_example_explains_every_key() -> None:
    lines = EXAMPLE.splitlines()
    for before, line in pairwise(lines):
        if re.match("#[a-z]", line):
            assert before.startswith("# "), line
    assert all(len(line) <= 120 for line in lines)


def test_the_report_type_in_its_prose_can_be_used(tmp_path: Path) -> None:
    prose = "\n".join(re.findall(r"(?m)^#   (.*)", EXAMPLE))
    assert loaded(tmp_path, EXAMPLE + prose).reports["quarterly"].pdf.landscape


# The page: one table per section, with key, default, accepted values and explanation.


def rows(text: str, columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == columns and cells[0].startswith("`"):
            yield cells


def documented() -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    """Return path, default, accepted and explanation of every row of the page."""
    for section in re.split(r"(?m)^## ", PAGE)[1:]:
        heading = re.match(r"\[([A-Za-z_.]+)\]\n", section)
        parents = heading[1].split(".") if heading else []
        for key, default, accepts, text in rows(section, 4):
            yield (*parents, *key.strip("`").split(".")), default.strip("`"), accepts, text


def test_the_page_has_every_key_in_the_order_of_the_models() -> None:
    assert [path for path, *_ in documented()] == [*leaves(), *leaves(("reports", "NAME"))]


def test_the_page_has_the_right_defaults() -> None:
    defaults = DEFAULTS | {"reports": {"NAME": ReportType().redacted()}}
    for path, default, _, _ in documented():
        value, expected = tomllib.loads(f"value = {default}")["value"], at(defaults, path)
        assert (value, isinstance(value, bool)) == (expected, isinstance(expected, bool)), path


def test_the_page_says_what_is_accepted() -> None:
    for path, _, accepts, _ in documented():
        field = field_at(path)
        assert field is not None
        assert re.sub(r"\\([\\|])", r"\1", accepts) == accepted(field), path


def test_the_page_explains_every_key() -> None:
    for path, _, _, text in documented():
        assert re.fullmatch(r"[A-Z`].{10,}\.", text), path


def test_keys_that_the_page_mentions_are_there() -> None:
    known = {".".join(path) for path in leaves()}
    sections = {key.partition(".")[0] for key in known if "." in key}
    mentioned = {name for name in re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE) if name.partition(".")[0] in sections}
    assert mentioned
    assert mentioned <= known


def test_the_page_s_variables_set_their_keys() -> None:
    part = PAGE.partition("## The environment")[2].partition("\n## ")[0]
    environ = {"REPORTD_REPORTS__QUARTERLY__URL": "https://reports.internal/"}
    names = set()
    for where, variable in rows(part, 2):
        key, section = re.fullmatch(r"`([a-z_]+)`(?: in `\[([a-z_.]+)\]`)?", where).groups()  # type: ignore[union-attr]
        name, _, text = re.match(r"`([^`]*)`", variable)[1].partition("=")  # type: ignore[index]
        assert name == name_of((*(section.split(".") if section else ()), key))
        environ[name] = text
        names.add(name)
    config = load(None, environ)
    assert len(names) == 6
    assert str(config.data_dir) == "/srv/reportd"
    assert config.callbacks.allowed_hosts == ("app.internal", "api.internal")
    assert config.reports["quarterly"].headers == {"X-Tenant": "acme"}
    assert config.reports["quarterly"].pdf.landscape is True


def test_the_page_s_example_can_be_used(tmp_path: Path) -> None:
    (example,) = re.findall(r"(?s)```toml\n(.*?)```", PAGE.partition("## [reports.NAME]")[2])
    assert loaded(tmp_path, example).reports["quarterly"].pdf.landscape


def test_the_page_s_secrets_are_read_from_files(tmp_path: Path) -> None:
    part = PAGE.partition("## Secrets from files")[2].partition("\n## ")[0]
    (example,) = re.findall(r"(?s)```toml\n(.*?)```", part)
    texts = {
        "callback-secret": "whsec_" + "QUJD" * 10,
        "database-url": "postgresql://db/x",
        "quarterly-token": "Bearer x",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    config = loaded(tmp_path, example)
    assert [config.callbacks.secret, config.database.url, config.reports["quarterly"].headers["Authorization"]] == [
        *texts.values()
    ]
    (variable,) = re.findall(r"`(REPORTD_\w+)=(\{.*?\})`", part)
    (tmp_path / "variable").write_text(texts["callback-secret"])
    environ = {variable[0]: variable[1].replace("/etc/reportd/callback-secret", str(tmp_path / "variable"))}
    assert load(None, HOME | environ).callbacks.secret == texts["callback-secret"]


def test_the_page_says_when_a_page_has_failed() -> None:
    def again(nature: Nature) -> str:
        return "once" if nature.kills_browser else "yes" if nature.retry else "no"

    _, *failures = rows(PAGE.partition("### When a page has failed")[2], 3)
    told = {kind.strip("`"): tried for kind, _, tried in failures}
    assert told == {str(kind): again(nature) for kind, nature in NATURE.items() if nature.counts_for_breaker}

"""Whatever stands in the file and the environment: ``load`` gives a sound configuration or says what is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reportd.config import Config, ConfigError, load
from reportd.config.environment import name_of
from reportd.config.keys import leaves
from reportd.core.pages.network import NetworkRule

KEYS = [*leaves(), *leaves(("reports", "a")), *leaves(("reports", "sales_summary"))]
SECTIONS = sorted({key[:length] for key in KEYS for length in range(1, len(key))})

ADDRESSES = (
    'http.bind = "{}"',
    'database.url = "sqlite:///{}"',
    'database.url = "postgresql://{}"',
    'queue = {{url = "https://{}", dead_letter_url = "https://a/b"}}',
    'artifacts.url = "file:{}"',
    'artifacts.url = "s3://{}"',
    'breaker.store = "redis://{}"',
    'callbacks.allowed_hosts = ["{}"]',
    'reports.a.url = "http://{}"',
    'reports.a.url = "http://a.test/{}"',
    'reports.a = {{template = "a", allowed_hosts = ["{}"]}}',
)

# Texts that get further than random ones: each is valid for some key, and invalid for most.
PIECES = (
    "127.0.0.1:80",
    "0.0.0.0:80",
    "sqlite:///a.db",
    "postgresql://u:p@db/x",
    "embedded:",
    "https://sqs.test/1/a.fifo",
    "file:a",
    "s3://bucket/a",
    "memory:",
    "page",
    "user",
    "app.test",
    "*.app.test:443",
    "http://app.test/{params}",
    "http://[::1]:80/{taskId}",
    "http://bücher.test",
    "a.html",
    "selector:#a",
    "event:",
    "10mm",
    "0",
    "1-2, 4",
    "400-499",
    "~",
    "~a/b",
    "whsec_",
    "{",
    "]",
    "//",
    "@",
    "\x00",
    "\n",
    "",
)
texts = st.one_of(
    st.sampled_from(PIECES), st.text(max_size=12), st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
)
numbers = st.one_of(
    st.integers(-2, 5000), st.integers(), st.integers(10**300, 10**310), st.floats(), st.floats(-1, 1000, width=32)
)
scalars = st.one_of(texts, numbers, st.booleans(), st.dates(), st.times(), st.datetimes())
names = st.one_of(st.sampled_from([part for key in KEYS for part in key]), st.text(max_size=8))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
places = st.one_of(st.sampled_from(KEYS), st.sampled_from(SECTIONS), st.lists(names, min_size=1, max_size=4).map(tuple))
trees = st.lists(st.tuples(places, values), max_size=8)
variables = st.one_of(
    st.sampled_from([name_of(key) for key in KEYS + SECTIONS]),
    st.text(st.sampled_from("ABREPOTS_x1é\udcff"), max_size=20).map("REPORTD_".__add__),
    st.sampled_from(["HOME", "STATE_DIRECTORY", "XDG_DATA_HOME"]),
)
# A variable holds no NUL, and bytes that are not UTF-8 come as lone surrogates.
any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12)
variable_texts = st.one_of(
    any_text,
    texts.map(lambda text: text.replace("\0", "")),
    numbers.map(str),
    st.dictionaries(texts, texts, max_size=2).map(json.dumps),
    st.lists(texts, max_size=3).map(json.dumps),
)
environments = st.dictionaries(variables, variable_texts, max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "reportd.toml"


def tree_of(branches: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Return the tree of these branches; a later branch replaces an earlier one in its way."""
    tree: dict[str, Any] = {}
    for path, value in branches:
        node = tree
        for name in path[:-1]:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        node[path[-1]] = value
    return tree


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(name))} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return hex(value) if value > 10**300 else str(value)  # there is a limit to decimal digits
    return str(value) if isinstance(value, float) else str(value.isoformat())


def check_valid(config: Config) -> None:
    """Check that every later use of a configuration works."""
    assert config.data_dir.is_absolute()
    json.dumps(config.redacted())
    repr(config)
    assert config.http.port < 65536
    assert config.database.sqlite_path(config.data_dir) or config.database.url.startswith("postgresql")
    assert bool(config.artifacts.folder(config.data_dir)) != bool(config.artifacts.bucket())
    NetworkRule.of(config.callbacks.allowed_hosts)
    for report in config.reports.values():
        assert bool(report.template) != bool(report.url)
        NetworkRule.of(report.allowed_hosts, report.url)
        NetworkRule.of(report.hosts)
        report.pdf.print_parameters()
    assert not list(config.conflicts())


def load_and_check(file: Path, environ: dict[str, str]) -> None:
    try:
        config = load(file, environ)
    except ConfigError as error:
        problems = error.problems
    else:
        check_valid(config)
        return
    assert problems
    assert len(set(problems)) == len(problems)
    assert all(problem.where and problem.message and str(problem).isprintable() for problem in problems)


@settings(deadline=None, max_examples=150)
@given(trees, environments)
def test_any_tree_and_environment(
    file: Path, branches: list[tuple[tuple[str, ...], Any]], environ: dict[str, str]
) -> None:
    text = "\n".join(f"{toml(name)} = {toml(value)}" for name, value in tree_of(branches).items())
    file.write_bytes(text.encode())
    load_and_check(file, environ)


@settings(deadline=None, max_examples=10)
@given(values)
@example("http://app..test/")
@example("http://{params}")
@example(16**6000)
@example([10**400])
@example({"a": "\0"})
def test_any_value_of_any_key(file: Path, value: Any) -> None:
    for key in KEYS:
        file.write_bytes(f"{'.'.join(key)} = {toml(value)}".encode())
        load_and_check(file, {})


@settings(deadline=None, max_examples=100)
@given(st.text("a1-.:@[]/{}?#%*ü", max_size=10))
@example("a..a")
@example("[::1]:1")
@example("a@a:1/{params}")
def test_every_accepted_address_is_valid(file: Path, text: str) -> None:
    for line in ADDRESSES:
        file.write_bytes(line.format(toml(text)[1:-1]).encode())
        load_and_check(file, {})


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=60), st.text("[]{}=.\"'#\n ab1\\-_", max_size=60).map(str.encode)))
def test_any_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    load_and_check(file, {})

"""Errors of a faulty configuration: all at once, a line each, with place, key and accepted values."""

from pathlib import Path

import pytest

from reportd.config import ConfigError, Problem, load
from tests.wording import mentions

WHOLE = "a whole number from 0 to 256"
NUMBER = "a number from 0.05 to 3600"
HOSTS = 'a list of hosts, e.g. ["reports.internal", "*.cdn.internal"]'
HEADERS = 'a table of names and texts, e.g. {"X-Tenant" = "acme"}; each text may be {file = "PATH"}'
KEY = "1 to 64 letters, digits, dots, colons, hyphens or underscores"
METRICS = "1 to 255 letters, digits, spaces or . - _ / # :, not AWS/ at the beginning, or nothing"
SECTIONS = (
    "data_dir, http, database, queue, artifacts, breaker, pool, scaling, triage, auth, alerts, callbacks, "
    "render_tokens, shutdown, log, reports"
)


def refused(tmp_path: Path, content: str | bytes, **environ: str) -> list[str]:
    """Return the lines of the error, with the file's path as FILE."""
    file = tmp_path / "reportd.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load(file, {"HOME": "/home/ada", **environ})
    assert [str(problem) for problem in caught.value.problems] == str(caught.value).splitlines()
    return str(caught.value).replace(str(file), "FILE").splitlines()


# All together


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    text = """
    data_dir = 5
    [http]
    bind = "8080"
    max_body_bytes = 1
    [queue]
    urk = "embedded:"
    max_attempts = "3"
    backoff_seconds = 100
    [brakes]
    store = "memory:"
    [log]
    level = "verbose"
    [reports.Sales]
    url = "http://app.test/"
    [reports.quarterly]
    template = "own.html"
    url = "http://app.test/"
    allowed_hosts = ["cdn.test", "not a host"]
    [reports.quarterly.pdf]
    margin = "wide"
    """
    lines = refused(tmp_path, text, REPORTD_POOL__BROWSERS="many", REPORTD_POOL__BROWSER="2")
    expected = [
        ("FILE: brakes: ", "breaker"),
        ("FILE: data_dir: ", "accepted: "),
        ("FILE: http.bind: ", "accepted: HOST:PORT, e.g. 127.0.0.1:8080"),
        ("FILE: http.max_body_bytes: 1 ", "accepted: ", "1024", "104857600"),
        ("FILE: log.level: ", "accepted: ", "debug, info, warning, error"),
        ("FILE: queue.max_attempts: ", "accepted: ", "1 to 100"),
        ("FILE: queue.max_backoff_seconds: ", "backoff_seconds", "accepted: ", "100"),
        ("FILE: queue.urk: ", "queue.url"),
        ("FILE: reports.Sales: ", "accepted: ", "a-z, 0-9 and _"),
        ("FILE: reports.quarterly.allowed_hosts: entry 2 ", "accepted: ", '["reports.internal", "*.cdn.internal"]'),
        ("FILE: reports.quarterly.pdf.margin: ", "accepted: ", '"20mm 15mm"'),
        ("FILE: reports.quarterly.url: ", "template", "accepted: "),
        ("REPORTD_POOL__BROWSER: ", "REPORTD_POOL__BROWSERS"),
        ("REPORTD_POOL__BROWSERS: pool.browsers: ", "accepted: ", "0 to 256"),
    ]
    assert len(lines) == len(expected)
    for line, parts in zip(sorted(lines), expected, strict=True):
        assert line.startswith(parts[0])
        assert mentions(line, *parts)


def test_a_problem_has_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text("pool.browsers = -1")
    with pytest.raises(ConfigError) as caught:
        load(file, {"HOME": "/home/ada"})
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (str(file), "pool.browsers")
    assert mentions(problem.message, "-1", "accepted: ", "0 to 256")


def test_a_faulty_variable_hides_the_files_key(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, "pool.browsers = -1", REPORTD_POOL__BROWSERS="x")
    assert line.startswith("REPORTD_POOL__BROWSERS: pool.browsers: ")


def test_a_fault_is_reported_where_the_value_was_set(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, "[pool]\nbrowsers = 1", REPORTD_POOL__MAX_STALLED="1000")
    assert line.startswith("REPORTD_POOL__MAX_STALLED: pool.max_stalled: 1000 ")


def test_a_variable_below_a_scalar_is_ignored(tmp_path: Path) -> None:
    lines = refused(tmp_path, "pool = 1\nreports = 1", REPORTD_POOL__BROWSERS="2", REPORTD_REPORTS__A__URL="http://a")
    assert [line.split(": ")[1] for line in lines] == ["pool", "reports"]
    assert all(line.startswith("FILE: ") and line.endswith("accepted: a table") for line in lines)


# Unknown keys


@pytest.mark.parametrize(
    ("text", "key", "named"),
    [
        ("[htpp]", "htpp", " http?"),
        ("http.port = 1", "http.port", "accepted: bind, max_body_bytes, max_connections, public_url"),
        ("[queue]\nretention_days = 1", "queue.retention_days", " artifacts.retention_days?"),
        ("timeout_seconds = 1", "timeout_seconds", " reports.NAME.timeout_seconds?"),
        (
            "[reports.sales_summary]\nformat = 'A5'",
            "reports.sales_summary.format",
            " reports.sales_summary.pdf.format?",
        ),
        (
            "[reports.sales_summary.pdf]\nlandscap = true",
            "reports.sales_summary.pdf.landscap",
            " reports.sales_summary.pdf.landscape?",
        ),
        ('"a\\nb" = 1', '"a\\nb"', f"accepted: {SECTIONS}"),
    ],
)
def test_an_unknown_key_is_refused_and_the_near_one_named(tmp_path: Path, text: str, key: str, named: str) -> None:
    (line,) = refused(tmp_path, text)
    assert line.startswith(f"FILE: {key}: ")
    assert line.endswith(named)


def test_a_mistyped_key_is_not_reported_as_missing_too(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, '[reports.a]\nulr = "http://app.test/"')
    assert mentions(line, "FILE: reports.a.ulr: ", "reports.a.url?")
    (line,) = refused(tmp_path, 'http.bind = "0.0.0.0:80"', REPORTD_AUTH__TOKEN_FILE="/etc/tokens")
    assert mentions(line, "REPORTD_AUTH__TOKEN_FILE: ", "REPORTD_AUTH__TOKENS_FILE?")


def test_a_mistyped_key_hides_no_other_conflict(tmp_path: Path) -> None:
    unknown, conflict = refused(tmp_path, "", REPORTD_POOL__BROWSER="1", REPORTD_QUEUE__BACKOFF_SECONDS="100")
    assert mentions(unknown, "REPORTD_POOL__BROWSER: ", "REPORTD_POOL__BROWSERS?")
    assert mentions(conflict, "REPORTD_QUEUE__BACKOFF_SECONDS: queue.max_backoff_seconds: ", "accepted: ", "100")


# Wrong types and values


@pytest.mark.parametrize(
    ("text", "problem", "accepted"),
    [
        ("http = 1", "has the wrong type (a number)", "a table"),
        ("[[http]]", "has the wrong type (a list)", "a table"),
        ("reports = true", "has the wrong type (a boolean)", "a table"),
        ("reports.a = ''", "has the wrong type (a text)", "a table"),
        ("reports.sales_summary.pdf = []", "has the wrong type (a list)", "a table"),
        ("pool.browsers = true", "has the wrong type (a boolean)", WHOLE),
        ("pool.browsers = '1'", "has the wrong type (a text)", WHOLE),
        ("pool.browsers = 1.5", "has the wrong type (a number)", WHOLE),
        ("pool.browsers = {}", "has the wrong type (a table)", WHOLE),
        ("pool.browsers = 1979-05-27", "has the wrong type (a date or time)", WHOLE),
        (f"pool.browsers = 0x{'f' * 6000}", "a huge number is too large", WHOLE),
        ("pool.stall_seconds = inf", "inf is not a valid number", NUMBER),
        ("pool.stall_seconds = nan", "nan is not a valid number", NUMBER),
        (f"pool.stall_seconds = 0x{'f' * 6000}", "a huge number is not a valid number", NUMBER),
        ("reports.sales_summary.pdf.landscape = 'yes'", "has the wrong type (a text)", "true or false"),
        ("auth.tokens_file = 1", "has the wrong type (a number)", "the path of a file, or nothing"),
        ("callbacks.allowed_hosts = 'app.test'", "has the wrong type (a text)", HOSTS),
        ("callbacks.allowed_hosts = ['app.test', 5, 6]", "entry 2 has the wrong type (a number)", HOSTS),
        ("breaker.failure_rate = 1.5", "1.5 is too large", "a number from 0 to 1"),
        ("breaker.minimum_volume = 0", "0 is too small", "a whole number from 1 to 1000"),
        ("scaling.cloudwatch_namespace = 'AWS/SQS'", "is not a CloudWatch namespace for custom metrics", METRICS),
        ("scaling.cloudwatch_namespace = 'a;b'", "is not a CloudWatch namespace for custom metrics", METRICS),
        ("breaker.namespace = ''", "is not a valid key prefix", KEY),
        ("breaker.namespace = 'a b'", "is not a valid key prefix", KEY),
        ("reports.sales_summary.headers = {a = 1}", "has the wrong type (a number)", HEADERS),
        ('auth.tokens_file = "a\\u0000"', "holds the character NUL", "a text without it"),
        ('callbacks.allowed_hosts = ["a\\u0000"]', "holds the character NUL", "a text without it"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(tmp_path: Path, text: str, problem: str, accepted: str) -> None:
    key = text.partition(" =")[0].strip("[]")
    assert refused(tmp_path, text) == [f"FILE: {key}: {problem}; accepted: {accepted}"]


# Not TOML


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a = 1\nb =\n", "FILE: line 2, column 4: is not TOML: Invalid value"),
        ("a = 1\na = 2\n", "FILE: line 2, column 6: is not TOML: Cannot overwrite a value"),
        ("a = [", "FILE: end of document: is not TOML: Invalid value"),
        (b"a = 1\nb = '\xff'", "FILE: line 2: is not UTF-8; accepted: TOML"),
        ("a = " + "9" * 5000, "FILE: is not TOML: it holds something that can't be read"),
        ("a = " + "[" * 5000, "FILE: is nested too deeply; accepted: the keys there are"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: str | bytes, line: str) -> None:
    assert refused(tmp_path, content) == [line]


def test_a_deeply_nested_table_is_unknown(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, f"[{'.'.join('a' * 5000)}]")
    assert mentions(line, "FILE: a: ", f"accepted: {SECTIONS}")


def test_the_environment_is_checked_even_when_the_file_cannot_be_read(tmp_path: Path) -> None:
    """Conflicts are not checked: their other key may be in the file."""
    syntax, value = refused(tmp_path, "a =\n", REPORTD_HTTP__BIND="0.0.0.0:80", REPORTD_POOL__BROWSERS="x")
    assert syntax.startswith("FILE: line 1, column 4: ")
    assert value.startswith("REPORTD_POOL__BROWSERS: pool.browsers: ")


def test_a_fault_is_one_printable_line() -> None:
    problem = Problem("FILE", 'a"\n\x1b[31m\udcff', "is unknown")
    assert str(problem) == 'FILE: a"\\n\\x1b[31m\\udcff: is unknown'

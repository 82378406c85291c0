"""Keys that conflict though each is valid by itself, and bind addresses that need tokens."""

from pathlib import Path

import pytest

from reportd.config import ConfigError, load
from tests.wording import mentions

SQS = "https://sqs.test/1/reports"


def conflicts(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """Return the lines of the error, with the file's path as FILE; empty when there is none."""
    file = tmp_path / "reportd.toml"
    file.write_text(text)
    try:
        load(file, {"HOME": "/home/ada", **environ})
    except ConfigError as error:
        return str(error).replace(str(file), "FILE").splitlines()
    return []


# Bind addresses


def credentials(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LocalHost"])
def test_a_loopback_address_needs_no_tokens(tmp_path: Path, host: str) -> None:
    assert not conflicts(tmp_path, f'http.bind = "{host}:8080"')


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.0.5", "reports.internal", "[::ffff:10.0.0.1]"])  # noqa: S104
def test_any_other_address_needs_tokens(tmp_path: Path, host: str) -> None:
    text = f'http.bind = "{host}:8080"'
    (line,) = conflicts(tmp_path, text)
    assert line.startswith("FILE: http.bind: ")
    assert mentions(line, "accepted: ", "127.0.0.1:8080", "auth.tokens_file")
    assert not conflicts(tmp_path, text, REPORTD_AUTH__TOKENS_FILE="/etc/reportd/tokens")
    assert not conflicts(tmp_path, text, CREDENTIALS_DIRECTORY=str(credentials(tmp_path, "tokens")))
    assert conflicts(tmp_path, text, CREDENTIALS_DIRECTORY=str(credentials(tmp_path / "x", "other")))


@pytest.mark.parametrize(
    "bind",
    ["8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.1:80", "[127.0.0.1]:80", "::1:80", "a b:80"],
)
def test_an_invalid_address_is_refused(tmp_path: Path, bind: str) -> None:
    (line,) = conflicts(tmp_path, f'http.bind = "{bind}"')
    assert line.startswith("FILE: http.bind: ")
    assert "accepted: HOST:PORT" in line


def test_a_bind_address_has_its_parts() -> None:
    http = load(None, {"HOME": "/home/ada", "REPORTD_HTTP__BIND": "[::1]:0"}).http
    assert (http.host, http.port) == ("::1", 0)


# Queues


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        ("", "is missing; accepted: the URL of the DLQ, which an SQS queue needs"),
        (SQS, "is the queue itself; accepted: another queue"),
        (f"{SQS}-dead.fifo", "is of another kind; accepted: a FIFO queue for a FIFO queue, else a standard queue"),
        (f"{SQS}-dead", None),
    ],
)
def test_an_sqs_queue_needs_a_dlq_of_its_kind(tmp_path: Path, dead: str, said: str | None) -> None:
    lines = conflicts(tmp_path, f'[queue]\nurl = "{SQS}"\ndead_letter_url = "{dead}"')
    assert lines == ([f"FILE: queue.dead_letter_url: {said}"] if said else [])
    text = f'queue.dead_letter_url = "{dead}"\n[reports.sales_summary]\nqueue_url = "{SQS}"'
    said = (
        f"FILE: reports.sales_summary.queue_url: does not go with queue.dead_letter_url, which {said}" if said else ""
    )
    assert conflicts(tmp_path, text) == ([said] if said else [])


def test_a_fifo_queue_needs_a_fifo_dlq(tmp_path: Path) -> None:
    text = f'[queue]\nurl = "{SQS}.fifo"\ndead_letter_url = "{SQS}-dead'
    assert not conflicts(tmp_path, f'{text}.fifo"')
    assert "is of another kind" in conflicts(tmp_path, f'{text}"')[0]


# Limits


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[queue]\nbackoff_seconds = 10\nmax_backoff_seconds = 5",
            "queue.max_backoff_seconds: is below backoff_seconds; accepted: at least 10",
        ),
        ("queue.max_attempts = 21", "queue.max_receive_count: is below max_attempts; accepted: at least 21"),
        ("queue.max_receive_count = 2", "queue.max_receive_count: is below max_attempts; accepted: at least 3"),
        (
            "breaker.recovery_seconds = 301",
            "breaker.max_recovery_seconds: is below recovery_seconds; accepted: at least 301",
        ),
        (
            "[pool]\nbrowsers_min = 4\nbrowsers_max = 3",
            "pool.browsers_max: is below browsers_min; accepted: at least 4",
        ),
        (
            "scaling.target_seconds = 299",
            "scaling.target_seconds: is below reaction_seconds; accepted: at least 300",
        ),
        ("breaker.window_size = 9", "breaker.window_size: is below minimum_volume; accepted: at least 10"),
        ("breaker.minimum_volume = 51", "breaker.window_size: is below minimum_volume; accepted: at least 51"),
        (
            "[reports.sales_summary]\ntimeout_seconds = 5\ndelay_seconds = 5",
            "reports.sales_summary.delay_seconds: leaves no time to render; accepted: less than timeout_seconds (5)",
        ),
    ],
)
def test_limits_in_the_wrong_order_are_refused(tmp_path: Path, text: str, line: str) -> None:
    assert conflicts(tmp_path, text) == [f"FILE: {line}"]


@pytest.mark.parametrize(
    "text",
    [
        "[queue]\nbackoff_seconds = 10\nmax_backoff_seconds = 10",
        "[queue]\nmax_attempts = 20",
        "[breaker]\nrecovery_seconds = 300",
        "[reports.sales_summary]\ntimeout_seconds = 5\ndelay_seconds = 4.9",
    ],
)
def test_equal_limits_are_accepted(tmp_path: Path, text: str) -> None:
    assert not conflicts(tmp_path, text)


# Reporting


def test_a_conflict_is_reported_where_one_of_its_keys_is_set(tmp_path: Path) -> None:
    said = "queue.max_receive_count: is below max_attempts; accepted: at least 21"
    assert conflicts(tmp_path, "queue.max_attempts = 21") == [f"FILE: {said}"]
    environ = {"REPORTD_QUEUE__MAX_ATTEMPTS": "21"}
    assert conflicts(tmp_path, "", **environ) == [f"REPORTD_QUEUE__MAX_ATTEMPTS: {said}"]
    lines = conflicts(tmp_path, "queue.max_receive_count = 20", **environ)
    assert lines == [f"FILE: {said}"], "the key itself goes before the other one"


def test_faulty_keys_make_no_conflicts(tmp_path: Path) -> None:
    """A conflict needs the values of both keys."""
    lines = conflicts(tmp_path, '[queue]\nmax_attempts = 101\nmax_receive_count = 1\nurl = "ftp://x"')
    assert [line.split(": ")[1] for line in lines] == ["queue.url", "queue.max_attempts"]
    lines = conflicts(tmp_path, '[reports.a]\nurl = "ftp://app.test/"')
    assert [line.split(": ")[1] for line in lines] == ["reports.a.url"]


def test_the_conflicts_of_all_sections_are_reported_together(tmp_path: Path) -> None:
    text = f"""
    http.bind = "0.0.0.0:80"
    queue.url = "{SQS}"
    breaker.recovery_seconds = 1000
    [reports.a]
    [reports.b]
    url = "http://app.test/"
    cookies = {{a = "b"}}
    [reports.b.pdf]
    outline = true
    [reports.c]
    template = "c.html"
    aliases = ["a"]
    cookies = {{a = "b"}}
    """
    assert [line.split(": ")[1] for line in conflicts(tmp_path, text)] == [
        "queue.dead_letter_url",
        "breaker.max_recovery_seconds",
        "reports.a.template",
        "reports.b.pdf.outline",
        "reports.c.cookies",
        "http.bind",
        "reports.c.aliases",
    ]


# Callbacks


@pytest.mark.parametrize(
    ("hosts", "url", "fine"),
    [
        ('["app.test"]', "https://app.test/done?token=x", True),
        ('["*.app.test:8443"]', "https://hooks.app.test:8443/", True),
        ('["*.app.test:8443"]', "https://hooks.app.test/", False),
        ("[]", "https://app.test/done", False),
    ],
)
def test_a_report_types_callback_goes_only_to_allowed_hosts(tmp_path: Path, hosts: str, url: str, fine: bool) -> None:
    text = f'callbacks.allowed_hosts = {hosts}\nreports.sales_summary.callback_url = "{url}"'
    told = conflicts(tmp_path, text)
    if fine:
        assert not told
    else:
        (line,) = told
        assert line.startswith("FILE: reports.sales_summary.callback_url: leads to a host")
        assert "callbacks.allowed_hosts" in line

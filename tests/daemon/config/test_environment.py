"""Every key is also a variable: REPORTD_SECTION__KEY, with texts, numbers, lists and tables written in it."""

from pathlib import Path
from typing import Any

import pytest

from reportd.config import ConfigError, ReportType, load
from reportd.config.environment import name_of
from reportd.config.keys import leaves
from reportd.config.pdf import PdfOptions

SECRET = "whsec_" + "QUJD" * 10

# Dotted key: the variable's text and the key's value. None equals a default, so each change is visible.
EVERY: dict[str, tuple[str, Any]] = {
    "data_dir": ("/srv/reportd", "/srv/reportd"),
    "http.bind": ("0.0.0.0:80", "0.0.0.0:80"),
    "http.max_body_bytes": ("2048", 2048),
    "http.max_connections": ("512", 512),
    "http.public_url": ("https://reports.test/", "https://reports.test/"),
    "database.url": ("postgresql://db/reportd", "postgresql://db/reportd"),
    "queue.url": ("https://sqs.test/1/reports.fifo", "https://sqs.test/1/reports.fifo"),
    "queue.dead_letter_url": ("https://sqs.test/1/dead.fifo", "https://sqs.test/1/dead.fifo"),
    "queue.endpoint_url": ("http://127.0.0.1:4566", "http://127.0.0.1:4566"),
    "queue.region": ("eu-central-1", "eu-central-1"),
    "queue.visibility_seconds": ("90.5", 90.5),
    "queue.max_attempts": ("5", 5),
    "queue.backoff_seconds": ("2", 2.0),
    "queue.max_backoff_seconds": ("1.2e2", 120.0),
    "queue.prefetch": ("0", 0),
    "queue.max_backlog": ("7", 7),
    "queue.max_type_share": ("0.4", 0.4),
    "queue.max_user_share": ("0.1", 0.1),
    "queue.max_receive_count": ("30", 30),
    "queue.group_by": ("reportType", "reportType"),
    "artifacts.url": ("s3://bucket/pdf", "s3://bucket/pdf"),
    "artifacts.endpoint_url": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "artifacts.region": ("us-east-1", "us-east-1"),
    "artifacts.retention_days": ("0.5", 0.5),
    "artifacts.presign_seconds": ("60", 60.0),
    "artifacts.encryption": ("AES256", "AES256"),
    "breaker.store": ("redis://redis:6379/1", "redis://redis:6379/1"),
    "breaker.failure_threshold": ("4", 4),
    "breaker.recovery_seconds": ("11", 11.0),
    "breaker.max_recovery_seconds": ("301", 301.0),
    "breaker.successes_to_close": ("2", 2),
    "breaker.failure_rate": ("0.5", 0.5),
    "breaker.slow_rate": ("1", 1.0),
    "breaker.slow_seconds": ("20", 20.0),
    "breaker.window_size": ("40", 40),
    "breaker.window_seconds": ("90", 90.0),
    "breaker.minimum_volume": ("20", 20),
    "breaker.namespace": ("fleet:a", "fleet:a"),
    "pool.executable": ("/opt/chromium", "/opt/chromium"),
    "pool.browsers": ("3", 3),
    "pool.browsers_min": ("2", 2),
    "pool.browsers_max": ("4", 4),
    "pool.pages_per_browser": ("1", 1),
    "pool.stall_seconds": ("3", 3.0),
    "pool.max_stalled": ("5", 5),
    "pool.recycle_after_jobs": ("50", 50),
    "pool.recycle_above_mib": ("512", 512),
    "pool.renderer_limit_mib": ("1024", 1024),
    "pool.start_timeout_seconds": ("10", 10.0),
    "pool.isolation": ("browser", "browser"),
    "pool.ca_file": ("/etc/reportd/ca.pem", "/etc/reportd/ca.pem"),
    "scaling.target_seconds": ("900", 900.0),
    "scaling.reaction_seconds": ("200", 200.0),
    "scaling.hold_seconds": ("60", 60.0),
    "scaling.cloudwatch_namespace": ("reports/fleet", "reports/fleet"),
    "scaling.region": ("us-east-1", "us-east-1"),
    "scaling.endpoint_url": ("http://127.0.0.1:4567", "http://127.0.0.1:4567"),
    "triage.interval_seconds": ("6", 6.0),
    "triage.cooldown_seconds": ("0", 0.0),
    "triage.max_redrives": ("+1", 1),
    "triage.max_wait_seconds": ("1e5", 100000.0),
    "auth.tokens_file": ("/etc/reportd/tokens", "/etc/reportd/tokens"),
    "alerts.webhook_url": ("https://alerts.test/hook", "https://alerts.test/***"),
    "alerts.slack_url": ("https://slack.test/hook", "https://slack.test/***"),
    "alerts.sns_topic_arn": ("arn:aws:sns:eu-west-1:123456789012:a", "arn:aws:sns:eu-west-1:123456789012:a"),
    "alerts.window_seconds": ("60", 60.0),
    "callbacks.allowed_hosts": ("app.test, *.app.test:8443,", ["app.test", "*.app.test:8443"]),
    "callbacks.secret": (SECRET, "***"),
    "callbacks.retry_hours": ("1.5", 1.5),
    "render_tokens.issuer": ("https://reportd.test", "https://reportd.test"),
    "render_tokens.margin_seconds": ("3", 3.0),
    "render_tokens.keys": (
        '[{"kid": "a", "algorithm": "HS256", "key": "' + "QUJD" * 11 + '"}]',
        [{"kid": "a", "algorithm": "HS256", "key": "***"}],
    ),
    "shutdown.drain_seconds": ("0", 0.0),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
    "reports.sales_summary.template": ("own.html", "own.html"),
    "reports.quarterly.url": ("https://app.test/{taskId}", "https://app.test/{taskId}"),
    "reports.quarterly.parameters_schema": ("quarterly.schema.json", "quarterly.schema.json"),
    "reports.quarterly.aliases": ('["q", "quarter"]', ["q", "quarter"]),
    "reports.quarterly.allowed_hosts": ("cdn.test", ["cdn.test"]),
    "reports.quarterly.timeout_seconds": ("61", 61.0),
    "reports.quarterly.timeout_p99_factor": ("3", 3.0),
    "reports.quarterly.max_concurrency": ("2", 2),
    "reports.quarterly.queue_url": ("https://sqs.test/1/quarterly.fifo", "https://sqs.test/1/quarterly.fifo"),
    "reports.quarterly.callback_url": ("https://app.test/done", "https://app.test/***"),
    "reports.quarterly.isolation": ("container", "container"),
    "reports.quarterly.method": ("POST", "POST"),
    "reports.quarterly.body": ("form", "form"),
    "reports.quarterly.inject": ("REPORT", "REPORT"),
    "reports.quarterly.ready": ("selector:#done", "selector:#done"),
    "reports.quarterly.delay_seconds": ("0.25", 0.25),
    "reports.quarterly.headers": ('{"X-Tenant": "acme"}', {"X-Tenant": "***"}),
    "reports.quarterly.header_hosts": ("cdn.test", ["cdn.test"]),
    "reports.quarterly.cookies": ('{"session": "abc"}', {"session": "***"}),
    "reports.quarterly.token": ("cookie:render", "cookie:render"),
    "reports.quarterly.media": ("screen", "screen"),
    "reports.quarterly.max_page_bytes": ("4096", 4096),
    "reports.quarterly.allow_redirects": ('["/new"]', ["/new"]),
    "reports.quarterly.expect": ("text:Total", "text:Total"),
    "reports.quarterly.viewport": ("1280x720", "1280x720"),
    "reports.quarterly.device_scale_factor": ("2", 2.0),
    "reports.quarterly.reduced_motion": ("no", False),
    "reports.quarterly.evidence": ("yes", True),
    "reports.quarterly.fail_on": ("glyphs", ["glyphs"]),
    "reports.quarterly.fail_on_status": ('["500-599", 404]', ["500-599", "404"]),
    "reports.quarterly.fail_on_resource_errors": ("true", True),
    "reports.quarterly.fail_on_script_errors": ("1", True),
    "reports.quarterly.allow": ("locale, pdf.scale", ["locale", "pdf.scale"]),
    "reports.quarterly.locale": ("zh-hant-tw", "zh-Hant-TW"),
    "reports.quarterly.timezone": ("Asia/Taipei", "Asia/Taipei"),
    "reports.quarterly.pdf.format": ("letter", "Letter"),
    "reports.quarterly.pdf.width": ("200mm", "200mm"),
    "reports.quarterly.pdf.height": ("20cm", "20cm"),
    "reports.quarterly.pdf.landscape": ("Yes", True),
    "reports.quarterly.pdf.margin": ("20mm 15mm", "20mm 15mm"),
    "reports.quarterly.pdf.scale": ("0.9", 0.9),
    "reports.quarterly.pdf.fit": ("width", "width"),
    "reports.quarterly.pdf.page_ranges": ("1-5, 8", "1-5, 8"),
    "reports.quarterly.pdf.prefer_css_page_size": ("false", False),
    "reports.quarterly.pdf.print_background": ("no", False),
    "reports.quarterly.pdf.header_template": ("<b>a</b>", "<b>a</b>"),
    "reports.quarterly.pdf.footer_template": ("<b>b</b>", "<b>b</b>"),
    "reports.quarterly.pdf.tagged": ("TRUE", True),
    "reports.quarterly.pdf.outline": (" true ", True),
}


def at(tree: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        tree = tree[name]
    return tree


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, {"HOME": "/home/ada", **environ})
    return str(caught.value)


def test_every_key_can_be_set() -> None:
    known = {".".join(leaf) for leaf in (*leaves(), *leaves(("reports", "quarterly")))}
    # A report type has only one of the two.
    assert set(EVERY) - {"reports.sales_summary.template"} == known - {"reports.quarterly.template"}
    config = load(None, {name_of(tuple(key.split("."))): text for key, (text, _) in EVERY.items()}).redacted()
    defaults = load(None, {"HOME": "/home/ada"}).redacted()
    defaults["reports"]["quarterly"] = ReportType().redacted()
    for key, (_, value) in EVERY.items():
        assert at(config, key) == value, key
        assert at(defaults, key) != value, key
    assert config["reports"]["sales_summary"]["parameters_schema"] == "sales_summary.schema.json"


def test_the_rule_of_names() -> None:
    assert name_of(("breaker", "failure_threshold")) == "REPORTD_BREAKER__FAILURE_THRESHOLD"
    assert name_of(("reports", "a", "pdf", "scale")) == "REPORTD_REPORTS__A__PDF__SCALE"


@pytest.mark.parametrize("name", ["a", "a_", "a__b", "a__pdf", "a__pdf__", "pdf", "url", "a__url"])
def test_any_name_of_a_report_type_can_be_written(name: str) -> None:
    environ = {name_of(("reports", name, "url")): "http://app.test/", name_of(("reports", name, "pdf", "scale")): "2"}
    report = load(None, {"HOME": "/home/ada", **environ}).reports[name]
    assert (report.url, report.pdf.scale) == ("http://app.test/", 2.0)


def test_no_key_is_both_a_report_types_and_its_pdfs() -> None:
    """Otherwise a variable would be ambiguous, because a report type may be called ``a__pdf``."""
    assert not set(ReportType.model_fields) & set(PdfOptions.model_fields)


def test_an_empty_variable_empties_the_key(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(
        '[reports.a]\nurl = "http://app.test/"\nallowed_hosts = ["b"]\nheaders = {X = "y"}\nisolation = "page"'
    )
    environ = {f"REPORTD_REPORTS__A__{key}": "" for key in ("ALLOWED_HOSTS", "HEADERS", "ISOLATION")}
    report = load(file, {"HOME": "/home/ada", **environ}).reports["a"]
    assert (report.allowed_hosts, dict(report.headers), report.isolation) == ((), {}, "")


def test_variables_that_are_no_keys_are_left_alone() -> None:
    others = {"REPORTD_URL": "x", "REPORTD_TOKEN": "y", "reportd_http__bind": "z", "REPORTDX": "", "PATH": "/bin"}
    assert load(None, {"HOME": "/home/ada", **others}) == load(None, {"HOME": "/home/ada"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        (" YES", True),
        ("false", False),
        ("/login", ("/login",)),
        ("/login, /reports/new,", ("/login", "/reports/new")),
        ('["/a,b"]', ("/a,b",)),
        ("", ()),
    ],
)
def test_redirects_are_a_switch_or_paths_separated_by_commas(text: str, value: bool | tuple[str, ...]) -> None:
    name = name_of(("reports", "quarterly", "allow_redirects"))
    config = load(None, {"REPORTD_REPORTS__QUARTERLY__URL": "https://app.test/", name: text})
    assert config.reports["quarterly"].allow_redirects == value
    assert "comma-separated or JSON" in refused(**{name: '["/a"'})


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("REPORTD_HTTP__BINF", "is unknown; did you mean REPORTD_HTTP__BIND?"),
        ("REPORTD_HTTP_BIND", "is unknown; did you mean REPORTD_HTTP__BIND?"),
        ("REPORTD_http__bind", "is unknown; did you mean REPORTD_HTTP__BIND?"),
        ("REPORTD_REPORTS__A__ULR", "is unknown; did you mean REPORTD_REPORTS__A__URL?"),
        ("REPORTD_REPORTS__A__PDF__FORMT", "is unknown; did you mean REPORTD_REPORTS__A__PDF__FORMAT?"),
        ("REPORTD_QQQQQQQQQQQQQ", "is unknown; accepted: REPORTD_SECTION__KEY, as in the file"),
        ("REPORTD_HTTP", "is a section; accepted: a variable for each key, e.g. REPORTD_HTTP__BIND"),
        ("REPORTD_REPORTS", "is a section; accepted: a variable for each key, e.g. REPORTD_REPORTS__NAME__URL"),
        ("REPORTD_REPORTS__A", "is a section; accepted: a variable for each key, e.g. REPORTD_REPORTS__A__TEMPLATE"),
        (
            "REPORTD_REPORTS__1A__URL",
            "names no report type; accepted: REPORTD_REPORTS__NAME__KEY, NAME of letters, digits and underscores",
        ),
    ],
)
def test_an_unknown_variable_is_refused(name: str, problem: str) -> None:
    assert refused(**{name: "x"}) == f"{name}: {problem}"


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("pool.browsers", "two", "is not a whole number; accepted: a whole number from 0 to 256"),
        ("pool.browsers", "1.5", "is not a whole number; accepted: a whole number from 0 to 256"),
        ("pool.browsers", "", "is not a whole number; accepted: a whole number from 0 to 256"),
        ("pool.browsers", "9" * 5000, "is not a whole number; accepted: a whole number from 0 to 256"),
        ("pool.browsers", "257", "257 is too large; accepted: a whole number from 0 to 256"),
        ("pool.stall_seconds", "nan", "is not a number; accepted: a number from 0.05 to 3600"),
        ("pool.stall_seconds", "0.01", "0.01 is too small; accepted: a number from 0.05 to 3600"),
        ("reports.a.fail_on_script_errors", "on", "is neither true nor false; accepted: true or false"),
        (
            "reports.a.headers",
            "X=y",
            (
                'is not JSON; accepted: a table of names and texts, e.g. {"X-Tenant" = "acme"}; '
                'each text may be {file = "PATH"}; here as JSON'
            ),
        ),
        (
            "callbacks.allowed_hosts",
            '["a"',
            (
                'is not JSON; accepted: a list of hosts, e.g. ["reports.internal", "*.cdn.internal"]; '
                "comma-separated or JSON"
            ),
        ),
        ("pool.executable", "\udcff", "is not UTF-8; accepted: the path of a program, or nothing"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(key: str, text: str, problem: str) -> None:
    name = name_of(tuple(key.split(".")))
    assert f"{name}: {key}: {problem}" in refused(**{name: text}).splitlines()
